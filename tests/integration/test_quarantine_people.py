"""What a person does with the quarantine: sees classes, discards, exports, corrects, retries."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import Headrace
from tests.e2e.orders import Truth, events, write

GOOD = events(6, seed=31)


def broken(line: bytes, currency: object) -> bytes:
    event = json.loads(line)
    event["data"]["currency"] = currency
    return json.dumps(event).encode()


PLACED = [line for line in GOOD if json.loads(line)["type"] == "OrderPlaced"]
WRONG = [broken(line, value) for line, value in zip(PLACED, ("eur", "DM", 7, None), strict=False)]
BYTES = b"\xff\xfe\x00 not text"


@pytest.fixture
def headrace(tmp_path: Path) -> Headrace:
    """A home with four wrong currencies and some bytes in quarantine, in a place with odd names."""
    made = Headrace(tmp_path / "it's a home")
    rest = [line for line in GOOD if line not in PLACED[:4]]
    made.json("append", write(tmp_path / "o'clock one.ndjson", [*rest, *WRONG, BYTES]))
    return made


def exported(headrace: Headrace, *more: object) -> tuple[Path, list[dict[str, Any]]]:
    file = headrace.home.parent / "to fix's.ndjson"
    told = headrace.json("quarantine", "export", file, *more)
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert told == {"file": str(file), "entries": len(lines)}
    return file, lines


def save(file: Path, lines: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_the_summary_puts_reasons_together_that_differ_only_in_the_value(
    headrace: Headrace,
) -> None:
    told = headrace.json("quarantine", "summary")
    assert told["total"] == 5
    found = {(g["reason"], g["entries"]) for g in told["groups"]}
    (currency,) = [g for g in told["groups"] if g["entries"] == 3]
    assert currency["reason"].startswith("data.currency is …; it must be")
    assert currency["origin"] == str(headrace.home.parent / "o'clock one.ndjson")
    assert any(reason.startswith("data.currency is null; ") for reason, _ in found), found
    assert ("the line is …; byte … is not UTF-8", 1) in found
    shown = headrace.json("quarantine", "show", currency["example"])
    assert "currency" in shown["reason"]
    assert currency["first_seen"] <= currency["last_seen"]


def test_discarded_entries_are_kept_with_who_and_why_and_count_as_open_no_more(
    headrace: Headrace,
) -> None:
    (example,) = [
        g["example"] for g in headrace.json("quarantine", "summary")["groups"] if g["entries"] == 3
    ]
    told = headrace.json(
        "quarantine", "discard", "--reason-like", "data.currency is …; it must%",
        "--reason", "it's a test feed", "--by", "anna o'neill",
    )  # fmt: skip
    assert told["discarded"] == 4, "null is a value, too"
    assert headrace.json("status")["quarantined"] == 1
    assert headrace.json("quarantine", "ls")["total"] == 1
    everything = headrace.json("quarantine", "ls", "--all")
    assert everything["total"] == 5
    assert sorted(e["outcome"] or "" for e in everything["entries"]) == ["", *["discarded"] * 4]
    shown = headrace.json("quarantine", "show", example)
    assert (shown["outcome"], shown["who"]) == ("discarded", "anna o'neill")
    assert shown["why"] == "it's a test feed"
    assert json.loads(shown["raw"])["type"] == "OrderPlaced"
    again = headrace.run("quarantine", "discard", example, "--reason", "x")
    again.refused(2, example, "is closed", "discarded")
    assert headrace.json("quarantine", "retry") == {"accepted": 0, "still_quarantined": 1}


def test_entries_can_be_chosen_by_the_file_that_they_came_from(headrace: Headrace) -> None:
    other = write(headrace.home.parent / "other.ndjson", [*GOOD, b"nonsense"])
    headrace.json("append", other)
    told = headrace.json("quarantine", "discard", "--origin", other, "--reason", "x")
    assert told["discarded"] == 1
    assert headrace.json("status")["quarantined"] == 5


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["discard", "--reason", "x"], ["say which entries"]),
        (["discard", "--reason-like", "%", "--reason", " "], ["a reason is needed"]),
        (["discard", "--reason-like", "nothing like this", "--reason", "x"], ["no open entry"]),
        (["discard", "zzz", "--reason", "x"], ["'zzz'"]),
        (["retry", "zzz", "--file", "x"], ["either"]),
        (["retry", "--by", "anna"], ["--file"]),
        (["retry", "--file", "no such file"], ["no such file"]),
        (["export", "no such folder/x"], ["no such folder/x"]),
    ],
)
def test_a_wrong_call_says_what_to_do(
    headrace: Headrace, call: list[str], words: list[str]
) -> None:
    headrace.run("quarantine", *call).refused(2, *words)
    assert headrace.json("status")["quarantined"] == 5


@pytest.mark.thorough
def test_an_export_that_nobody_edited_is_the_same_bytes_and_changes_nothing(
    headrace: Headrace,
) -> None:
    file, lines = exported(headrace)
    raws = [
        line["raw"].encode() if "raw" in line else base64.b64decode(line["raw_base64"])
        for line in lines
    ]
    assert sorted(raws) == sorted([*WRONG, BYTES])
    headrace.run("quarantine", "export", file).refused(2, "exists")
    done = headrace.run("quarantine", "retry", "--file", file, "--json")
    assert done.code == 1
    told = json.loads(done.out)
    assert (told["accepted"], told["still_quarantined"], len(told["refused"])) == (0, 5, 5)
    assert headrace.json("status")["quarantined"] == 5


@pytest.mark.thorough
def test_corrected_lines_go_in_once_and_the_original_bytes_stay(headrace: Headrace) -> None:
    file, lines = exported(headrace, "--reason-like", "data.currency%")
    assert len(lines) == 4
    by_subject = {json.loads(line)["subject"]: line for line in PLACED}
    fixed = [by_subject[json.loads(line["raw"])["subject"]] for line in lines]
    for line, good in zip(lines[:3], fixed, strict=False):
        line["raw"] = good.decode()
    lines[3]["raw"] = "still not json"
    save(file, lines)
    done = headrace.run("quarantine", "retry", "--file", file, "--by", "anna", "--json")
    told = json.loads(done.out)
    assert done.code == 1, "one of them is still refused"
    assert (told["accepted"], told["corrected"]) == (3, 3)
    assert [r["id"] for r in told["refused"]] == [lines[3]["id"]]
    assert "not JSON" in told["refused"][0]["reason"]
    shown = headrace.json("quarantine", "show", lines[0]["id"])
    assert (shown["outcome"], shown["who"]) == ("corrected", "anna")
    assert shown["why"] == f"corrected in {file}:1"
    assert shown["raw"].encode() in WRONG
    lines[3]["raw"] = fixed[3].decode()
    save(file, lines)
    again = headrace.json("quarantine", "retry", "--file", file)
    assert (again["accepted"], again["closed_before"]) == (1, 3)
    assert headrace.json("quarantine", "retry", "--file", file)["accepted"] == 0
    headrace.json("speed", "--once")
    assert headrace.json("status")["events"] == len(GOOD)
    Truth.of(GOOD).check(headrace)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda line: line | {"raw": {"a": 1}}, ["is no text"]),
        (lambda line: line | {"raw_base64": "AAAA"}, ["either"]),
        (lambda line: {k: v for k, v in line.items() if k != "raw"}, ["either"]),
        (lambda line: line | {"row": "x"}, ["'row'"]),
        (lambda line: line | {"id": 7}, ['has no "id"']),
        (lambda line: line | {"id": "000000000000"}, ["is not in this quarantine"]),
    ],
)
def test_a_wrong_line_of_an_edited_file_is_told_before_anything_is_recorded(
    headrace: Headrace, change: Any, words: list[str]
) -> None:
    file, lines = exported(headrace, "--reason-like", "data.currency%")
    lines[0]["raw"] = PLACED[0].decode()
    lines[-1] = change(lines[-1])
    save(file, lines)
    done = headrace.run("quarantine", "retry", "--file", file)
    done.refused(2 if "quarantine" in words[0] else 1, *words, "othing")
    assert headrace.json("status")["quarantined"] == 5


@pytest.mark.thorough
def test_an_entry_that_is_twice_in_a_file_is_refused_and_so_is_what_is_no_json(
    headrace: Headrace,
) -> None:
    file, lines = exported(headrace, "--reason-like", "data.currency%")
    save(file, [*lines, lines[0]])
    headrace.run("quarantine", "retry", "--file", file).refused(1, lines[0]["id"], "keep one")
    file.write_text('{"id": "a", "raw": "x", "raw": "y"}\n', encoding="utf-8")
    headrace.run("quarantine", "retry", "--file", file).refused(1, "twice")


@pytest.mark.thorough
def test_bytes_that_are_no_text_can_be_corrected_as_well(headrace: Headrace) -> None:
    file, lines = exported(headrace, "--reason-like", "the line is%")
    assert "raw" not in lines[0]
    del lines[0]["raw_base64"]
    save(file, [lines[0] | {"raw": PLACED[0].decode()}])
    assert headrace.json("quarantine", "retry", "--file", file)["corrected"] == 1
    shown = headrace.json("quarantine", "show", lines[0]["id"])
    assert "\\xff" in shown["raw"]


@pytest.mark.thorough
def test_status_says_how_many_are_open_and_for_how_long_the_oldest(headrace: Headrace) -> None:
    told = headrace.json("status")
    assert told["quarantined"] == 5
    assert told["quarantine_oldest"].endswith("Z")
    assert 0 <= told["quarantine_oldest_seconds"] < 3600
    assert "5 open, the oldest for 0:0" in headrace.run("status").out
    headrace.json("quarantine", "discard", "--reason-like", "%", "--reason", "x")
    assert headrace.json("status")["quarantine_oldest"] is None
    assert "quarantined   0 open\n" in headrace.run("status").out
