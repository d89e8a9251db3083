"""The data files of a model: how they are named, which model files refer to them, and where a finished one goes."""

from __future__ import annotations

import hashlib
import mmap
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

from onnxslim.errors import InputError, OnnxSlimError
from onnxslim.graph.encoding import CHUNK
from onnxslim.graph.orphans import is_leftover
from onnxslim.graph.walk import tensor_protos
from onnxslim.graph.wire import MAX_BYTES

COPY_UP_TO = 64 << 20
"""Bytes up to which a file of any name is looked into for a reference to a data file."""


def is_own(data: Path, target: Path) -> bool:
    """Whether a data file of the model at ``target`` bears a name that it would be given here."""
    own = _own_name(target).fullmatch(data.name) is not None
    return own and data.parent == target.parent and not data.is_symlink()


def place_data(target: Path, temporary: Path, digest: str, size: int, note: Callable[[str], None]) -> tuple[str, bool]:
    """Gives the finished data file a new name, or finds the same content in place: the name, and whether it is new."""
    plain = target.with_name(f"{target.name}.data")
    # Not a name that some model refers to, or did: whoever has read that model must not find other weights there.
    names, there = names_in(target), os.path.lexists(plain)
    told = bool(names - {plain.name}) if there else bool(names) or used_by_others(plain, target)
    for count in range(0 if told else -1, 1000):
        name = plain.name if count < 0 else f"{target.name}.{digest}{f'-{count}' if count else ''}.data"
        place = target.with_name(name)
        if not os.path.lexists(place):
            note(name)
            os.rename(temporary, place)
            return name, True
        if _holds(place, digest, size):
            return name, False
    raise InputError("no free name for the data file", where=str(target), mend="remove old .data files")


def _holds(path: Path, digest: str, size: int) -> bool:
    """Whether a file holds just that content; its name alone proves nothing."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != size or path.stat().st_nlink > 1:
        return False
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
        os.fsync(file.fileno())
    return found.hexdigest()[:16] == digest


def _own_name(target: Path) -> re.Pattern[str]:
    """Names that data files of ``target`` are given here."""
    return re.compile(re.escape(target.name) + r"(\.[0-9a-f]{16}(-\d+)?)?\.data")


def data_files(target: Path) -> list[Path]:
    """Data files that the model at ``target`` refers to and that are there."""
    paths = (target.parent / name for name in sorted(names_in(target)))
    return [path for path in paths if path.is_file()]


def names_in(target: Path) -> set[str]:
    """Locations of external data in the model file, where it is one."""
    if not target.is_file() or target.stat().st_size > MAX_BYTES:
        return set()
    try:
        with target.open("rb") as file:
            if not target.stat().st_size or not _mentions(file, b"location"):  # most have none: no need to parse them
                return set()
        proto = onnx.ModelProto.FromString(target.read_bytes())
        return {
            entry.value for tensor in tensor_protos(proto) for entry in tensor.external_data if entry.key == "location"
        }
    except (DecodeError, OnnxSlimError):
        return set()


def used_by_others(data: Path, target: Path) -> bool:
    """Whether another model in the folder may refer to the data file, as copies of a model do, whatever their names."""
    needle = os.fsencode(data.name)
    with os.scandir(target.parent) as entries:
        others = [entry for entry in entries if entry.name not in (target.name, data.name) and entry.is_file()]
    others = [entry for entry in others if not is_leftover(entry.name)]
    for entry in others:
        if not entry.name.endswith(".onnx") and entry.stat().st_size > COPY_UP_TO:
            continue
        try:
            with open(entry.path, "rb") as file:
                if os.fstat(file.fileno()).st_size and _mentions(file, needle):
                    return True
        except OSError:
            return True  # what cannot be read may refer to it
    return False


def _mentions(file: BinaryIO, needle: bytes) -> bool:
    """Whether a file that is not empty holds the bytes."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(needle) >= 0
