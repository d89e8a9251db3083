"""What `onnx.parser` makes of a text: its errors in plain words, and what it drops or leaves unpacked."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir

from onnxslim.errors import InputError

_LISTS_THE_PARSER_DROPS = {
    onnx.AttributeProto.TENSORS: "tensors",
    onnx.AttributeProto.GRAPHS: "graphs",
    onnx.AttributeProto.TYPE_PROTOS: "types",
    onnx.AttributeProto.SPARSE_TENSORS: "sparse tensors",
}


def syntax_error(text: str, error: onnx.parser.ParseError) -> InputError:
    """Where in the text the parser stopped, and why."""
    message = error.args[0] if error.args else b""
    message = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
    where, lines = "", text.splitlines()
    position = re.search(r"line: (\d+) column: (\d+)", message)
    if position:
        row, column = int(position[1]), int(position[2])
        line = lines[row - 1].strip() if 0 < row <= len(lines) else ""
        where = f"line {row}, column {column}" + (f", in '{line[:120]}'" if line else "")
    why = message.strip().rsplit("\n", 1)[-1]
    mend = (
        "write the constant out: its value was left out where the text was made"
        if re.search(r"=\s*\.\.\.", text)
        else ""
    )
    return InputError("the text of the model cannot be read", where=where, why=why, mend=mend)


def check_and_repair(proto: onnx.ModelProto) -> None:
    """Refuses what ``onnx.parser`` drops without a word, and packs the sub-byte integers that it leaves unpacked."""
    graphs: list[onnx.GraphProto] = [proto.graph]
    nodes = [node for function in proto.functions for node in function.node]
    while graphs or nodes:
        while graphs:
            graph = graphs.pop()
            nodes.extend(graph.node)
            for tensor in graph.initializer:
                _pack(tensor)
        node = nodes.pop() if nodes else onnx.NodeProto()
        for attribute in node.attribute:
            where = f"attribute '{attribute.name}' of {node.op_type}"
            if attribute.type in _LISTS_THE_PARSER_DROPS:
                raise InputError(
                    "the text has no form for this attribute",
                    where=where,
                    why=f"onnx.parser drops lists of {_LISTS_THE_PARSER_DROPS[attribute.type]}",
                    mend="build the model with onnx.helper",
                )
            if attribute.type == onnx.AttributeProto.UNDEFINED:
                raise InputError("the attribute has no type", where=where, why="its values are of different kinds")
            if attribute.HasField("t"):
                _pack(attribute.t)
            if attribute.HasField("g"):
                graphs.append(attribute.g)


def _pack(tensor: onnx.TensorProto) -> None:
    dtype = ir.DataType(tensor.data_type)
    bits = 8 if dtype == ir.DataType.STRING else dtype.bitwidth
    if bits in (2, 4) and tensor.int32_data:
        per_byte = 8 // bits
        values = np.array(tensor.int32_data, dtype=np.int64) & ((1 << bits) - 1)
        values = np.pad(values, (0, -len(values) % per_byte)).reshape(-1, per_byte)
        packed = (values << (np.arange(per_byte) * bits)).sum(axis=1).astype(np.uint8)
        tensor.ClearField("int32_data")
        tensor.raw_data = packed.tobytes()
