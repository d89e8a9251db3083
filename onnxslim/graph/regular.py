"""Reading only what is a file: a named pipe waits for a writer that may never come, a device may have no end."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from onnxslim.errors import InputError


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
