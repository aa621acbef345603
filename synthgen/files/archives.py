"""Open compressed files and ZIP archives within limits, for tables, array files and bundles.

Content is decompressed as it is read, up to what a file of that size may become. A ZIP directory of a few
bytes an entry can list the same bytes many times, and declare any size. So the number of entries is checked
before the directory is read, and the sum of all declared sizes against the bytes on disk before an entry is.
`zipfile` itself hands out no more of an entry than its directory declares.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

from synthgen.files import limits

BROKEN = (OSError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, struct.error)
"""What `zipfile` raises on archives that are damaged, encrypted or compressed in another way."""
_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
"""LZMA is left out: its decoder allocates what the entry's header says."""
XZ_MEMORY = 512 * 2**20
"""Bytes that the decoder of xz may allocate: eight times what ``xz -9`` asks for."""
_STEP = 1 << 16
_END, _END64 = b"PK\x05\x06", b"PK\x06\x06"
_SMALLEST_ENTRY = 46


def open_compressed(path: Path) -> IO[bytes]:
    """Open a file's content, decompressed by its ending: ``.gz``, ``.bz2``, ``.xz``, ``.zst``, else as it is.

    Raises:
        TooLarge: when it is read: more has come than a file of that size may become.
        OSError: it cannot be read, or is not of that kind.
    """
    kind = path.suffix.lower()
    if kind == ".gz":
        plain: Any = gzip.open(path, "rb")
    elif kind == ".bz2":
        plain = bz2.open(path, "rb")
    elif kind == ".xz":
        plain = io.BufferedReader(_Xz(path))
    elif kind == ".zst":
        import pyarrow as pa

        plain = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
    else:
        return path.open("rb")
    return bounded(plain, path)


def bounded(plain: Any, path: Path) -> IO[bytes]:
    """Return a stream of decompressed content that ends with an error beyond the limits.

    Args:
        plain: the content.
        path: the compressed file.
    """
    return io.BufferedReader(_Expanding(plain, path), buffer_size=_STEP)


class _Expanding(io.RawIOBase):
    """Decompressed content, up to what a file of that size may become."""

    def __init__(self, plain: Any, path: Path) -> None:
        self._plain = plain
        self._where = str(path)
        self._most = self._left = limits.expanded(path.stat().st_size)

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or a part of it.

        Raises:
            TooLarge: more has come than the limits allow.
        """
        content = self._plain.read(len(buffer))
        self._left -= len(content)
        if self._left < 0:
            limits.refuse("expansion", where=self._where, most=self._most)
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Close the compressed file."""
        if not self.closed:
            self._plain.close()
        super().close()


class _Xz(io.RawIOBase):
    """The content of an xz file, whose decoder allocates no more than `XZ_MEMORY`, whatever the file says."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._decoder = lzma.LZMADecompressor(memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or a part of it.

        Raises:
            LZMAError: the content is damaged, or needs more memory.
            EOFError: it is cut off.
        """
        content = b""
        while not content:
            more = b""
            if self._decoder.eof:
                more = (self._decoder.unused_data or self._file.read(_STEP)).lstrip(b"\0")  # padding
                if not more:
                    return 0
                self._decoder = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
            elif self._decoder.needs_input:
                more = self._file.read(_STEP)
                if not more:
                    raise EOFError("Expected the end of the stream.")
            content = self._decoder.decompress(more, len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def open_zip(path: Path) -> zipfile.ZipFile:
    """Return an archive whose entries together fit into the limits.

    Raises:
        TooLarge: it lists too many entries, or they would become too many bytes.
        NotImplementedError: an entry is compressed in a way that is not read.
        BROKEN: it is no archive.
    """
    where, size = str(path), path.stat().st_size
    limits.require("archive_entries", _listed(path, size), where=where)
    archive = zipfile.ZipFile(path)
    try:
        entries = archive.infolist()
        limits.require("archive_entries", len(entries), where=where)
        total = sum(entry.file_size for entry in entries)
        limits.require("expansion", total, where=where, most=limits.expanded(size))
        if any(entry.compress_type not in _KINDS for entry in entries):
            raise NotImplementedError("Expected entries that are stored or deflated.")
    except BaseException:
        archive.close()
        raise
    return archive


def _listed(path: Path, size: int) -> int:
    """Return how many entries the directory has at most, by its length."""
    with path.open("rb") as stream:
        stream.seek(max(0, size - (1 << 16) - 22))
        tail = stream.read()
        place = tail.rfind(_END)
        if place < 0 or len(tail) < place + 22:
            return 0
        length = int(struct.unpack_from("<I", tail, place + 12)[0])
        large = tail.rfind(_END64, 0, place)
        if large >= 0 and len(tail) >= large + 56:
            length = max(length if length != 0xFFFFFFFF else 0, *struct.unpack_from("<Q", tail, large + 40))
    return min(length, size) // _SMALLEST_ENTRY
