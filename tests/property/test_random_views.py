"""Random views, over tables and over each other, in every path: each cell as their text says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.halves import first
from tests.property.random_views import attack, random_views, write_lookups


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", first(1, [4, 11]))
def test_random_views_are_exact_in_every_path(tmp_path: Path, seed: int) -> None:
    found = attack(seed, tmp_path, views=8, orders=60, explain=8)
    assert (found.views, found.proofs, found.explained) == (8, 5, 8)
    assert found.cells > 1_000


@pytest.mark.spark
@pytest.mark.thorough
@pytest.mark.xdist_group("spark")
def test_random_views_are_exact_on_bases_from_spark(tmp_path: Path) -> None:
    found = attack(5, tmp_path, views=6, orders=60, spark=True)
    assert (found.views, found.proofs) == (6, 5)


def test_a_seed_gives_the_same_views_and_each_kind_of_them(tmp_path: Path) -> None:
    write_lookups(tmp_path / "lookups")
    one, again = (random_views(3, 30, tmp_path / "lookups") for _ in range(2))
    assert [v.text for v in one.values()] == [v.text for v in again.values()]
    assert any(view.values for view in one.values())
    assert any(view.having for view in one.values())
    joined = {view.join.view for view in one.values() if view.join is not None}
    assert joined & {"lands", "discounts"}
    assert joined - {"lands", "discounts"}
