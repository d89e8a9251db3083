"""What a search has done, on the disk: a journal that only grows, and files that are named by their content.

    FOLDER/journal.jsonl           a line for each entry, after a first line that says what the file is
    FOLDER/objects/ab/abcdef...    bytes, under the hash of them

An entry is written by one call of the system and is on the disk when `Journal.put` returns. Whoever is killed loses the
entry that he was writing and nothing else: what is left of its line is cut off when the folder is opened again. Objects
come before the entries that name them, and each is there whole or not at all. All is checked when it is read: damage
costs the work that the damaged part stands for, which is then done again.

Numbers that are not finite stand in a line as Python writes them (``Infinity``, ``NaN``).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from onnxslim.errors import InputError
from onnxslim.graph.atomic import commit, explained, finish, lock_at_once, staged, sync_folder

NAME, OBJECTS = "journal.jsonl", "objects"
HEADER = b'{"onnxslim":"journal","version":1}\n'


class Damaged(InputError):
    """An object is missing, or its bytes are no longer those that were stored."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A line of the journal.

    Attributes:
        key: Of what it is known of: the hash of all that the payload depends on.
        kind: Such as ``trial``.
        time: Seconds since 1970.
        payload: What is known.
        objects: Digests of the objects that it needs.
    """

    key: str
    kind: str
    time: float
    payload: dict[str, Any]
    objects: tuple[str, ...] = ()


class Journal:
    """Keeps entries and objects in a folder, or in memory where there is none.

    One process at a time has a folder. Its lock ends with the process.

    Args:
        folder: Made where it is not there; None keeps all in memory.

    Raises:
        InputError: The folder holds something else, cannot be written, or another process has it.
        SetupError: The disk is full or fails.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.notes: list[str] = []
        """What was lost, in words."""
        self._entries: dict[str, JournalEntry] = {}
        self._memory: dict[str, bytes] = {}
        self._sound: set[str] = set()
        self._file = -1
        if self.folder is not None:
            with explained(self.folder):
                self._open(self.folder)

    def _open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / NAME
        if not path.exists() and any(folder.iterdir()):
            raise InputError(
                "the folder holds something else than a journal",
                where=str(folder),
                mend="name a new or an empty folder",
            )
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            self._lock()
            self._read(path)
            self._sweep(folder / OBJECTS)
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        try:
            lock_at_once(self._file)
        except BlockingIOError:
            raise InputError(
                "another process works in the folder",
                where=str(self.folder),
                mend="wait until it has ended, or name another folder",
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
                raise
            self.notes.append("the file system has no locks: no other process may work in the folder")

    def _read(self, path: Path) -> None:
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if not whole and HEADER.startswith(data):  # new, or killed while it was made
            os.ftruncate(self._file, 0)
            self._append(HEADER)
            sync_folder(path.parent)
            return
        if not whole.startswith(HEADER):
            raise InputError(
                "the file is no journal of this version",
                where=str(path),
                mend="name another folder, or remove this one",
            )
        if len(data) > len(whole):
            os.ftruncate(self._file, len(whole))
            self.notes.append("the last entry was not written to its end, and is done again")
        lines = whole[len(HEADER) :].splitlines()
        found = [entry for line in lines if (entry := _parsed(line)) is not None]
        if len(found) < len(lines):
            self.notes.append(f"damaged entries, which are ignored: {len(lines) - len(found)}")
        for entry in found:
            self._entries[entry.key] = entry

    def _sweep(self, objects: Path) -> None:
        """Removes what killed writers left. Nobody else writes here: the lock is ours."""
        for path in objects.glob("*/.*.tmp"):
            path.unlink()

    def __len__(self) -> int:
        """Entries."""
        return len(self._entries)

    def get(self, key: str) -> dict[str, Any] | None:
        """The payload of the last entry under a key; None where there is none, or where an object of it is damaged."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        for digest in entry.objects:
            try:
                if digest not in self._sound:
                    self.load(digest)
            except Damaged:
                return None
        return entry.payload

    def put(self, key: str, kind: str, payload: Mapping[str, Any], objects: Sequence[str] = ()) -> None:
        """Adds an entry, which replaces an earlier one under the same key. It is on the disk when this returns.

        Args:
            key: Of what it is known of.
            kind: Such as ``trial``.
            payload: What JSON can hold.
            objects: Digests of stored objects without which the entry is of no use.

        Raises:
            SetupError: The disk is full or fails.
            ValueError: An object is not stored.
        """
        if missing := [each for each in objects if not self._has(each)]:
            raise ValueError(f"store the object before the entry that names it: {missing}")
        entry = JournalEntry(key, kind, round(time.time(), 3), json.loads(json.dumps(dict(payload))), tuple(objects))
        if self.folder is not None:
            with explained(self.folder / NAME):
                self._append(_line(entry))
        self._entries[key] = entry

    def entries(self, kind: str) -> Iterator[JournalEntry]:
        """The entries of a kind, the last of each key, in the order in which their keys came first."""
        found = [entry for entry in self._entries.values() if entry.kind == kind]
        return (entry for entry in found if self.get(entry.key) is not None)

    def store(self, data: bytes) -> str:
        """Keeps bytes.

        Returns:
            Their digest, 64 hexadecimal digits.

        Raises:
            SetupError: The disk is full or fails.
        """
        digest = hashlib.blake2b(data, digest_size=32).hexdigest()
        if self.folder is None:
            self._memory[digest] = bytes(data)
        elif digest not in self._sound and not self._is_sound(digest):
            path = self._path(digest)
            with explained(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                sync_folder(path.parent.parent)
            with staged(path) as (file, temporary):
                file.write(data)
                finish(file)
                commit(temporary, path)
        self._sound.add(digest)
        return digest

    def load(self, digest: str) -> bytes:
        """The bytes that were stored.

        Raises:
            Damaged: They are not there any more. The object and the entries that need it are dropped, with a note.
        """
        data = self._memory.get(digest) if self.folder is None else self._bytes(digest)
        if data is not None and hashlib.blake2b(data, digest_size=32).hexdigest() == digest:
            self._sound.add(digest)
            return data
        needing = [entry.key for entry in self._entries.values() if digest in entry.objects]
        for key in needing:
            del self._entries[key]
        self._sound.discard(digest)
        if self.folder is not None:
            self._path(digest).unlink(missing_ok=True)
        state = "missing" if data is None else "damaged"
        self.notes.append(f"the object {digest[:12]} is {state}; entries that need it and are ignored: {len(needing)}")
        raise Damaged(f"the object is {state}", where=digest, mend="run the same command again: it is made anew")

    def _has(self, digest: str) -> bool:
        return digest in self._sound or (self.folder is not None and self._path(digest).exists())

    def _is_sound(self, digest: str) -> bool:
        data = self._bytes(digest)
        return data is not None and hashlib.blake2b(data, digest_size=32).hexdigest() == digest

    def _bytes(self, digest: str) -> bytes | None:
        try:
            return self._path(digest).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return b""  # the disk cannot read it any more

    def _path(self, digest: str) -> Path:
        assert self.folder is not None, "objects are in memory"
        return self.folder / OBJECTS / digest[:2] / digest

    def _append(self, line: bytes) -> None:
        """Writes a line at the end, whole or not at all as long as this process lives."""
        before = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, before)
            raise

    def close(self) -> None:
        """Lets other processes have the folder."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _line(entry: JournalEntry) -> bytes:
    """An entry and a sum of it, which tells a damaged line from a whole one."""
    fields: dict[str, Any] = {"key": entry.key, "kind": entry.kind, "time": entry.time, "payload": entry.payload}
    if entry.objects:
        fields["objects"] = list(entry.objects)
    text = json.dumps(fields, separators=(",", ":"))
    return f'{text[:-1]},"sum":"{zlib.crc32(text.encode()):08x}"}}\n'.encode()


def _parsed(line: bytes) -> JournalEntry | None:
    """The entry of a line; None where the line is damaged."""
    head, _, tail = line.rpartition(b',"sum":"')
    text = head + b"}"
    if tail != f'{zlib.crc32(text):08x}"}}'.encode():
        return None
    fields = json.loads(text)
    return JournalEntry(**fields | {"objects": tuple(fields.get("objects", ()))})
