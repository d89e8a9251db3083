"""What OnnxSlim's ``ModelInfo`` and its table are, made of this project's facts. For callers of OnnxSlim only."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.api.source import open_source
from onnxslim.errors import InputError
from onnxslim.graph.walk import tensors
from onnxslim.report.node_table import write_node_table
from onnxslim.report.side_by_side import Column, print_side_by_side

Model = str | os.PathLike[str] | onnx.ModelProto


class TensorInfo:
    """Name, numpy dtype and shape of an input, output or value; unknown sizes are ``"?"``."""

    def __init__(self, tensor: onnx.ValueInfoProto) -> None:
        self.name: str = tensor.name
        kind = tensor.type.tensor_type
        self.dtype = onnx_dtype_to_numpy(kind.elem_type)
        self.shape: tuple[int | str, ...] | None = None
        if kind.HasField("shape"):
            self.shape = tuple(
                dim.dim_param or (dim.dim_value if dim.HasField("dim_value") else "?") for dim in kind.shape.dim
            )


class OperatorInfo:
    """Name and type of a node, and its outputs."""

    def __init__(self, operator: onnx.NodeProto, outputs: Sequence[TensorInfo] | None = None) -> None:
        self.name: str = operator.name
        self.op: str = operator.op_type
        self.outputs = outputs


class ModelInfo:
    """What the table shows of a model. ``model_size`` is bytes of the file or message, external data included."""

    def __init__(self, model: Model, tag: str = "OnnxSlim") -> None:
        if isinstance(model, str | os.PathLike):
            tag = os.path.basename(os.fspath(model))
        source = open_source(model)
        facts = source.facts
        self.tag = tag
        self.model_size: int = facts.bytes or 0
        self.op_set = str(facts.opsets.get("", facts.opsets.get("ai.onnx")))
        self.ir_version = str(facts.ir_version)
        self.op_type_counts: dict[str, int] = defaultdict(int, facts.ops)
        self.source = source.model
        self.input_info = [TensorInfo(ir.to_proto(value)) for value in source.model.graph.inputs]
        self.output_info = [TensorInfo(ir.to_proto(value)) for value in source.model.graph.outputs]
        self.op_info = {
            node.name or f"{node.op_type}_{index}": OperatorInfo(
                onnx.NodeProto(name=node.name or "", op_type=node.op_type),
                [TensorInfo(ir.to_proto(value)) for value in node.outputs],
            )
            for index, node in enumerate(source.model.graph)
        }

    @property
    def input_maps(self) -> dict[str, TensorInfo]:
        """Inputs by name."""
        return {info.name: info for info in self.input_info}

    @property
    def output_maps(self) -> dict[str, TensorInfo]:
        """Outputs by name."""
        return {info.name: info for info in self.output_info}


def summarize_model(model: Model, tag: str = "OnnxModel") -> ModelInfo:
    """Describes a model for `print_model_info_as_table`; the model is not changed."""
    return ModelInfo(model, tag)


def _column(info: ModelInfo) -> Column:
    return Column(
        name=info.tag,
        info=f"Op Set: {info.op_set} / IR Version: {info.ir_version}",
        ops=info.op_type_counts,
        size=format_bytes(info.model_size),
        inputs={each.name: f"{each.dtype}: {each.shape}" for each in info.input_info},
        outputs={each.name: f"{each.dtype}: {each.shape}" for each in info.output_info},
    )


def print_model_info_as_table(
    model_info_list: ModelInfo | Sequence[ModelInfo], elapsed_time: float | None = None
) -> None:
    """Prints models beside each other."""
    infos = [model_info_list] if isinstance(model_info_list, ModelInfo) else list(model_info_list)
    print_side_by_side([_column(info) for info in infos], elapsed_time)


SEPARATOR = "\001"
"""What each cell of a row holds that stands for a line between two parts of the table, as in OnnxSlim's."""


def format_model_info(
    model_info_list: ModelInfo | Sequence[ModelInfo], elapsed_time: float | None = None
) -> list[list[str | int]]:
    """The table's rows, a label first: in OnnxSlim's order, with its separating rows, and counts as numbers."""
    infos = [model_info_list] if isinstance(model_info_list, ModelInfo) else list(model_info_list)
    columns = [_column(info) for info in infos]
    line: list[str | int] = [SEPARATOR] * (len(columns) + 1)
    rows: list[list[str | int]] = [["Model Name", *(c.name for c in columns)], line]
    rows += [["Model Info", *(c.info for c in columns)], line]
    for label, ports in (("IN", [c.inputs for c in columns]), ("OUT", [c.outputs for c in columns])):
        names = dict.fromkeys(name for each in ports for name in each)
        rows += [[f"{label}: {name}", *(each.get(name, "") for each in ports)] for name in names]
    ops = sorted({name for c in columns for name in c.ops})
    rows.append(line)
    for name in ops:
        rows.append([name, *(c.ops.get(name, 0) for c in columns)])
    rows += [line, ["Model Size", *(c.size for c in columns)]]
    if elapsed_time:
        rows += [line, ["Elapsed Time", f"{elapsed_time:.2f} s"]]
    return rows


