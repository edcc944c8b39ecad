"""Bad events do no harm: the process stays up, every line is accounted for, the numbers are right.

What is odd but possible is accepted, by the rules in docs/guides/contract.md; each row of that
table is a case here, compared with the oracle.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from headrace.pipelines.batch import run as batch
from headrace.pipelines.generator.faults import POISON, poison_line
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log import quarantine
from headrace.schemas.decode import decode
from tests.conformance.paths import BUILT_IN, append, assert_exact, run_speed
from tests.conformance.streams import (
    adjusted,
    cancelled,
    delivered,
    paid,
    placed,
    returned,
    voided,
)
from tests.e2e.command import REPOSITORY, Headrace

SHARE = 0.05
"""Bad lines, of all lines."""
ALL = (
    "SELECT * FROM orders ORDER BY ALL", "SELECT * FROM ledger ORDER BY ALL",
    "SELECT * FROM revenue_by_day ORDER BY ALL", "SELECT * FROM product_sales ORDER BY ALL",
    "SELECT * FROM customer_value ORDER BY ALL",
)  # fmt: skip


def test_there_are_at_least_fifty_classes_of_bad_events() -> None:
    assert len(POISON) >= 50


@pytest.mark.parametrize("kind", POISON)
def test_a_bad_event_is_refused_with_its_bytes_and_a_rule(kind: str) -> None:
    line = poison_line(kind, 5)
    found = decode([line])
    assert found.events.num_rows == 0
    (refused,) = found.rejected
    assert refused.raw == line
    assert re.search(r"it must|it is|is not UTF-8|the known versions", refused.reason)


def test_a_stream_with_poison_gives_the_numbers_of_the_stream_without_it(tmp_path: Path) -> None:
    seed = 21
    good = list(generate(400, seed, duplicates=0.05, disorder=0.05))
    chance = Random(seed)
    bad = [poison_line(kind, n) for n, kind in enumerate(POISON)]
    while len(bad) < SHARE * (len(good) + len(bad)):
        bad.append(poison_line(chance.choice(sorted(POISON)), len(bad)))
    mixed = list(good)
    for line in bad:
        mixed.insert(chance.randint(0, len(mixed)), line)
    told = []
    for name, lines in (("clean", good), ("mixed", mixed)):
        headrace = Headrace(tmp_path / name)
        file = tmp_path / f"{name}.ndjson"
        file.write_bytes(b"".join(line + b"\n" for line in lines))
        done = headrace.process("append", file, "--json").json()
        assert done["accepted"] + done["quarantined"] == len(lines)
        assert done["quarantined"] == len(lines) - len(good)
        headrace.json("speed", "--once")
        assert headrace.json("verify")["equal"] is True
        told.append([headrace.rows(sql) for sql in ALL])
    assert told[0] == told[1]
    listed = Headrace(tmp_path / "mixed").json("quarantine", "ls", "-n", 10_000)
    assert listed["total"] == len(bad)


def test_the_quarantine_keeps_every_byte(lake: Lake) -> None:
    bad = [poison_line(kind, n) for n, kind in enumerate(POISON)]
    append_any(lake, bad)
    assert sorted(entry.raw for entry in quarantine.entries(lake)) == sorted(bad)


def test_an_event_that_was_too_long_is_in_after_the_limit_was_raised_and_once_only(
    tmp_path: Path,
) -> None:
    headrace = Headrace(tmp_path / "home")
    long = placed("o1", note="x" * 10_000_000)
    file = tmp_path / "lines.ndjson"
    file.write_bytes(long + b"\n" + placed("o2") + b"\n")
    done = headrace.json("append", file)
    assert (done["accepted"], done["quarantined"]) == (1, 1)
    again = headrace.json("quarantine", "retry")
    assert again == {"accepted": 0, "still_quarantined": 1}
    fixed = headrace.json("quarantine", "retry", max_event_bytes=20_000_000)
    assert fixed == {"accepted": 1, "still_quarantined": 0}
    assert headrace.json("quarantine", "retry", max_event_bytes=20_000_000)["accepted"] == 0
    headrace.json("speed", "--once")
    assert headrace.rows("SELECT count(*), sum(gross) FROM orders") == [[2, "15.0000"]]
    assert headrace.json("verify")["equal"] is True


DAY = datetime(2026, 3, 10, 12)  # noqa: DTZ001 - written out as UTC
ODD: dict[str, list[bytes]] = {
    "more is refunded than was paid": [
        placed("o", ("mug", 1, "7.50")), paid("o", "1.00"), returned("o", ("mug", 1, "99.00")),
    ],
    "something comes back that was never sold": [
        placed("o", ("mug", 1, "7.50")), returned("o", ("lamp", 1, "5.00")),
    ],
    "more pieces come back than were sold": [
        placed("o", ("mug", 1, "7.50")), returned("o", ("mug", 5, "37.50")),
    ],
    "a return without its order": [returned("o", ("mug", 1, "7.50"))],
    "a return in another currency than the order": [
        placed("o"), returned("o", ("mug", 1, "7.50"), currency="USD"),
    ],
    "an adjustment in another currency than the order": [
        placed("o"), adjusted("o", "-1.00", currency="USD"),
    ],
    "a cancellation after the delivery": [
        placed("o"), delivered("o", at=DAY), cancelled("o", at=DAY.replace(day=20)),
    ],
    "a cancellation before the placement": [
        placed("o", at=DAY), cancelled("o", at=DAY.replace(day=1)),
    ],
    "a second placement of an order": [
        placed("o", at=DAY), placed("o", ("lamp", 2, "9.00"), identity="p2", at=DAY.replace(day=9)),
    ],
    "paid twice": [placed("o"), paid("o", "7.50"), paid("o", "7.50", identity="paid2")],
    "an adjustment below zero without an order": [adjusted("o", "-5.00")],
    "a discount above the goods": [placed("o", ("mug", 1, "1.00"), discount="5.00")],
    "amounts of zero and of minus zero": [
        placed("o", ("mug", 1, "0")), adjusted("o", "-0.0000"), adjusted("o", "-0", identity="b"),
    ],
    "a void of events that never come": [voided("o", "nothing")],
    "a void of the earlier of two placements": [
        placed("o", at=DAY), placed("o", ("lamp", 2, "9.00"), identity="p2", at=DAY.replace(day=9)),
        voided("o", "placed"),
    ],
    "an event of 1970": [placed("o", at="1970-01-01T00:00:00Z")],
    "an event of the far future": [placed("o", at="2261-12-31T23:59:59.999999Z")],
    "a time with an offset, on another day than in UTC": [
        placed("o", at="2026-03-01T00:30:00+02:00"), paid("o", "1", at="2026-02-28T19:30:00-05:00"),
    ],
    "the hour that a clock change repeats": [
        placed("o", at="2026-10-25T02:30:00+02:00"), paid("o", "1", at="2026-10-25T02:30:00+01:00"),
    ],
    "the hour that a clock change leaves out": [placed("o", at="2026-03-29T02:30:00+01:00")],
}  # fmt: skip
"""What happens in real shops and breaks no rule of the contract."""


def test_all_that_is_odd_but_possible_is_counted_exactly_in_one_log(lake: Lake) -> None:
    for n, lines in enumerate(ODD.values()):
        append(lake, [line.replace(b'"o"', b'"o%d"' % n) for line in lines])
    run_speed(lake, 7)
    assert_exact(lake, names=BUILT_IN)
    assert lake.row("SELECT count(*) FROM main.orders")[0] == len(ODD)
    append(lake, [placed("later")])
    batch.run(lake, engine="duckdb")
    assert_exact(lake, names=BUILT_IN)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_but_possible_is_accepted_and_counted_exactly(lake: Lake, name: str) -> None:
    append(lake, [*ODD[name], placed("other")])
    run_speed(lake, 1)
    assert_exact(lake, names=BUILT_IN)
    append(lake, [placed("later")])
    batch.run(lake, engine="duckdb")
    assert_exact(lake, names=BUILT_IN)


def test_each_odd_case_has_its_rule_in_the_contract_guide() -> None:
    guide = (REPOSITORY / "docs" / "guides" / "contract.md").read_text(encoding="utf-8")
    table = guide.split("## Odd but possible")[1].split("\n## ")[0]
    rows = [row.split("|")[1].strip() for row in table.splitlines() if row.startswith("| ")]
    assert rows[1:] == list(ODD)


def append_any(lake: Lake, lines: list[bytes]) -> Any:
    from headrace.pipelines.log.embedded import Log

    return Log(lake).append(lines, [f"test:{n}" for n in range(len(lines))])
