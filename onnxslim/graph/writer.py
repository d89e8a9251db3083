"""Saving: one commit point, so that whoever is killed at any moment leaves the old model or the new one, each whole.

External data goes to a name that is free and that no model refers to: ``NAME.data`` where the model that is replaced
has no data file, else a name with a hash of the content, ``NAME.<hash>.data``. It is on the disk before the model file
is replaced; the replacement is the commit. Only then the data file of the old model is removed, and only if it bears
such a name, the old model referred to it and no other model in the folder does. Data files are never written over.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import onnx
import onnx_ir as ir

from onnxslim.errors import InputError
from onnxslim.graph.atomic import commit, explained, finish, locked, resolve_target, staged, sweep, sync_folder
from onnxslim.graph.data_files import data_files, is_own, names_in, place_data, used_by_others
from onnxslim.graph.encoding import Encoded, Stub, encode, serialize, weight_chunks
from onnxslim.graph.interrupts import uninterrupted
from onnxslim.graph.orphans import noted, sweep_orphans
from onnxslim.graph.sparse import MARK
from onnxslim.graph.walk import bodies, tensors
from onnxslim.graph.wire import INLINE_BELOW

ALIGNMENT = 64
"""Of a tensor in the data file: a cache line. Runtimes that map pages round down by themselves."""
EXTERNAL_ABOVE = 1 << 30
"""Bytes of weights above which they go to a file of their own unasked; protobuf ends at twice that."""


@dataclass(frozen=True)
class Saved:
    """What a save did to the folder."""

    files: tuple[Path, ...]
    """What was written: the model, then its data file where it has one."""
    removed: tuple[Path, ...] = ()
    """Data files of the model that was replaced."""
    left: tuple[Path, ...] = ()
    """Data files that the replaced model referred to and no model refers to now; their names are not ours."""

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.stat().st_size for file in self.files)


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The model as a proto, weights inline, sparse tensors and all that the IR cannot carry put back.

    Raises:
        InputError: Something of it cannot be written; the message names it.
    """
    return serialize(model, {})


def to_bytes(model: ir.Model) -> bytes:
    """The model as the bytes of a file, weights inline.

    Raises:
        InputError: They exceed 2 GiB, or something of the model cannot be written.
    """
    return encode(model).join()


