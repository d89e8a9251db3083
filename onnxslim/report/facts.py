"""What a model is, in numbers: the facts that reports compare and ``onnxslim inspect`` prints."""

from __future__ import annotations

import graphlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

from onnxslim.errors import InputError
from onnxslim.graph.packed import list_bytes
from onnxslim.graph.walk import Body, bodies, subgraphs, tensor_protos, tensors
from onnxslim.ops.ml import list_attributes

if TYPE_CHECKING:
    from onnxslim.packing import TensorFacts

Dims = tuple[int | str | None, ...]
"""Sizes of a tensor: a number, a symbol, or None where nothing is known."""


@dataclass(frozen=True, slots=True)
class PortFacts:
    """An input or output of a graph. ``shape`` is None where even the rank is unknown."""

    name: str
    dtype: str
    shape: Dims | None


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One model in numbers.

    ``bytes`` counts the model's file and every external data file it refers to; None for a model that is in no file.
    ``nodes`` and ``ops`` leave Constant nodes out, count subgraphs, and count a function's body once for each call.
    ``parameters`` and ``weight_bytes`` count elements and bytes of initializers, of tensors in attributes, such as
    those of Constant nodes, and of the lists in which operators of ``ai.onnx.ml`` hold their weights, in the form that
    this package writes; a tensor that is shared counts once. ``tensors`` are the weights one by one, where they
    were asked for. ``unpacking`` counts those of ``ops`` that make plain weights of packed ones: a runtime that folds
    constants runs them once, when it loads the model.
    """

    path: str
    bytes: int | None
    nodes: int
    ops: dict[str, int]
    opsets: dict[str, int]
    ir_version: int
    producer: str
    inputs: tuple[PortFacts, ...]
    outputs: tuple[PortFacts, ...]
    parameters: int
    weight_bytes: int
    tensors: tuple[TensorFacts, ...] = ()
    unpacking: Mapping[str, int] = field(default_factory=dict)


def describe(
    model: ir.Model,
    path: str | os.PathLike[str] | None = None,
    bytes: int | None = None,
) -> ModelFacts:
    """The facts of ``model``.

    Args:
        model: The model.
        path: Its file; shown, and measured together with the external data files that it refers to.
        bytes: The size, where the caller knows it; nothing is measured then.

    Raises:
        InputError: A file cannot be measured, or functions call each other in a circle.
    """
    ops = _count_ops(model)
    weights = {id(tensor): tensor for tensor in tensors(model)}.values()
    lists = [attribute for body in bodies(model) for node in body for attribute in list_attributes(node)]
    if bytes is None and path is not None:
        bytes = file_bytes(path)
    return ModelFacts(
        path="" if path is None else os.fspath(path),
        bytes=bytes,
        nodes=sum(ops.values()),
        ops=dict(sorted(ops.items(), key=lambda item: (-item[1], item[0]))),
        opsets=dict(sorted(model.opset_imports.items())),
        ir_version=model.ir_version,
        producer=" ".join(filter(None, (model.producer_name, model.producer_version))),
        inputs=tuple(map(describe_value, model.graph.inputs)),
        outputs=tuple(map(describe_value, model.graph.outputs)),
        parameters=sum(tensor.size for tensor in weights) + sum(len(each.value) for each in lists),
        weight_bytes=sum(tensor.nbytes for tensor in weights) + sum(list_bytes(each) for each in lists),
        unpacking=_unpacking(model),
    )


def _unpacking(model: ir.Model) -> dict[str, int]:
    from onnxslim.packing import behind, decoded_values

    found: Counter[str] = Counter()
    for graph in bodies(model):
        packed = behind(decoded_values(graph))
        found.update(node.op_type for node in (packed[0] if packed is not None else ()))
    return dict(sorted(found.items()))


def file_bytes(path: str | os.PathLike[str]) -> int:
    """Bytes of a model's file and of each external data file that it refers to, every file once.

    Raises:
        InputError: One of the files is not there, or the model's cannot be read.
    """
    target = Path(path)
    try:
        size = target.stat().st_size
        with target.open("rb") as file:
            external = size > 0 and _contains(file, b"location")  # weights inline: no need to parse 2 GB
        if not external:
            return size
        proto = onnx.ModelProto.FromString(target.read_bytes())
        entries = (entry for tensor in tensor_protos(proto) for entry in tensor.external_data)
        folder = target.resolve().parent
        data: set[Path] = {(folder / entry.value).resolve() for entry in entries if entry.key == "location"}
        return size + sum(each.stat().st_size for each in data)
    except (OSError, DecodeError) as error:
        raise InputError("the files of the model cannot be measured", where=str(path), why=str(error)) from error


def _contains(file: BinaryIO, needle: bytes) -> bool:
    """Whether the rest of the file holds it; a part at a time, since pages of a mapping would count as memory."""
    kept = b""
    while part := file.read(1 << 20):
        if needle in kept + part:
            return True
        kept = part[-len(needle) :]
    return False


def _nodes(root: Body) -> Iterator[ir.Node]:
    """The nodes of a graph or function and of all its subgraphs."""
    found = [root]
    for body in found:  # grows as it is read
        for node in body:
            yield node
            found.extend(subgraphs(node.attributes.values()))


def _count_ops(model: ir.Model) -> Counter[str]:
    """Operators by name, ``domain.op`` outside the default domain; a function's body counts once for each call."""
    plain: dict[ir.OperatorIdentifier | None, Counter[str]] = {}
    calls: dict[ir.OperatorIdentifier | None, Counter[ir.OperatorIdentifier]] = {}
    roots: list[tuple[ir.OperatorIdentifier | None, Body]] = [(None, model.graph), *model.functions.items()]
    for owner, root in roots:
        plain[owner], calls[owner] = Counter(), Counter()
        for node in _nodes(root):
            identifier = node.op_identifier()
            if identifier in model.functions:
                calls[owner][identifier] += 1
            elif (node.domain, node.op_type) != ("", "Constant"):
                plain[owner][f"{node.domain}.{node.op_type}" if node.domain else node.op_type] += 1
    try:
        callees_first = list(graphlib.TopologicalSorter(calls).static_order())
    except graphlib.CycleError as error:
        circle = " -> ".join(str(identifier) for identifier in error.args[1])
        raise InputError("functions call each other in a circle", where=circle) from error
    times: Counter[ir.OperatorIdentifier | None] = Counter({None: 1})
    total: Counter[str] = Counter()
    for owner in reversed(callees_first):
        for called, count in calls[owner].items():
            times[called] += times[owner] * count
        for name, count in plain[owner].items():
            total[name] += times[owner] * count
    return Counter({name: count for name, count in total.items() if count})


def describe_value(value: ir.Value) -> PortFacts:
    """Name, type and declared shape of a value."""
    return PortFacts(value.name or "", _type_name(value.type), _dims(value.shape))


def _type_name(kind: ir.TypeProtocol | None) -> str:
    """``float32`` for a tensor, ``sequence(float32)`` and the like for others.

    >>> _type_name(ir.SequenceType(ir.TensorType(ir.DataType.INT64)))
    'sequence(int64)'
    """
    wrappers = []
    while isinstance(kind, ir.SequenceType | ir.OptionalType):
        wrappers.append("sequence" if isinstance(kind, ir.SequenceType) else "optional")
        kind = kind.elem_type
    if isinstance(kind, ir.SparseTensorType):
        wrappers.append("sparse")
    name = "unknown" if kind is None else _dtype_name(kind.dtype)
    return "".join(f"{wrapper}(" for wrapper in wrappers) + name + ")" * len(wrappers)


def _dtype_name(dtype: ir.DataType) -> str:
    return {"FLOAT": "float32", "DOUBLE": "float64"}.get(dtype.name, dtype.name.lower())


def _dims(shape: ir.Shape | None) -> Dims | None:
    if shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else dim.value for dim in shape)
