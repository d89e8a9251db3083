"""Reading only what is a file: a named pipe waits for a writer that may never come, a device may have no end."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

from onnxslim.errors import InputError

HOLE_FROM = 64 << 20
"""Bytes from which on a range of a file is looked into for holes."""
LEAST_WRITTEN = 8
"""Of the bytes of a range, one in so many must have been written."""
_EXTENTS = 4096
"""Pieces of a file that are counted; one that has more is no hole."""


def open_regular(path: str | os.PathLike[str], what: str) -> BinaryIO:
    """Opens a file for reading, and nothing that merely has a path.

    Args:
        path: The file; links are followed.
        what: What it is, for messages: ``the recipe``.

    Raises:
        InputError: It is a folder, a named pipe, a socket or a device.
        OSError: It cannot be opened.
    """
    check_regular(path, what)
    return open(path, "rb")


def check_regular(path: str | os.PathLike[str], what: str) -> None:
    """Refuses what is no file, before anyone opens it.

    Raises:
        InputError: As `open_regular`.
        OSError: There is nothing, or it cannot be looked at.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise InputError(
            f"{what} is not a regular file",
            where=os.fspath(path),
            why=f"it is {kind_of(mode)}",
            mend="name a plain file; save what a pipe gives to a file first",
        )


def kind_of(mode: int) -> str:
    """What a file mode says that it is.

    >>> kind_of(stat.S_IFIFO)
    'a named pipe'
    """
    for test, name in ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket")):
        if test(mode):
            return name
    return "a device"


def check_written(path: str | os.PathLike[str], start: int, length: int, what: str) -> None:
    """Refuses a range of a file that is mostly hole: it was set to its length, and never written.

    Downloads that stopped leave such files, and a file of no bytes may claim terabytes in this way. Where the file
    system cannot tell, nothing is refused.

    Args:
        path: The file.
        start: Where the range begins, in bytes.
        length: How long it is; up to `HOLE_FROM` nothing is looked at.
        what: What lies there, for messages.

    Raises:
        InputError: Fewer than one in `LEAST_WRITTEN` of its bytes were written.
    """
    if length < HOLE_FROM or not hasattr(os, "SEEK_DATA"):
        return
    try:
        written = _written(path, start, start + length, length // LEAST_WRITTEN)
    except OSError:
        return  # it is opened again, and whoever does so says what is wrong
    if written < length // LEAST_WRITTEN:
        raise InputError(
            f"{what} was never written: of {length:,} bytes {written:,} are on the disk",
            where=os.fspath(path),
            why="the file was made in its full length, and what should fill it did not come",
            mend="copy or download the file again",
        )


def _written(path: str | os.PathLike[str], start: int, end: int, enough: int) -> int:
    """Bytes between ``start`` and ``end`` that are no hole, counted until there are ``enough``."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found = 0
        for _ in range(_EXTENTS):
            try:
                start = os.lseek(descriptor, start, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but hole from here on
                    return found
                raise
            if start >= end or found >= enough:
                return found
            hole = min(os.lseek(descriptor, start, os.SEEK_HOLE), end)
            found, start = found + hole - start, hole
        return enough
    finally:
        os.close(descriptor)
