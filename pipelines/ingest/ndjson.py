"""Reads NDJSON from files and standard input, a line at a time, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from headrace.pipelines.errors import ContractError
from headrace.pipelines.ingest.inputs import Readable, open_input

_BLOCK = 4 << 20
LONGEST_LINE = 256 << 20
"""Bytes. A longer line is no event of anybody; it would have to be held in memory whole."""
_BOM = b"\xef\xbb\xbf"


def read_lines(
    names: Iterable[str], progress: Callable[[int], None] | None = None
) -> Iterator[Line]:
    """The lines of several inputs, blank ones left out, each with its origin.

    Args:
        names: files, or `-` for standard input.
        progress: told the bytes read, block by block.

    Raises:
        UsageError: an input cannot be opened.
        ContractError: it is no text, is cut, or a line of it is too long to be held. The lines
            before that were given.
    """
    for name in names:
        shown = "stdin" if name == "-" else name
        source = open_input(name)
        try:
            for number, raw in enumerate(_split(source, shown, progress), start=1):
                line = raw.removeprefix(_BOM) if number == 1 else raw
                if line.strip():
                    yield Line(line, f"{shown}:{number}")
        except OSError as e:
            raise ContractError(f"{shown} cannot be read further: {e.strerror}") from e
        finally:
            if name != "-":
                source.close()


def _split(source: Readable, shown: str, progress: Callable[[int], None] | None) -> Iterator[bytes]:
    """Lines without their ends; the last one counts even if nothing ends it."""
    held: list[bytes] = []
    size = 0
    read = getattr(source, "read1", source.read)
    while block := read(_BLOCK):
        if progress is not None:
            progress(len(block))
        first, *rest = block.split(b"\n")
        held.append(first)
        size += len(first)
        if rest:
            yield b"".join(held).removesuffix(b"\r")
            for line in rest[:-1]:
                yield line.removesuffix(b"\r")
            held, size = [rest[-1]], len(rest[-1])
        if size > LONGEST_LINE:
            raise ContractError(
                f"{shown} has a line of more than {LONGEST_LINE >> 20} MiB; events are NDJSON, one "
                "a line. What stood before it is appended"
            )
    if size:
        yield b"".join(held).removesuffix(b"\r")


@dataclass(frozen=True)
class Line:
    """One line of input and where it came from (`orders.ndjson:17`)."""

    raw: bytes
    origin: str


def chunks(lines: Iterable[Line], size: int, size_bytes: int = 64 << 20) -> Iterable[list[Line]]:
    """Cut a stream of lines into batches of so many lines, or so many bytes, at most."""
    batch: list[Line] = []
    held = 0
    for line in lines:
        batch.append(line)
        held += len(line.raw)
        if len(batch) >= size or held >= size_bytes:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
