"""Positions, the seam's arithmetic, and where an order's events go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2

from headrace.pipelines.errors import SeamError, UsageError
from headrace.pipelines.log.partitioner import order_hashes
from headrace.pipelines.position import Position, check_chain, step_towards
from headrace.pipelines.replay.build import even_steps


def test_a_position_reads_back_what_it_wrote() -> None:
    position = Position((812, 0, 790))
    assert Position.parse(position.text()) == position
    assert position.text() == '{"0": 812, "1": 0, "2": 790}'


@pytest.mark.parametrize("text", ["", "5", "[1]", '{"1": 5}', '{"0": -1}', '{"0": "x"}', "{"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no position"):
        Position.parse(text)


def test_positions_of_different_logs_cannot_be_compared() -> None:
    with pytest.raises(SeamError, match="different logs"):
        Position((1,)).covers(Position((1, 2)))


def test_a_position_is_made_from_nothing_from_a_mapping_and_from_the_lower_of_two() -> None:
    assert Position.zero(3) == Position((0, 0, 0))
    assert Position.of({1: 7, 0: 5}) == Position((5, 7))
    assert Position((5, 1)).lowest(Position((2, 4))) == Position((2, 1))
    assert Position((5, 1)).highest(Position((2, 4))) == Position((5, 4))
    assert str(Position((5, 7))) == "{0: 5, 1: 7}"
    with pytest.raises(SeamError, match="positions of 1 and 2 partitions"):
        Position((1,)).lowest(Position((1, 2)))


def test_a_step_takes_of_each_partition_its_share_of_what_is_left() -> None:
    start, end = Position((10, 0)), Position((40, 10))
    assert step_towards(start, end, 20) == Position((25, 5))
    assert step_towards(start, end, 3) == Position((13, 1))
    assert step_towards(start, end, 40) == step_towards(start, end, 41) == end


def test_a_chain_without_gap_reaches_its_last_commit() -> None:
    a, b, c = Position((0, 0)), Position((2, 1)), Position((2, 5))
    assert check_chain(a, [(a, b), (b, c)]) == c
    assert check_chain(a, []) == a


def test_a_gap_and_an_overlap_are_told_apart() -> None:
    a, b, c = Position((0,)), Position((2,)), Position((5,))
    with pytest.raises(
        SeamError, match=r"^gap at the seam: deltas start at \{0: 2\}, the base ends at \{0: 0\}$"
    ):
        check_chain(a, [(b, c)])
    with pytest.raises(SeamError, match=r"^overlap at the seam"):
        check_chain(b, [(a, c)])


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=5),
    st.integers(1, 40),
)
def test_steps_never_go_back_never_pass_the_end_and_arrive(
    spans: list[tuple[int, int]], events: int
) -> None:
    start = Position(tuple(a for a, _ in spans))
    end = Position(tuple(a + more for a, more in spans))
    here, steps = start, 0
    while here != end:
        following = step_towards(here, end, events)
        assert following.covers(here)
        assert end.covers(following)
        assert 0 < following.minus(here) <= events + len(spans)
        here, steps = following, steps + 1
    assert steps <= end.minus(start)


@given(st.lists(st.text(max_size=40), min_size=1, max_size=20))
def test_orders_are_placed_as_kafka_places_them(ids: list[str]) -> None:
    encoded = [i.encode("utf-8", "surrogatepass") for i in ids]
    assert order_hashes(encoded).tolist() == [murmur2(i) & 0x7FFFFFFF for i in encoded]


@given(st.integers(0, 10_000_000), st.integers(1, 1_000_000))
def test_a_replay_takes_equal_steps_of_about_the_given_size(events: int, about: int) -> None:
    size = even_steps(events, about)
    commits = -(-events // size)
    assert size <= 1.5 * about + 1
    if size > 2 * commits:  # else rounding up to whole events weighs more than the steps
        assert events - (commits - 1) * size > size / 2
