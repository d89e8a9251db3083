"""Results of verify and bench from two machines, side by side.

``--json`` writes with each result who made it and of what: the machine, hashes of the two files, of the inputs and of
the candidate's outputs. So that two results can be told to be of the same question before their answers are compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from onnxslim.errors import CannotRun, InputError
from onnxslim.execution import Feed, Outputs, host_target, open_isolated
from onnxslim.graph.regular import open_regular

CLOSE_DB = 1.0
"""dB by which the SQNR of the same two models may differ between machines: floats are summed in another order."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the comparison. ``agrees`` is None where the two need not agree."""

    what: str
    a: Any
    b: Any
    agrees: bool | None


def machine() -> dict[str, str]:
    """This machine, as far as results depend on it."""
    return {
        "machine": platform.machine(),
        "target": host_target().name,
        "onnxruntime": version("onnxruntime"),
    }


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(arrays: Iterable[tuple[str, Any]]) -> str:
    """SHA-256 of named arrays: names, dtypes, shapes and bytes."""
    found = hashlib.sha256()
    for name, value in arrays:
        for place, each in enumerate(value if isinstance(value, list) else [value]):  # a list is a sequence of tensors
            array = np.ascontiguousarray(each)
            found.update(f"{name}.{place}:{array.dtype.str}:{array.shape};".encode())
            found.update(str(array.tolist()).encode() if array.dtype.hasobject else array.tobytes())
    return found.hexdigest()


def provenance(reference: str, candidate: str, feeds: Sequence[Feed], threads: int) -> dict[str, Any]:
    """What ``verify --json`` says of a result besides: machine, files, inputs, and outputs of the candidate by name."""
    try:
        session = open_isolated(candidate, threads=threads)
    except CannotRun:  # the reference opens without optimizations only, or the two had not been compared
        session = open_isolated(candidate, threads=threads, optimize=False)
    found: list[Outputs] = [session.run(feed) for feed in feeds]
    names = [port.name for port in session.outputs]
    return {
        "machine": machine(),
        "files": {"reference": file_digest(reference), "candidate": file_digest(candidate)},
        "inputs": digest((name, feed[name]) for feed in feeds for name in sorted(feed)),
        "outputs": {name: digest((name, each[name]) for each in found) for name in names},
    }


def read_result(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what ``verify --json`` or ``bench --json`` printed.

    Raises:
        InputError: It is none, or of a version that does not say what it is of.
    """
    try:
        with open_regular(path, "the result") as file:
            data = json.load(file)
    except InputError:
        raise
    except OSError as error:
        raise InputError("the result cannot be read", where=str(path), why=error.strerror or str(error)) from error
    except ValueError as error:
        raise InputError("the file is no JSON", where=str(path), why=str(error)) from error
    if not isinstance(data, dict) or data.get("command") not in ("verify", "bench") or "machine" not in data:
        raise InputError(
            "the file holds no result of verify or bench",
            where=str(path),
            mend="write it with `onnxslim verify REFERENCE CANDIDATE --json > FILE`, by this version",
        )
    return data


def compare_results(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Row]:
    """Two results of the same question from two machines, line by line.

    Args:
        a: What `read_result` read.
        b: The other.

    Raises:
        InputError: They are of different commands, files or inputs.
    """
    for what, mend in (("command", ""), ("files", "compare results of the very same files"), ("inputs", _SAME_INPUTS)):
        if a[what] != b[what]:
            raise InputError(f"the two results are of different {what}", mend=mend)
    rows = [Row(name, a["machine"].get(name), b["machine"].get(name), None) for name in a["machine"]]
    if a["command"] == "bench":
        rows += [
            Row(name, a["latency"].get(name), b["latency"].get(name), None)
            for name in ("verdict", "ratio", "low", "high", "a_ms", "b_ms", "threads")
        ]
        return rows
    first, second = a["parity"], b["parity"]
    rows += [Row(name, first[name], second[name], first[name] == second[name]) for name in ("passed", "tier", "feeds")]
    others = {_part_of(each): each for each in second["fidelity"]}
    for each in first["fidelity"]:
        name, other = _part_of(each), others.get(_part_of(each))
        levels = (each["sqnr_db"], None if other is None else other["sqnr_db"])
        rows.append(Row(f"{name}: SQNR", *levels, agrees=_close(*levels)))
    for name, mark in a["outputs"].items():
        same = mark == b["outputs"].get(name)
        rows.append(Row(f"{name}: outputs", mark[:12], str(b["outputs"].get(name))[:12], True if same else None))
    return rows


def _part_of(fidelity: Mapping[str, Any]) -> str:
    """A part of an output by name; results of versions that knew outputs only have no entries."""
    named = [fidelity["output"], fidelity.get("entries", "")]
    if fidelity["view"] != fidelity["output"]:
        named.append(f"at {fidelity['view']}")
    return " ".join(filter(None, named))


_SAME_INPUTS = "give both the same --samples"


def _close(a: Any, b: Any) -> bool:
    numbers = [float(each) if each is not None else float("nan") for each in (a, b)]  # "Infinity" is a number too
    return a == b or abs(numbers[0] - numbers[1]) <= CLOSE_DB
