from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim.calibration import Request, Statistics, collect
from onnxslim.errors import InputError
from onnxslim.ops.unfold import Unfold
from tests.calibration.nets import conv_model, images, unfold_of


def statistics(count: int = 20, shard: tuple[int, int] | None = None, extra: bool = False) -> Statistics:
    model = conv_model()
    unfold = unfold_of(model.graph[0])
    assert isinstance(unfold, Unfold)
    requests = [
        Request("c", "range"),
        Request("c", "range", axis=1),
        Request("r", "histogram"),
        Request("r", "mean", axis=1),
        Request("x", "gram", unfold=unfold),
        Request("v", "range"),
        *([Request("y", "range")] if extra else []),
    ]
    return collect(model, images(count), requests, shard=shard)


def test_files_round_trip(tmp_path: Path) -> None:
    found = statistics()
    found.save(tmp_path / "s.npz")
    again = Statistics.load(tmp_path / "s.npz")
    assert (again.samples, again.blocks, again.covered) == (found.samples, found.blocks, found.covered)
    assert again.declined == found.declined
    assert len(again.declined) == 1
    assert again.names == found.names
    assert again.entries.keys() == found.entries.keys()
    for key, entry in found.entries.items():
        arrays, others = entry.to_arrays(), again.entries[key].to_arrays()
        assert arrays.keys() == others.keys()
        assert all(arrays[name].tobytes() == others[name].tobytes() for name in arrays)
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


def rewritten(path: Path, change: Any) -> None:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    head = json.loads(arrays["head"].tobytes())
    change(head, arrays)
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    np.savez(path, **arrays)


DAMAGE: dict[str, Any] = {
    "version": lambda head, arrays: head.update(version=99),
    "blocks": lambda head, arrays: head.update(covered=[[0, 9]]),
    "overlap": lambda head, arrays: head.update(covered=[[0, 2], [1, 2]]),
    "kind": lambda head, arrays: head["keys"][0].__setitem__(1, "median"),
    "unfold": lambda head, arrays: head["keys"][0].__setitem__(3, {"features": 3, "other": 1}),
    "missing": lambda head, arrays: arrays.pop(next(name for name in arrays if name != "head")),
    "head": lambda head, arrays: head.pop("names"),
    **{
        f"dtype of {number}": lambda head, arrays, n=number: arrays.update(
            {name: np.zeros(2, np.int8) for name in arrays if name.startswith(f"{n}.")}
        )
        for number in range(5)
    },
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "s.npz"
    statistics().save(path)
    rewritten(path, DAMAGE[damage])
    with pytest.raises(InputError, match=r"of version 99|holds no statistics, or is damaged|both cover block 1"):
        Statistics.load(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"statistics cannot be read .*No such file"):
        Statistics.load(tmp_path / "none.npz")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match="damaged"):
        Statistics.load(tmp_path / "cut.npz")
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    with pytest.raises(InputError, match="damaged"):
        Statistics.load(tmp_path / "other.npz")


def test_what_cannot_be_merged() -> None:
    first, second = (statistics(shard=(index, 2)) for index in (0, 1))
    assert not first.complete
    with pytest.raises(InputError, match="different sample sets"):
        first.merge(statistics(21, shard=(1, 2)))
    with pytest.raises(InputError, match="both cover block 0"):
        first.merge(statistics())
    with pytest.raises(InputError, match="different requests"):
        first.merge(statistics(shard=(1, 2), extra=True))
    assert first.merge(second).complete


def test_other_statistics_of_the_same_blocks_are_added() -> None:
    found = statistics().merge(statistics(extra=True))
    assert found.range("y") is not None
    assert found.range("c", axis=1) is not None
    assert found.range("c", axis=2) is None


def test_an_empty_shard_adds_nothing() -> None:
    shards = [statistics(10, shard=(index, 3)) for index in range(3)]
    merged = shards[0].merge(shards[1]).merge(shards[2])
    assert merged.complete
    assert merged.entries.keys() == statistics(10).entries.keys()
