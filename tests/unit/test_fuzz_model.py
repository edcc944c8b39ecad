"""What the fuzzer knows by itself agrees with what it knows nothing of."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from headrace.pipelines.log.partitioner import order_hashes
from headrace.schemas.decode import decode
from tests.conformance.streams import placed
from tests.fuzz.model import Model, partition_of
from tests.fuzz.readers import difference
from tests.fuzz.traffic import TRAFFIC, Sent, lines_of
from tests.oracle import fold as oracle
from tests.oracle.fold import Table


def test_its_partitions_are_those_of_the_log() -> None:
    rng = Random(4)
    keys = ["".join(rng.choice("aé€𝄞-0") for _ in range(rng.randint(0, 20))) for _ in range(300)]
    hashes = order_hashes([key.encode() for key in keys])
    assert [partition_of(key, 7) for key in keys] == [int(h) % 7 for h in hashes]


def test_it_knows_which_lines_are_accepted() -> None:
    history: list[bytes] = []
    for seed, kind in enumerate(TRAFFIC * 20):
        sent = lines_of(kind, seed, 4, history)
        rejected = {r.index for r in decode([s.raw for s in sent]).rejected}
        assert [s.good for s in sent] == [n not in rejected for n in range(len(sent))]
        history += [s.raw for s in sent if s.good]


def test_its_traffic_brings_redeliveries_and_conflicts() -> None:
    model = Model(3)
    for seed, kind in enumerate(TRAFFIC * 4):
        model.take(lines_of(kind, seed, 6, model.history))
    end = model.totals().end
    repeats = oracle.repeats(model.below(end))
    assert 0 < len(model.conflicts(end)) < repeats < len(model.history)


def test_taking_lines_ends_where_it_was_foreseen() -> None:
    model = Model(4)
    first, second = (lines_of("poison", seed, 5, []) for seed in (1, 2))
    model.take(first)
    foreseen = model.after([second])
    model.take(second)
    assert model.totals() == foreseen
    assert foreseen.quarantined == sum(not s.good for s in first + second) > 0


def test_a_position_beyond_the_log_is_not_held() -> None:
    model = Model(2)
    model.take([Sent(placed("o1"))])
    (full, empty) = (1, 0) if model.totals().end == (1, 0) else (0, 1)
    assert model.holds((full, empty))
    assert not model.holds((1, 1))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("EUR", "a", 1)], None),
        ([("EUR", "a", 2)], "t [x=EUR, y=a] n: served 2, expected 1"),
        ([], "t [x=EUR, y=a]: not served"),
        ([("EUR", "a", 1)] * 2, "served, but should not be there"),
        ([("EUR", "a", 1), ("USD", "a", 1)], "t [x=USD, y=a]: served, but should not be there"),
    ],
)
def test_a_difference_is_told_by_key_and_column(
    rows: list[tuple[object, ...]], words: str | None
) -> None:
    columns = ("x", "y", "n")
    expected = Table(columns, Counter([("EUR", "a", 1)]))
    found = difference("t", [dict(zip(columns, row, strict=True)) for row in rows], expected)
    assert found == words or (words is not None and found is not None and words in found)
