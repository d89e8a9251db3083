"""The journal of a search keeps what was put into it, whatever happens to the process and to the files."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onnxslim.errors import InputError, SetupError
from onnxslim.search.journal import HEADER, Damaged, Journal


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_is_put_is_found(tmp_path: Path, in_memory: bool) -> None:
    folder = None if in_memory else tmp_path / "a" / "work"
    with Journal(folder) as journal:
        digest = journal.store(b"model")
        assert journal.store(b"model") == digest
        journal.put("k1", "trial", {"sqnr": math.inf, "text": "ä\n"}, objects=[digest])
        journal.put("k2", "table", {"a": [1, 2]})
        journal.put("k1", "trial", {"sqnr": 3.5}, objects=[digest])
        with pytest.raises(ValueError, match="store the object"):
            journal.put("k3", "trial", {}, objects=["0" * 64])
        if folder is not None:
            journal.close()
            journal = Journal(folder)
        assert (journal.get("k1"), journal.get("k2"), journal.get("k3")) == ({"sqnr": 3.5}, {"a": [1, 2]}, None)
        assert [(each.key, each.objects) for each in journal.entries("trial")] == [("k1", (digest,))]
        assert journal.load(digest) == b"model"
        assert (journal.notes, len(journal)) == ([], 2)
        journal.close()


def test_a_torn_line_is_cut_off_and_said(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.put("whole", "trial", {"a": 1})
        before = (tmp_path / "journal.jsonl").read_bytes()
        journal.put("torn", "trial", {"b": 2})
    line = (tmp_path / "journal.jsonl").read_bytes()[len(before) :]
    for end in (1, len(line) // 2, len(line) - 1):
        (tmp_path / "journal.jsonl").write_bytes(before + line[:end])
        with Journal(tmp_path) as journal:
            assert (journal.get("whole"), journal.get("torn")) == ({"a": 1}, None)
            assert journal.notes == ["the last entry was not written to its end, and is done again"]
            journal.put("torn", "trial", {"b": 3})
        with Journal(tmp_path) as journal:
            assert (journal.get("torn"), journal.notes) == ({"b": 3}, [])
    for end in range(len(HEADER)):  # killed while the folder was made
        (tmp_path / "journal.jsonl").write_bytes(HEADER[:end])
        Journal(tmp_path).close()
        assert (tmp_path / "journal.jsonl").read_bytes() == HEADER


def test_damage_costs_what_is_damaged(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        kept, spoilt, gone = journal.store(b"kept"), journal.store(b"spoilt"), journal.store(b"gone")
        for name, digest in (("kept", kept), ("spoilt", spoilt), ("gone", gone)):
            journal.put(name, "trial", {"of": name}, objects=[digest])
        journal.put("line", "trial", {"value": 1234})
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b"1234", b"1235"))
    (tmp_path / "objects" / spoilt[:2] / spoilt).write_bytes(b"spoiled")
    (tmp_path / "objects" / gone[:2] / gone).unlink()
    (tmp_path / "objects" / kept[:2] / ".kept.0123.tmp").write_bytes(b"of a killed writer")
    with Journal(tmp_path) as journal:
        assert [each.key for each in journal.entries("trial")] == ["kept"]
        assert journal.get("spoilt") is journal.get("gone") is None
        assert journal.notes == [
            "damaged entries, which are ignored: 1",
            f"the object {spoilt[:12]} is damaged; entries that need it and are ignored: 1",
            f"the object {gone[:12]} is missing; entries that need it and are ignored: 1",
        ]
        with pytest.raises(Damaged):
            journal.load(spoilt)
        assert journal.store(b"spoilt") == spoilt
    with Journal(tmp_path) as journal:
        assert [each.key for each in journal.entries("trial")] == ["kept", "spoilt"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds something else .*; fix: name a new or an empty folder"):
        Journal(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["photo.jpg"]
    (tmp_path / "journal.jsonl").write_text('{"of": "another tool"}\n')
    with pytest.raises(InputError, match="no journal of this version"):
        Journal(tmp_path)
    with pytest.raises(InputError, match="cannot be written"):
        Journal(tmp_path / "photo.jpg")
    assert (tmp_path / "journal.jsonl").read_text() == '{"of": "another tool"}\n'


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with Journal(tmp_path / "work") as journal:
        with pytest.raises(InputError, match="another process works in the folder"):
            Journal(tmp_path / "work")
        journal.put("k", "trial", {})
    with Journal(tmp_path / "work") as journal:
        assert len(journal) == 1


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path) as journal:
        journal.put("before", "trial", {})
        write = os.write
        monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:9]))
        with pytest.raises(SetupError, match="there is no room"):
            journal.put("more", "trial", {})
        monkeypatch.undo()
        assert journal.get("more") is None
        journal.put("after", "trial", {})
    with Journal(tmp_path) as journal:
        assert [each.key for each in journal.entries("trial")] == ["before", "after"]
        assert journal.notes == []


WRITER = """
import sys
from onnxslim.search.journal import Journal
with Journal(sys.argv[1]) as journal:
    for count in range(len(journal), 100_000):
        data = str(count).encode() * 4000
        journal.put(str(count), "trial", {"count": count, "filling": "x" * 3000}, objects=[journal.store(data)])
        print(count, flush=True)
"""


def test_kills_at_random_moments_lose_at_most_one_entry(tmp_path: Path) -> None:
    moments = random.Random(1)
    done = 0
    for _ in range(10):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            first = int(writer.stdout.readline())
            assert done <= first <= done + 1  # an entry may be on the disk before it is said
            time.sleep(moments.uniform(0, 0.03))
            writer.kill()
            said = writer.stdout.read().split(b"\n")[:-1]
        done = (int(said[-1]) if said else first) + 1
    with Journal(tmp_path) as journal:
        found = [(each.payload["count"], journal.load(each.objects[0])) for each in journal.entries("trial")]
    assert found == [(count, str(count).encode() * 4000) for count in range(len(found))]
    assert done <= len(found) <= done + 1
