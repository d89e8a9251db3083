"""Archives of arrays (``.npz``), judged by what they declare before anything of them is unpacked.

A few MB can unpack to gigabytes. The directory at the end of an archive gives the names and the unpacked sizes, the
head of each member the dtype and the shape: names, shapes and sizes are checked by these, then each array is read, no
further than it may go. Arrays that are stored without compression can be mapped.
"""

from __future__ import annotations

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Self, cast

import numpy as np

from onnxslim.errors import InputError
from onnxslim.graph.regular import open_regular

MAX_BYTES = 512 << 20
"""Bytes of the arrays of one file that is unpacked into memory."""
MAX_MEMBERS = 10_000
"""Arrays of one file."""

FAILURES = (
    *(OSError, ValueError, EOFError, TypeError, AttributeError, SyntaxError, OverflowError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
"""All that numpy and zipfile raise on damaged files. RuntimeError: a password, or a compression that is unknown."""

Array = np.ndarray[Any, np.dtype[Any]]
_CHUNK = 1 << 20
_LOCAL_HEADER = 30
"""Bytes before the name of a member."""


@dataclass(frozen=True, slots=True)
class Member:
    """An array of an archive, as its head declares it."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    offset: int | None
    """Where the numbers begin in the file; None where they are compressed."""

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


class Archive:
    """An open ``.npz`` whose declarations have been read; a context manager.

    Raises:
        InputError: It is no regular file, has too many arrays, or an array's declared shape contradicts its size.
        Exception: One of `FAILURES`, where the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = open_regular(path, "the sample file")
        self._streams: dict[str, IO[bytes]] = {}
        """Each behind its head."""
        try:
            self._zip = zipfile.ZipFile(self._file)
            entries = self._zip.infolist()
            if len(entries) > MAX_MEMBERS:
                raise InputError(
                    f"the file holds {len(entries):,} arrays", where=str(path), mend="save one array for each input"
                )
            self.members: Mapping[str, Member] = {each.name: each for each in map(self._member, entries)}
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._file.close()

    def check_size(self, mend: str = "save fewer or smaller arrays in one file") -> None:
        """Refuses an archive that would take too much memory.

        Raises:
            InputError: The arrays have more than `MAX_BYTES`.
        """
        total = sum(member.nbytes for member in self.members.values())
        if total > MAX_BYTES:
            largest = max(self.members.values(), key=lambda member: member.nbytes)
            raise InputError(
                f"the file unpacks to {total:,} bytes",
                where=str(self.path),
                why=f"{largest.name!r} alone is {largest.dtype}{list(largest.shape)}; at most {MAX_BYTES:,} are read",
                mend=mend,
            )

    def read(self, name: str) -> Array:
        """The array of that name, no more of it than was declared. To be asked for once.

        Raises:
            Exception: One of `FAILURES`, where it is damaged.
        """
        member, stream = self.members[name], self._streams[name]
        numbers = np.empty(member.nbytes, np.uint8)
        at = 0
        while at < numbers.size:
            piece = stream.read(min(_CHUNK, numbers.size - at))
            if not piece:
                raise EOFError(f"{member.name!r} ends early")
            numbers[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        stream.read(1)  # at its end the checksum is compared
        if not member.nbytes:
            return np.empty(member.shape, member.dtype)
        shape = member.shape[::-1] if member.fortran else member.shape
        array = numbers.view(member.dtype).reshape(shape)
        return array.T if member.fortran else array

    def map(self, name: str) -> Array | None:
        """The array of that name without reading it; None where it is compressed."""
        member = self.members[name]
        if not member.nbytes:
            return np.empty(member.shape, member.dtype)
        if member.offset is None:
            return None
        order = cast(Any, "F" if member.fortran else "C")
        return np.memmap(self.path, member.dtype, "r", member.offset, member.shape, order)

    def _member(self, entry: zipfile.ZipInfo) -> Member:
        name = entry.filename.removesuffix(".npy")
        stream = self._streams[name] = self._zip.open(entry)
        version = np.lib.format.read_magic(stream)  # type: ignore[arg-type, unused-ignore]
        shape, fortran, dtype = _read_head(version, stream)
        head = stream.tell()
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded")
        declared = head + math.prod(shape) * dtype.itemsize
        if declared != entry.file_size or any(size < 0 for size in shape):
            raise InputError(
                "an array's declared shape contradicts its size",
                where=f"{self.path}, {entry.filename!r}",
                why=f"{dtype}{list(shape)} takes {declared:,} bytes with its head, the file holds {entry.file_size:,}",
                mend="save it again with numpy.savez",
            )
        offset = self._start(entry) + head if entry.compress_type == zipfile.ZIP_STORED else None
        return Member(name, dtype, shape, fortran, offset)

    def _start(self, entry: zipfile.ZipInfo) -> int:
        """Where the content of a member begins: behind its local header, whose extra field may differ in length."""
        with _kept_position(self._file) as file:
            file.seek(entry.header_offset)
            head = file.read(_LOCAL_HEADER)
        name, extra = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
        return entry.header_offset + _LOCAL_HEADER + name + extra


@contextlib.contextmanager
def _kept_position(file: BinaryIO) -> Iterator[BinaryIO]:
    at = file.tell()
    try:
        yield file
    finally:
        file.seek(at)


def _read_head(version: tuple[int, int], stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and dtype; versions 2 and 3 differ in the encoding of field names only."""
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)
