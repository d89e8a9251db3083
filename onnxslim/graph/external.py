"""Where external data may lie: inside the model's folder, in a regular file, with offset and length inside that file.

Refused before a byte of the data is read: paths that leave by ``..`` or are absolute (CVE-2022-25882, CVE-2024-27318,
CVE-2024-5187, CVE-2025-51480), symbolic links (CVE-2026-27489, CVE-2026-34447) and hard links (CVE-2026-34446). Keys
other than location, offset and length are never looked at (CVE-2026-34445). Model caches store weights behind links:
``trust_data_dir`` admits whatever has its real path below that folder.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from onnxslim.errors import InputError
from onnxslim.graph.regular import check_written, kind_of

MEND_TRUST = (
    "put the file itself beside the model, or name the folder that it may be read from with --trust-data-dir DIR"
)


@dataclass
class DataFolder:
    """The place that external data may be read from.

    Args:
        folder: The model's folder; None for models that come from memory.
        trusted: A further folder whose files are admitted by their real path.
    """

    folder: Path | None
    trusted: Path | None
    files: dict[str, tuple[Path, int]] = field(default_factory=dict)
    """Checked locations: the path to open and the size in bytes."""

    def resolve(self, location: str, where: str) -> tuple[Path, int]:
        """The file behind ``location`` and its size in bytes.

        Raises:
            InputError: It is missing, lies elsewhere, or is a link or no regular file.
        """
        if location not in self.files:
            self.files[location] = self._check(location, f"{where}, location {location!r}")
        return self.files[location]

    def _check(self, location: str, where: str) -> tuple[Path, int]:
        base = self.folder or self.trusted
        if base is None:
            raise InputError(
                "the model refers to external data, but has no folder",
                where=where,
                why="it came from memory, so there is no place that its data may be read from",
                mend="load the model from its path, or name the folder of the data with --trust-data-dir DIR",
            )
        if not location or "\0" in location:
            raise InputError(
                "the location of external data is empty or holds a NUL", where=where, mend="export the model again"
            )
        real = Path(os.path.realpath(base / location))
        if self.trusted is None or not real.is_relative_to(os.path.realpath(self.trusted)):
            self._check_contained(Path(os.path.realpath(base)), location, real, where)
            linked = True
        else:
            linked = False
        try:
            facts = os.lstat(real)
        except OSError as error:
            raise InputError(
                "the file of external data cannot be found",
                where=where,
                why=error.strerror or str(error),
                mend=f"put {location!r} into {str(base)!r}, beside the model",
            ) from error
        if not stat.S_ISREG(facts.st_mode):
            raise InputError(
                "external data is not a regular file",
                where=where,
                why="it is " + kind_of(facts.st_mode),
                mend="put a plain file there",
            )
        if linked and facts.st_nlink > 1:
            raise InputError(
                "external data is a hard link",
                where=where,
                why=f"the file has {facts.st_nlink} names and may be one that lies outside the model's folder",
                mend=MEND_TRUST,
            )
        return real, facts.st_size

    def _check_contained(self, base: Path, location: str, real: Path, where: str) -> None:
        """Refuses what leaves the folder or reaches its file by a link."""
        if os.path.isabs(location):
            raise InputError("external data is named by an absolute path", where=where, mend=MEND_TRUST)
        plain = Path(os.path.normpath(base / location))
        if ".." in Path(location).parts or "\\" in location or not plain.is_relative_to(base):
            raise InputError(
                "external data lies outside the model's folder",
                where=where,
                why="its path has '..' or '\\'",
                mend=MEND_TRUST,
            )
        if real != plain:
            raise InputError(
                "external data is a symbolic link", where=where, why=f"it leads to {str(real)!r}", mend=MEND_TRUST
            )


def check_external(tensor: onnx.TensorProto, nbytes: int, data: DataFolder, where: str) -> None:
    """Checks where a tensor's external data lies and writes the checked offset and length into ``tensor``.

    A file admitted through the trusted folder is written as its real, absolute path; any other keeps its location.

    Args:
        tensor: A tensor with ``data_location`` EXTERNAL; edited.
        nbytes: Bytes that its dtype and dims need.
        data: The places that data may lie in.
        where: The tensor, for messages.

    Raises:
        InputError: The location, the offset or the length is not admissible.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path, size = data.resolve(entries.get("location", ""), where)
    place = f"{where}, file {path.name!r} of {size:,} bytes"
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries["length"]) if entries.get("length") else nbytes
    except ValueError as error:
        raise InputError(
            "offset or length of external data is no number", where=place, mend="export the model again"
        ) from error
    if length != nbytes:
        raise InputError(
            f"external data has length {length:,}, but the tensor needs {nbytes:,} bytes",
            where=place,
            mend="export the model again",
        )
    if offset < 0 or offset + length > size:
        raise InputError(
            f"external data reaches outside its file: offset {offset:,} and length {length:,}",
            where=place,
            why="the data file is truncated or belongs to another model",
            mend="copy the data file again, together with its model",
        )
    check_written(path, offset, length, f"external data of {where}")
    location = (
        entries["location"]
        if data.folder and path == Path(os.path.realpath(data.folder)) / entries["location"]
        else str(path)
    )
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
