"""A home in which an earlier version read NOT LIKE as LIKE: refused, made right, and told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from sqlglot import exp

from headrace.pipelines.batch import run as batch
from headrace.pipelines.errors import SeamError
from headrace.pipelines.generations import registry
from headrace.pipelines.generations.generation import _suspect
from headrace.pipelines.quality.verify import verify
from headrace.pipelines.replay import build, promote
from headrace.pipelines.serving.query import Serving
from headrace.pipelines.views import load as views
from headrace.pipelines.views import packed, parse, scalars
from tests.conformance.paths import append, run_speed
from tests.e2e.orders import events

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.views.expressions import Expressions, Typed
    from tests.conftest import MakeLake

TEXT = """
    SELECT currency, count(*) FILTER (WHERE kind NOT LIKE 's%') AS others,
      count(*) FILTER (WHERE kind LIKE 's%') AS sales
    FROM ledger GROUP BY currency"""


def _dropped(at: Expressions, node: exp.Expression) -> Typed:
    """How LIKE was compiled once: without looking whether it is negated."""
    parts = [at.check(node.this), at.check(node.expression)]
    return at.build(node, parts, lambda a, b: exp.Like(this=a, expression=b))


@pytest.fixture
def misread(make_lake: MakeLake) -> Iterator[Lake]:
    """A lake whose live generation was made by that version, and has events to come."""
    packed.stored_view.cache_clear()
    with pytest.MonkeyPatch.context() as earlier:
        earlier.setitem(scalars._ROW_RULES, exp.Like, _dropped)
        earlier.setattr(parse, "_misread", lambda _: [])
        earlier.setattr(views, "try_view", lambda *_: None)
        made = make_lake(partitions=2, views={"others": TEXT})
        append(made, events(12, seed=4))
        run_speed(made)
        append(made, events(4, seed=5))
    packed.stored_view.cache_clear()
    yield made
    packed.stored_view.cache_clear()


def test_nothing_is_answered_or_added_from_a_view_that_was_misread(misread: Lake) -> None:
    with pytest.raises(SeamError, match="NOT LIKE was read as LIKE"):
        Serving(misread).query("SELECT * FROM others")
    with pytest.raises(SeamError, match="`headrace batch` makes the right ones"):
        run_speed(misread)


def test_verify_says_which_cells_of_a_misread_view_are_wrong(misread: Lake) -> None:
    found = verify(misread)
    assert {cell.view for cell in found.comparison.shown} == {"others"}
    assert {cell.column for cell in found.comparison.shown} == {"others"}
    assert found.comparison.wrong == len(misread.rows("SELECT * FROM main.others"))


def test_a_batch_replaces_a_misread_view_at_once_and_says_why(misread: Lake) -> None:
    done = batch.run(misread, engine="duckdb")
    assert done is not None
    assert done.live
    assert verify(misread).equal
    counted = misread.rows(
        "SELECT currency, count(*) FILTER (WHERE kind NOT LIKE 's%') FROM ledger GROUP BY ALL "
        "ORDER BY ALL"
    )
    assert misread.rows("SELECT currency, others FROM others ORDER BY ALL") == counted
    causes = misread.rows("SELECT DISTINCT cause FROM sys.restatements")
    assert len(causes) == 1
    assert "NOT LIKE was read as LIKE" in causes[0][0]


@pytest.mark.thorough
def test_a_promoted_replay_restates_each_cell_of_a_misread_view(misread: Lake) -> None:
    wrong = dict(misread.rows("SELECT currency, others FROM main.others"))
    number = build.replay(misread, None).generation
    promote.promote(misread, number)
    told = misread.rows("SELECT view, measure, old, cause FROM sys.restatements")
    assert {(view, measure) for view, measure, _, _ in told} == {("others", "others")}
    assert sorted(old for _, _, old, _ in told) == sorted(str(n) for n in wrong.values())
    assert {cause for *_, cause in told} == {"repair: NOT LIKE was read as LIKE in others"}
    run_speed(misread)
    assert verify(misread).equal
    with pytest.raises(SeamError, match="NOT LIKE was read as LIKE"):
        promote.rollback(misread)


def test_a_view_without_that_is_not_touched(make_lake: MakeLake) -> None:
    text = TEXT.replace("NOT LIKE", "LIKE")
    lake = make_lake(partitions=2, views={"others": text})
    append(lake, events(4, seed=4))
    run_speed(lake)
    assert registry.read(lake).misread == {}


@pytest.mark.parametrize(
    ("text", "suspect"),
    [
        ("SELECT kind FROM ledger WHERE kind NOT LIKE 's%' GROUP BY 1", True),
        ('-- min(x), HAVING\nSELECT sum(amount * 1.19) AS "max(" FROM ledger', True),
        ("SELECT 'a JOIN b', sum(amount * 1.19) AS x FROM ledger", True),
        ("SELECT quantile_disc(amount, 0.9) AS x FROM ledger GROUP BY 1", False),
        ("SELECT sum(amount) AS x FROM ledger GROUP BY 1", False),
    ],
)
def test_only_texts_that_an_earlier_version_could_have_misread_are_compiled(
    text: str, suspect: bool
) -> None:
    assert _suspect(text) is suspect


def test_to_answer_from_the_built_in_views_none_of_them_is_compiled() -> None:
    for name, view in views.load_views(views.BUILTIN_VIEWS).items():
        assert not _suspect(view.text), name
