"""What a pass decided, as a value: it can be kept, written to a file, and applied to the same model elsewhere.

A file of plans is a zip archive: ``plans.json`` with one entry for each key (`Store`), and a ``.npy`` member for each
array. Nothing in it is executed when it is read.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from onnxslim.errors import InputError
from onnxslim.graph.atomic import atomic_write, locked
from onnxslim.graph.regular import open_regular
from onnxslim.pipeline.action import Declined

FORMAT = 1
"""Of the file; raised when its meaning changes."""
NO_PLAN = (LookupError, TypeError, ValueError, AttributeError, RuntimeError, MemoryError)
"""What reading raises on something that is none of ours: RecursionError and NotImplementedError too."""
MOST = 8 << 30
"""Bytes that a file may unpack to."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pass decided about one model.

    Attributes:
        decided: The decision, in a form of the pass's own: dataclasses of names, numbers and arrays.
        declined: What the pass left alone, and why.
        declined_beyond: Reasons that were counted but not kept.
    """

    decided: Any = None
    declined: tuple[Declined, ...] = ()
    declined_beyond: int = 0


def encode(value: Any, arrays: list[np.ndarray]) -> Any:
    """A value as JSON's own types; its arrays are appended to ``arrays`` and referred to by their place.

    Raises:
        TypeError: A type that a plan cannot hold.
    """
    if isinstance(value, np.generic):  # it keeps its type: float32 and float64 round differently
        arrays.append(np.asarray(value))
        return {"scalar": len(arrays) - 1}
    if value is None or type(value) in (bool, int, float, str):  # an enumeration would come back as its value
        return value
    if isinstance(value, np.ndarray | np.dtype) and np.dtype(getattr(value, "dtype", value)).kind not in "biufcmMSU":
        raise TypeError(f"a plan cannot hold numbers of {value if isinstance(value, np.dtype) else value.dtype}")
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, np.dtype):
        return {"dtype": value.str}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        held = {each.name: encode(getattr(value, each.name), arrays) for each in dataclasses.fields(value)}
        return {"type": type(value).__name__, "fields": held}
    if isinstance(value, Mapping):
        return {"map": [[encode(key, arrays), encode(each, arrays)] for key, each in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [encode(each, arrays) for each in value]}
    if isinstance(value, frozenset):
        return {"set": sorted((encode(each, arrays) for each in value), key=repr)}
    if isinstance(value, list):
        return [encode(each, arrays) for each in value]
    raise TypeError(f"a plan cannot hold a {type(value).__name__}")


def decode(tree: Any, arrays: Sequence[np.ndarray], types: Mapping[str, type]) -> Any:
    """The value that `encode` made a tree of.

    Args:
        tree: JSON's own types.
        arrays: That it refers to.
        types: Name -> class of the dataclasses that may be in it.

    Raises:
        LookupError, TypeError, ValueError: It is no such tree.
    """
    if isinstance(tree, list):
        return [decode(each, arrays, types) for each in tree]
    if not isinstance(tree, dict):
        return tree
    if "fields" in tree:
        held = {name: decode(each, arrays, types) for name, each in tree["fields"].items()}
        return types[tree["type"]](**held)
    ((kind, held),) = tree.items()
    if kind == "array":
        return arrays[held]
    if kind == "scalar":
        return arrays[held][()]
    if kind == "dtype":
        return np.dtype(held)
    if kind == "map":
        return {decode(key, arrays, types): decode(each, arrays, types) for key, each in held}
    if kind in ("tuple", "set"):
        made = (decode(each, arrays, types) for each in held)
        return tuple(made) if kind == "tuple" else frozenset(made)
    raise ValueError(f"unknown entry {kind!r}")


@dataclass(frozen=True)
class StoredPlan:
    """A plan as a file holds it: decoded when the pass that made it asks for it."""

    tree: Any
    arrays: Sequence[np.ndarray]

    def plan(self, types: Sequence[type], *, offered: bool = False) -> Plan:
        """The plan.

        Args:
            types: Dataclasses that the pass's decisions are made of.
            offered: Whether it is what the pass offers, which may be of any of these, and not what it applies.

        Raises:
            InputError: It is none of this pass and this version of onnxslim.
        """
        known = {each.__name__: each for each in (*types, Plan, Declined)}
        try:
            found = decode(self.tree, self.arrays, known)
            if not isinstance(found, Plan) or (types and not offered and not isinstance(found.decided, types[0])):
                raise ValueError("it is no decision of this pass")
            if not all(isinstance(each, Declined) for each in found.declined):
                raise ValueError("its reasons are none")
        except NO_PLAN as error:
            raise InputError("the plan is of another version", why=str(error), mend="remove the file") from error
        return found


def stored_plan(plan: Plan) -> StoredPlan:
    """A plan as a file holds it.

    Raises:
        TypeError: It holds something that a file cannot.
    """
    arrays: list[np.ndarray] = []
    return StoredPlan(encode(plan, arrays), arrays)


def add_plans(path: str | os.PathLike[str], plans: Mapping[str, StoredPlan]) -> None:
    """Adds plans to a file, which another process may be adding to.

    Raises:
        InputError: The file holds something else.
        SetupError: The path cannot be written.
    """
    with locked(Path(os.path.realpath(path)).parent):
        held = read_plans(path) if os.path.exists(path) else {}
        write_plans(path, held | dict(plans))


def write_plans(path: str | os.PathLike[str], plans: Mapping[str, StoredPlan]) -> None:
    """Writes plans by their keys, atomically.

    Raises:
        SetupError: The path cannot be written.
    """
    atomic_write(path, plans_to_bytes(plans))


def plans_to_bytes(plans: Mapping[str, StoredPlan]) -> bytes:
    """Plans by their keys, as a file of them holds them: equal plans give equal bytes."""
    made = io.BytesIO()
    trees: dict[str, Any] = {}
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for key, plan in plans.items():
            trees[key] = {"plan": plan.tree, "arrays": len(plan.arrays)}
            for place, array in enumerate(plan.arrays):
                member = io.BytesIO()
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{key}/{place}.npy"), member.getvalue())
        archive.writestr(zipfile.ZipInfo("plans.json"), json.dumps({"format": FORMAT, "plans": trees}))
    return made.getvalue()


def read_plans(path: str | os.PathLike[str]) -> dict[str, StoredPlan]:
    """The plans of a file by their keys.

    Raises:
        InputError: The file is no regular file, or holds no plans of this version.
    """
    with open_regular(path, "the file of plans") as file:
        return _plans_of(file, os.fspath(path))


def plans_of_bytes(data: bytes) -> dict[str, StoredPlan]:
    """The plans that `plans_to_bytes` made bytes of.

    Raises:
        InputError: They hold no plans of this version.
    """
    return _plans_of(io.BytesIO(data), "")


def _plans_of(file: IO[bytes], where: str) -> dict[str, StoredPlan]:
    try:
        with zipfile.ZipFile(file) as archive:
            if sum(member.file_size for member in archive.infolist()) > MOST:
                raise ValueError(f"it unpacks to more than {MOST:,} bytes")
            index = json.loads(archive.read("plans.json"))
            if index["format"] != FORMAT:
                raise ValueError(f"its format is {index['format']}, and {FORMAT} is read here")
            return {
                key: StoredPlan(
                    entry["plan"],
                    [
                        np.lib.format.read_array(io.BytesIO(archive.read(f"{key}/{place}.npy")), allow_pickle=False)
                        for place in range(entry["arrays"])
                    ],
                )
                for key, entry in index["plans"].items()
            }
    except (zipfile.BadZipFile, EOFError, *NO_PLAN) as error:
        raise InputError(
            "the file holds no plan",
            where=where,
            why=str(error),
            mend="name a file that --plan wrote, or a new one",
        ) from error