def same_file(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> bool:
    """Whether two paths lead to one file, also through links, and also where it is not there yet."""
    if os.path.realpath(a) == os.path.realpath(b):
        return True
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


def save(
    model: ir.Model,
    path: str | os.PathLike[str],
    *,
    external_data: bool | None = None,
    encoded: Encoded | None = None,
) -> Saved:
    """Writes a model, whole or not at all; also to the very path that it was loaded from.

    The same model gives the same bytes. Where the save removes the data file that the model's weights are mapped from,
    they are mapped anew.

    Args:
        model: The model; its content is not changed.
        path: The file; a link is written through, unless there is external data. Permissions are kept.
        external_data: Whether weights go to a file of their own, ``NAME.data`` or ``NAME.<hash>.data``; None where they
            exceed 1 GiB.
        encoded: What ``encode(model)`` gave, where the caller has it and has not edited the model since.

    Returns:
        The files that were written, and what became of the replaced model's data.

    Raises:
        InputError: The path cannot be written, or something of the model cannot.
        SetupError: The disk is full or fails.
    """
    target = resolve_target(path)
    if external_data is None:
        weights = sum(tensor.nbytes for tensor in tensors(model) if tensor.dtype != ir.DataType.STRING)
        external_data = weights > EXTERNAL_ABOVE
    for tensor in tensors(model):
        if isinstance(tensor, ir.ExternalTensor) and os.path.realpath(tensor.path) == str(target):
            raise InputError(
                "the output is a data file that the model's weights lie in",
                where=os.fspath(path),
                mend="name another file",
            )
    if external_data and os.path.islink(path):
        raise InputError(
            "external data cannot be saved through a link",
            where=os.fspath(path),
            why="runtimes look for it beside the link, or refuse to, while it would lie beside the file",
            mend=f"name the file itself, {str(target)!r}",
        )
    with contextlib.ExitStack() as stack:
        placed: dict[ir.Value, int] = {}
        data: tuple[Path, str, int] | None = None
        if external_data:
            file, temporary = stack.enter_context(staged(target))
            placed, digest, size = _write_data(model, file, target)
            data = (temporary, digest, size) if placed else None
        stack.enter_context(explained(target))
        stack.enter_context(locked(target.parent))
        return _commit(model, target, placed, data, None if external_data else encoded)


def save_bytes(content: bytes, path: str | os.PathLike[str]) -> Saved:
    """Writes the bytes of a whole model as they are; the data of a replaced model goes as in ``save``.

    Raises:
        InputError: The path cannot be written.
        SetupError: The disk is full or fails.
    """
    target = resolve_target(path)
    with explained(target), locked(target.parent), contextlib.ExitStack() as pending:
        sweep_orphans(target.parent, lambda data: used_by_others(data, data))
        old_files = data_files(target)
        for old in old_files:
            if is_own(old, target):
                pending.enter_context(noted(target, old))(old.name)
        with staged(target) as (file, temporary):
            file.write(content)
            finish(file)
            commit(temporary, target)
        sweep(target)
        return _retire(None, target, old_files, "", {})


def _write_data(model: ir.Model, file: BinaryIO, target: Path) -> tuple[dict[ir.Value, int], str, int]:
    """Writes the weights of ``model``, each tensor once; returns where each begins, a hash of all and the size."""
    sink = _Sink(file)
    placed: dict[ir.Value, int] = {}
    known: dict[int, int] = {}
    for body in bodies(model):
        for value in body.initializers.values() if isinstance(body, ir.Graph) else ():
            tensor = value.const_value
            if (
                tensor is None
                or tensor.dtype == ir.DataType.STRING
                or tensor.nbytes < INLINE_BELOW
                or MARK in tensor.meta
            ):
                continue
            if id(tensor) not in known:
                sink.align(ALIGNMENT)
                start = sink.size
                for chunk in weight_chunks(tensor):
                    sink.write(chunk)
                known[id(tensor)] = start
            placed[value] = known[id(tensor)]
    finish(file)
    return placed, sink.hash.hexdigest()[:16], sink.size


class _Sink:
    """A file that hashes what goes into it. It has no ``fileno``, so onnx-ir hands over the bytes in small chunks."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size, self.hash = file, 0, hashlib.sha256()

    def write(self, chunk: Any) -> int:
        view = memoryview(chunk).cast("B")
        self.hash.update(view)
        self.file.write(view)
        self.size += view.nbytes
        return view.nbytes

    def align(self, to: int) -> None:
        self.write(bytes(-self.size % to))


def _commit(
    model: ir.Model,
    target: Path,
    placed: dict[ir.Value, int],
    data: tuple[Path, str, int] | None,
    encoded: Encoded | None,
) -> Saved:
    """Puts the data file, then the model file in place; then removes the old model's data. Under the folder's lock."""
    old_files = data_files(target)
    own = [old for old in old_files if is_own(old, target)]
    location, created = "", False
    sweep_orphans(target.parent, lambda data: used_by_others(data, data))
    with contextlib.ExitStack() as pending:
        try:
            if data is not None:
                note = pending.enter_context(noted(target, data[0]))
                with uninterrupted():
                    location, created = place_data(target, *data, note)
            for old in own:
                pending.enter_context(noted(target, old))(old.name)
            sync_folder(target.parent)
            folder = str(target.parent)
            stubs = {value: Stub.of(value, location, offset, folder) for value, offset in placed.items()}
            encoded = encoded or encode(model, stubs)
            with staged(target) as (file, temporary):
                for chunk in encoded.chunks():
                    file.write(chunk)
                finish(file)
                commit(temporary, target)
        except BaseException:
            if created and location not in names_in(target):
                target.with_name(location).unlink(missing_ok=True)
            raise
        sweep(target)
        return _retire(model, target, old_files, location, stubs)


def _retire(
    model: ir.Model | None, target: Path, old_files: Sequence[Path], location: str, stubs: dict[ir.Value, Stub]
) -> Saved:
    """After the commit, removes the data files of the replaced model that bear our names and that nothing needs."""
    removed, left = [], []
    files = (target, target.with_name(location)) if location else (target,)
    for old in old_files:
        if old in files or used_by_others(old, target):
            continue
        if not is_own(old, target):
            left.append(old)
            continue
        if model is not None:
            _let_go(model, old, stubs)
        old.unlink(missing_ok=True)
        removed.append(old)
    return Saved(files, tuple(removed), tuple(left))


def _let_go(model: ir.Model, old: Path, stubs: dict[ir.Value, Stub]) -> None:
    """Before ``old`` is removed, moves the model's weights off it: onto the new data file, else into a mapping."""
    for body in bodies(model):
        for value in body.initializers.values() if isinstance(body, ir.Graph) else ():
            tensor = value.const_value
            if not isinstance(tensor, ir.ExternalTensor) or not same_file(tensor.path, old):
                continue
            if value in stubs:
                stub = stubs[value]
                value.const_value = ir.ExternalTensor(
                    stub.location,
                    stub.offset,
                    stub.length,
                    stub.dtype,
                    shape=stub.shape,
                    name=stub.name,
                    doc_string=stub.doc_string,
                    metadata_props=stub.metadata_props,
                    base_dir=stub.base_dir,
                )
            else:
                tensor.numpy()
