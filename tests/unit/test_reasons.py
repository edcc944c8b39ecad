"""Classes of reasons: what differs only in the value is one; a class is a pattern for its own."""

from __future__ import annotations

import pytest

from headrace.pipelines.log.reasons import matches, origin_class, reason_class


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ('data.currency is "eur"; it must be a text', "data.currency is …; it must be a text"),
        ('id is "a; b is \\"c\\"; d"; it must be short', "id is …; it must be short"),
        ("data.amount is -12.50000; it must have at most 4 places",
         "data.amount is …; it must have at most 4 places"),
        ("data.lines[17].quantity is 0; it must be 1 or more",
         "data.lines[…].quantity is …; it must be 1 or more"),
        ("subject is missing; it must be a text", "subject is missing; it must be a text"),
        ("time is null; it must be a time", "time is null; it must be a time"),
        ("data.lines has 0 lines; it must have 1 to 1000",
         "data.lines has … lines; it must have 1 to 1000"),
        ("the line has 2030 bytes; at most 1024 are accepted",
         "the line has … bytes; at most 1024 are accepted"),
        ('the line is "not; json"; it is not JSON: Expecting value at character 0',
         "the line is …; it is not JSON: Expecting value at character …"),
        ('the line is "\ufffd"; byte 17 is not UTF-8', "the line is …; byte … is not UTF-8"),
        ("the line is empty; it must be one JSON object",
         "the line is …; it must be one JSON object"),
        ("unit_price is '7,5,0'; after ',' only digits may stand",
         "unit_price is …; after ',' only digits may stand"),
        ("StockCode is '\\x07a' and holds a control character",
         "StockCode is … and holds a control character"),
        ("it has 7 fields instead of 8", "it has … fields instead of …"),
        ("customer 12 in United Kingdom differs from 13 in France in earlier rows of invoice 5",
         "customer … in … differs from … in … in earlier rows of invoice …"),
        ("order A-1 has sales in /a b/c.csv already; put them into one file",
         "order … has sales in … already; put them into one file"),
        ("conflict: source and id are those of the event at partition 1 offset 90, but they differ",
         "conflict: source and id are those of the event at partition … offset …, but they differ"),
    ],
)  # fmt: skip
def test_the_class_of_a_reason_has_no_value_and_matches_it(reason: str, expected: str) -> None:
    assert reason_class(reason) == expected
    assert matches(expected, reason)
    assert not matches(f"x{expected}", reason)


def test_in_a_pattern_only_the_two_signs_for_anything_are_special() -> None:
    assert matches("unit_price%", "unit_price is 'a'")
    assert not matches("unit_price%", "unitXprice is 'a'")
    assert not matches("unit.price%", "unit_price is 'a'")


def test_the_class_of_an_origin_is_without_its_line_or_place() -> None:
    for origin, expected in (
        ("/a b/it's.ndjson:17", "/a b/it's.ndjson"),
        ("/a/c.csv event 3", "/a/c.csv"),
        ("kafka://h:9092/t partition 0 offset 12", "kafka://h:9092/t"),
        ("log partition 0 offset 12", "log"),
        ("python:5", "python"),
        ("/a:5/b", "/a:5/b"),
    ):
        assert origin_class(origin) == expected
