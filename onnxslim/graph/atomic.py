"""Files that are there whole or not at all: written beside their place, flushed, then put in place by one rename."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from onnxslim.errors import InputError, OnnxSlimError, SetupError
from onnxslim.graph.interrupts import uninterrupted

POSIX = os.name == "posix"
LOCK_SECONDS = 120.0
"""How long a writer waits for another one in the same folder."""
STALE_SECONDS = 60.0
"""Age from which a temporary file that no process holds is taken for a killed writer's."""


def atomic_write(path: str | os.PathLike[str], data: bytes | Iterable[bytes]) -> None:
    """Writes a file so that whoever looks, also after a crash, finds the old content or the new one.

    A link is written through to the file it leads to; the permissions of an existing file are kept.

    Args:
        path: The file.
        data: Its content, in one piece or in several.

    Raises:
        InputError: The folder is missing or cannot be written, or the path is no regular file.
        SetupError: The disk is full or fails.
    """
    target = resolve_target(path)
    with staged(target) as (file, temporary):
        for chunk in [data] if isinstance(data, bytes) else data:
            file.write(chunk)
        finish(file)
        commit(temporary, target)


def resolve_target(path: str | os.PathLike[str]) -> Path:
    """The real path of an output, checked to be writable as far as one can tell.

    Raises:
        InputError: It is a folder or a device, or its folder is missing.
    """
    with explained(path):
        target = Path(os.path.realpath(path))
        if target.is_dir() or os.fspath(path).endswith(os.sep):
            raise InputError("the output is a folder", where=os.fspath(path), mend="name a file in it")
        if target.exists() and not target.is_file():
            raise InputError("the output is no regular file", where=os.fspath(path), mend="name another file")
        if not target.parent.is_dir():
            raise InputError(
                "the folder of the output is not there", where=os.fspath(path), mend=f"mkdir -p {str(target.parent)!r}"
            )
    return target


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuses an output that could not be written, by making a file beside it: before the work, not after it.

    Raises:
        InputError: The folder is missing or cannot be written, or the path is no regular file.
        SetupError: The disk is full or fails.
    """
    with staged(resolve_target(path)):
        pass


@contextlib.contextmanager
def scratch_folder() -> Iterator[str]:
    """A temporary folder that is gone at the end, however this process is told to end.

    Raises:
        SetupError: There is none, or no room in it.
    """
    made: list[tempfile.TemporaryDirectory[str]] = []
    try:
        with scratch_explained(), uninterrupted():
            made.append(tempfile.TemporaryDirectory(prefix="onnxslim-"))
        yield made[0].name
    finally:
        with uninterrupted():
            for each in made:
                each.cleanup()


@contextlib.contextmanager
def scratch_explained() -> Iterator[None]:
    """Turns what the system says of the temporary folder into an error of the environment.

    Raises:
        SetupError: There is no temporary folder, or no room in it.
    """
    try:
        yield
    except OSError as error:
        raise scratch_error(error.strerror or str(error)) from error


def scratch_error(why: str) -> SetupError:
    """The error to raise where the temporary folder takes no file."""
    return SetupError(
        "the temporary folder takes no file",
        where=os.environ.get("TMPDIR", ""),
        why=why,
        mend="free some space there, or set TMPDIR to a folder with more",
    )


@contextlib.contextmanager
def staged(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file beside ``target``, with its permissions; it is removed at the end unless it was renamed by then.

    Its name is hidden and random: what a killed process leaves is never read and never in the way.
    """
    temporary = target.with_name(f".{target.name[:100]}.{os.urandom(8).hex()}.tmp")
    with explained(target):
        file: BinaryIO | None = None
        try:
            with uninterrupted():
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
                file = os.fdopen(os.open(temporary, flags, 0o666), "wb")
            with file:
                with contextlib.suppress(OSError):  # shows to sweep that the writer lives
                    lock_at_once(file.fileno())
                with contextlib.suppress(FileNotFoundError):
                    os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
                yield file, temporary
        finally:
            if file is not None:
                with contextlib.suppress(FileNotFoundError):
                    temporary.unlink()


def sweep(target: Path) -> None:
    """Removes what killed writers of ``target`` left: hidden files of ``staged`` that are old and that nobody holds."""
    pattern = re.compile(re.escape(f".{target.name[:100]}.") + r"[0-9a-f]{16}\.tmp")
    with os.scandir(target.parent) as entries:
        names = [
            entry.name for entry in entries if pattern.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
        ]
    for name in names:
        path = target.with_name(name)
        with contextlib.suppress(OSError):  # locked, gone, or another's: not ours to remove
            descriptor = os.open(path, os.O_RDONLY)
            try:
                lock_at_once(descriptor)
                if time.time() - os.fstat(descriptor).st_mtime > STALE_SECONDS:
                    path.unlink()
            finally:
                os.close(descriptor)


def finish(file: BinaryIO) -> None:
    """Brings a file's content to the disk."""
    file.flush()
    os.fsync(file.fileno())


def commit(temporary: Path, target: Path) -> None:
    """Puts a finished file in its place, and that fact on the disk."""
    os.replace(temporary, target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Brings a folder's entries to the disk."""
    if not POSIX:
        return  # elsewhere a folder cannot be opened, and a rename is on the disk when it returns
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other writers of this package out of ``folder``. The lock dies with the process.

    Raises:
        SetupError: Another writer holds it for longer than ``LOCK_SECONDS``.
    """
    if not POSIX:
        yield  # unique names still keep the writers apart
        return
    with explained(folder):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            deadline = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    lock_at_once(descriptor)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise SetupError(
                            "another process has been writing to the folder for too long",
                            where=str(folder),
                            mend="wait for it, or end it",
                        ) from error
                    time.sleep(0.02)
                except OSError as error:
                    if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
                        raise
                    break  # a file system without locks: unique names still keep the writers apart
            yield
        finally:
            os.close(descriptor)


def lock_at_once(descriptor: int) -> None:
    """Takes an advisory lock at once or raises BlockingIOError; does nothing where there are none."""
    if POSIX:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def explained(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what the operating system says into an error that a person can act on."""
    try:
        yield
    except OnnxSlimError:
        raise
    except (OSError, ValueError) as error:
        where, code = os.fspath(path), getattr(error, "errno", None)
        why = getattr(error, "strerror", None) or str(error)
        if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise SetupError(
                "there is no room to write the file", where=where, why=why, mend="free some space, or write elsewhere"
            ) from error
        if code in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(
                "the folder of the output cannot be written", where=where, why=why, mend="write elsewhere"
            ) from error
        if code == errno.EIO:
            raise SetupError("the disk failed", where=where, why=why, mend="check the disk") from error
        raise InputError(
            "the file cannot be written", where=where, why=why, mend="write elsewhere, or under another name"
        ) from error
