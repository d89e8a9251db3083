"""Data files of writers that were killed between their data and their model: found again, and removed.

A writer that is about to give a data file its name leaves a note beside it, which says what the file is called and
which file it is. The note goes when the model is in its place and the old model's data is gone. A note that outlives
its writer is the proof that the data file is ours, and that its model may never have come. Nothing without such a note
is ever removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from onnxslim.graph.atomic import POSIX, STALE_SECONDS, lock_at_once, sync_folder
from onnxslim.graph.interrupts import uninterrupted

_NOTE = re.compile(r"\.onnxslim-[0-9a-f]{16}\.pending")
_STAGED = re.compile(r"\..*\.[0-9a-f]{16}\.tmp", re.DOTALL)
MAX_NOTE = 4096
"""Bytes that a note may have."""


@contextlib.contextmanager
def noted(target: Path, temporary: Path) -> Iterator[Callable[[str], None]]:
    """Holds a note on the data file ``temporary`` until the model ``target`` is written, or the attempt has failed.

    To be used under the folder's lock. Also for the old model's data, which goes when the new model is in its place.

    Yields:
        A function that takes the name which the data file is about to get; the note is on the disk when it returns.
    """
    note = target.with_name(f".onnxslim-{os.urandom(8).hex()}.pending")
    descriptors: list[int] = []

    def write(name: str) -> None:
        facts = temporary.stat()
        with uninterrupted():
            if not descriptors:
                descriptors.append(os.open(note, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))
                with contextlib.suppress(OSError):  # shows to sweep_orphans that the writer lives
                    lock_at_once(descriptors[0])
        text = json.dumps({"data": name, "inode": facts.st_ino, "size": facts.st_size})
        os.pwrite(descriptors[0], text.encode().ljust(MAX_NOTE // 4), 0)
        os.fsync(descriptors[0])
        sync_folder(target.parent)

    try:
        yield write
    finally:
        with uninterrupted():
            for descriptor in descriptors:
                note.unlink(missing_ok=True)
                os.close(descriptor)


def is_leftover(name: str) -> bool:
    """Whether a file of that name is a note, or was never put in its place: no model that anyone opens."""
    return bool(_NOTE.fullmatch(name) or _STAGED.fullmatch(name))


def sweep_orphans(folder: Path, mentioned: Callable[[Path], bool]) -> None:
    """Removes the data files that killed writers left in ``folder``, and the notes on them. Under the folder's lock.

    Args:
        folder: Where models are.
        mentioned: Whether a model in the folder may refer to a data file; such a file stays.
    """
    with os.scandir(folder) as entries:
        notes = [folder / e.name for e in entries if _NOTE.fullmatch(e.name) and e.is_file(follow_symlinks=False)]
    for note in notes:
        with contextlib.suppress(OSError):  # held by a writer that lives, gone, or another user's: not ours to remove
            descriptor = os.open(note, os.O_RDONLY)
            try:
                lock_at_once(descriptor)
                facts = os.fstat(descriptor)
                if not POSIX and time.time() - facts.st_mtime < STALE_SECONDS:
                    continue  # no locks here: its writer may live
                data = _data_of(folder, os.read(descriptor, MAX_NOTE))
                if data is not None and not mentioned(data):
                    data.unlink()
                note.unlink()
            finally:
                os.close(descriptor)


def _data_of(folder: Path, text: bytes) -> Path | None:
    """The very file that a note was written on, under the name that it was to get; None where it is not there."""
    try:
        found: Any = json.loads(text)
        name, inode, size = found["data"], found["inode"], found["size"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(name, str) or os.path.basename(name) != name or name in ("", ".", ".."):
        return None
    data = folder / name
    if not data.is_file() or data.is_symlink():
        return None
    facts = data.lstat()
    same = (facts.st_ino, facts.st_size) == (inode, size) and facts.st_nlink == 1
    return data if same else None