def format_bytes(size: int | Sequence[int]) -> str:
    """Bytes in B, KB, MB or GB (of 1024); of two sizes the second in brackets.

    >>> format_bytes(1536), format_bytes((1024, 2048))
    ('1.50 KB', '1.00 KB (2.00 KB)')
    """
    sizes = [int(size)] if isinstance(size, int | np.integer) else [int(each) for each in size]
    texts = []
    for each in sizes:
        unit = min(3, int(math.log2(each) // 10)) if each > 0 else 0
        texts.append(f"{each / 1024**unit:.2f} {('B', 'KB', 'MB', 'GB')[unit]}")
    return texts[0] if len(texts) == 1 else f"{texts[0]} ({texts[1]})"


def dump_model_info_to_disk(model_info: ModelInfo) -> None:
    """Writes ``{tag}_model_info.csv`` into the current folder."""
    print(f"Model info written to {write_node_table(model_info.source, model_info.tag)}")


def get_opset(model: onnx.ModelProto) -> int | None:
    """Version of the default domain; None where it is not imported."""
    return next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), None)


def get_ir_version(model: onnx.ModelProto) -> int:
    """Version of the file format."""
    return int(model.ir_version)


def onnx_dtype_to_numpy(onnx_dtype: int) -> np.dtype[Any] | str:
    """The numpy dtype of an ONNX one, ml_dtypes' included; ``"UNDEFINED"`` where there is none."""
    try:
        return np.dtype(ir.DataType(onnx_dtype).numpy())
    except (TypeError, ValueError):
        return "UNDEFINED"


def get_numpy_type(onnx_type: Any) -> Any:
    """A dtype of ONNX or numpy as one of numpy; None where there is none."""
    if not isinstance(onnx_type, int):
        return onnx_type
    found = onnx_dtype_to_numpy(onnx_type)
    return None if isinstance(found, str) else found


def get_itemsize(dtype: Any) -> int:
    """Bytes of an element of an ONNX or numpy dtype, at least 1; 0 for texts.

    Raises:
        InputError: ONNX has no such dtype.
    """
    found = get_numpy_type(dtype)
    if found is None:
        known = ", ".join(f"{each.value} ({each.name})" for each in ir.DataType if each is not ir.DataType.UNDEFINED)
        raise InputError(f"unsupported TensorProto dtype: {dtype}", mend=f"use one of {known}, or a dtype of numpy")
    return 0 if np.dtype(found).kind == "O" else int(np.dtype(found).itemsize)


def calculate_tensor_size(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's elements."""
    return int(math.prod(tensor.dims)) * get_itemsize(tensor.data_type)


def get_initializer_size(model: onnx.ModelProto) -> int:
    """Bytes of initializers and constants; a tensor that is shared counts once."""
    return sum(t.nbytes for t in {id(t): t for t in tensors(open_source(model).model)}.values())


def get_graph_initializer_size(graph: onnx.GraphProto) -> int:
    """Bytes of the initializers and Constant nodes of a graph and of the graphs in its nodes."""
    size = sum(calculate_tensor_size(tensor) for tensor in graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.type == onnx.AttributeProto.TENSOR:
                size += calculate_tensor_size(attribute.t)
            size += sum(map(get_graph_initializer_size, [attribute.g] if attribute.HasField("g") else []))
            size += sum(map(get_graph_initializer_size, attribute.graphs))
    return size


def get_max_tensor(model: onnx.ModelProto, topk: int = 5) -> None:
    """Prints the ``topk`` constants with most elements."""
    found = {id(tensor): tensor for tensor in tensors(open_source(model).model)}.values()
    for tensor in sorted(found, key=lambda each: -each.size)[:topk]:
        dtype, shape = tensor.dtype.name.lower(), tuple(tensor.shape.numpy())
        print(f"Tensor name: {tensor.name}, shape: {shape}, dtype: {dtype} size: {tensor.size}")
