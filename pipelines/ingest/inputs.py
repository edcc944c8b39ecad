"""Opens what somebody names as input: text, plain or compressed (gzip, zstd), or standard input.

Guarantees: what is no text is refused before a line of it is recorded. Compression is told by the
first bytes, not by the name.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast

from headrace.pipelines.errors import ContractError, UsageError

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZIP: Final = b"PK\x03\x04"
_OTHERS: Final = {
    _ZIP: "a ZIP archive or an Excel workbook; unpack it; `headrace import csv` reads .xlsx",
    b"PAR1": "a Parquet file; read it with Polars or pyarrow and give `headrace.append` the frame",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save it as CSV",
    b"BZh": "compressed with bzip2; unpack it, or use gzip or zstd",
    b"\xfd7zXZ": "compressed with xz; unpack it, or use gzip or zstd",
    b"SQLite format 3": "a SQLite database",
    b"%PDF": "a PDF",
    b"Obj\x01": "an Avro file",
    b"ORC": "an ORC file",
}
_OF_WIDE: Final = ("utf-16", "utf-32", "u16", "u32")
_WIDE: Final = (b"\xff\xfe", b"\xfe\xff")
_LOOKED_AT: Final = 4096
_RARE: Final = 50  # one zero byte in so many may be a bad line; more are something else than text


class Readable(Protocol):
    """What gives bytes in blocks; an empty one is the end."""

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes."""

    def close(self) -> None:
        """Give back the file."""


def open_input(name: str, encoding: str | None = "utf-8", *, workbook: bool = False) -> Readable:
    """Open a file, or standard input for `-`, unpacked.

    Args:
        name: Of the file.
        encoding: Of the text; None: nobody knows yet, so zero bytes may be a part of it.
        workbook: Whether a ZIP archive may be meant, which an Excel workbook is.

    Raises:
        UsageError: it is missing, a directory, or may not be read.
        ContractError: it is no text. Nothing of it was read.
    """
    if name == "-":
        return _unpacked(sys.stdin.buffer, "standard input", encoding, workbook=workbook)
    path = Path(name)
    if path.is_dir():
        raise UsageError(f"{path} is a directory; name the files in it, such as {path}/*.ndjson")
    try:
        source = path.open("rb")
    except OSError as e:
        raise UsageError(f"{path} cannot be read: {e.strerror}; check the name") from e
    try:
        return _unpacked(source, str(path), encoding, workbook=workbook)
    except BaseException:
        source.close()
        raise


def read_all(path: Path, encoding: str | None, *, workbook: bool = False) -> bytes:
    """All bytes of a file, unpacked; as `open_input`.

    Raises:
        UsageError: it cannot be opened.
        ContractError: it is no text in that encoding, or cut.
    """
    source = open_input(str(path), encoding, workbook=workbook)
    try:
        parts = iter(lambda: source.read(1 << 20), b"")
        return b"".join(parts)
    except OSError as e:
        raise ContractError(f"{path} cannot be read: {e.strerror or e}") from e
    finally:
        source.close()


def _unpacked(raw: BinaryIO, shown: str, encoding: str | None, *, workbook: bool) -> Readable:
    source = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast("Any", raw))
    head = source.peek(_LOOKED_AT)[:_LOOKED_AT]
    packed = _Gzip if head.startswith(_GZIP) else _Zstd if head.startswith(_ZSTD) else None
    if packed is None:
        _refuse_binary(head, shown, encoding, workbook=workbook)
        return source
    opened = packed(source, shown)
    _refuse_binary(opened.look(_LOOKED_AT), f"{shown}, unpacked,", encoding, workbook=workbook)
    return opened


def _refuse_binary(head: bytes, shown: str, encoding: str | None, *, workbook: bool) -> None:
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            if workbook and magic == _ZIP:
                return
            raise ContractError(f"{shown} is {what}. Nothing of it was recorded")
    if encoding is None or encoding.replace("_", "-").lower().startswith(_OF_WIDE):
        return
    if head.startswith(_WIDE):
        raise ContractError(
            f"{shown} is text in UTF-16, and {encoding} is expected; save it as UTF-8, or name its "
            "encoding in the mapping. Nothing of it was recorded"
        )
    if head.count(0) * _RARE > len(head):
        raise ContractError(
            f"{shown} is no text: byte {head.index(0)} is 0, and many are; name a text file "
            "(NDJSON or CSV, plain or compressed with gzip or zstd). Nothing of it was recorded"
        )


class _Packed:
    """A compressed input, unpacked as it is read; one that is cut says so at its end."""

    def __init__(self, source: BinaryIO, shown: str) -> None:
        self._source = source
        self._shown = shown
        self._ahead = b""

    def look(self, size: int) -> bytes:
        """The first bytes, which `read` gives as well."""
        while len(self._ahead) < size and (more := self._more(size)):
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most so many of what was packed."""
        if self._ahead:
            given, self._ahead = self._ahead, b""
            return given
        return self._more(size)

    def _more(self, size: int) -> bytes:
        raise NotImplementedError

    def close(self) -> None:
        """Give back the file, unless it is standard input."""
        if self._source is not sys.stdin.buffer:
            self._source.close()

    def _cut(self, e: Exception | None = None) -> ContractError:
        why = f" ({e})" if e is not None else ""
        return ContractError(
            f"{self._shown} ends in the middle of its compressed data{why}: it was cut, or is "
            "still being written. What stood before it is read"
        )


class _Gzip(_Packed):
    """gzip, of one part or several."""

    def __init__(self, source: BinaryIO, shown: str) -> None:
        super().__init__(source, shown)
        self._file = gzip.GzipFile(fileobj=source, mode="rb")

    def _more(self, size: int) -> bytes:
        try:
            return self._file.read1(max(size, 1 << 16))
        except (EOFError, zlib.error, gzip.BadGzipFile) as e:
            raise self._cut(e) from e


class _Zstd(_Packed):
    """Zstandard, of one frame or several."""

    def __init__(self, source: BinaryIO, shown: str) -> None:
        import zstandard

        super().__init__(source, shown)
        self._error = zstandard.ZstdError
        self._fresh = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._fresh()
        self._begun = False

    def _more(self, size: int) -> bytes:
        while True:
            left = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame, self._begun = self._fresh(), bool(left)
            packed = left or self._source.read(max(size, 1 << 16))
            if not packed:
                if self._begun:
                    raise self._cut()
                return b""
            self._begun = True
            try:
                given = self._frame.decompress(packed)
            except self._error as e:
                raise self._cut(e) from e
            if given:
                return bytes(given)
