"""Models as short text: ONNX's own textual syntax in, the same syntax with types as comments out.

``parse(show(model))`` gives the model back where it is small. The text has no room for, and so drops: types of
intermediate values (they are comments), constants of more than ``INLINE`` elements or in external files (shown as
``...``, which ``parse`` refuses), lists of tensors, graphs or types as attributes (refused too), strings that are not
UTF-8, doc strings and metadata below the model, quantization annotations and device configurations.

Long because each part of a model (nodes, attributes, types, constants, names) has its form here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir

from onnxslim.errors import InputError
from onnxslim.graph.text_checks import check_and_repair, syntax_error

INLINE = 16
"""Elements of a constant that are written out; a larger one is summarised."""
_STEP = "   "
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_KEYWORDS = frozenset({"seq", "optional", "sparse_tensor", "map", "inf", "infinity", "nan", "true", "false"}) | {
    dtype.name.lower() for dtype in ir.DataType
}

Pieces = Iterator["str | Pieces"]
"""Text in order; a nested iterator stands for the text of a subgraph."""


def parse(text: str) -> ir.Model:
    """Reads ONNX's textual syntax (``onnx.parser``; ``#`` starts a comment).

    Floats of 16 bits and fewer are given as the integer that has their bits; 4-bit and 2-bit integers as plain values.

    Args:
        text: One model, e.g. ``<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) {y = Neg(x)}``.

    Returns:
        The model. It is not validated: tests write broken ones on purpose.

    Raises:
        InputError: The text is not of that syntax, or says what the parser would silently drop.
    """
    try:
        proto = onnx.parser.parse_model(text)
    except onnx.parser.ParseError as error:
        raise syntax_error(text, error) from None
    check_and_repair(proto)
    try:
        return ir.from_proto(proto)
    except Exception as error:
        # The first of a chain of wrapped errors names the cause; onnx-ir has no common base for them.
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise InputError("the text does not make a model", where=proto.graph.name, why=str(cause)) from error


def show(model: ir.Model) -> str:
    """The model as text: one node a line, types where known, small constants inline, subgraphs indented.

    Equal models give equal text. See the module's docstring for what the text leaves out.
    """
    out: list[str] = []
    stack = [_model(model)]
    while stack:
        piece = next(stack[-1], None)
        if piece is None:
            stack.pop()
        elif isinstance(piece, str):
            out.append(piece)
        else:
            stack.append(piece)
    return "".join(out)


def _model(model: ir.Model) -> Pieces:
    header = [f"ir_version: {model.ir_version}", _opsets(model.opset_imports)]
    texts = {key: getattr(model, key) for key in ("producer_name", "producer_version", "domain")}
    header += [f"{key}: {_quoted(text)}" for key, text in texts.items() if text]
    if model.model_version:
        header.append(f"model_version: {model.model_version}")
    if model.doc_string:
        header.append(f"doc_string: {_quoted(model.doc_string)}")
    if model.metadata_props:
        pairs = ", ".join(f"{_quoted(key)}: {_quoted(value)}" for key, value in model.metadata_props.items())
        header.append(f"metadata_props: [{pairs}]")
    yield _block(header)
    yield _graph(model.graph, "")
    yield "\n"
    for function in model.functions.values():
        yield _function(function)


def _function(function: ir.Function) -> Pieces:
    header = [f"domain: {_quoted(function.domain)}", _opsets(function.opset_imports)]
    if function.overload:
        header.insert(1, f"overload: {_quoted(function.overload)}")
    if function.doc_string:
        header.append(f"doc_string: {_quoted(function.doc_string)}")
    yield _block(header)
    yield function.name
    parameters = list(function.attributes.values())
    if parameters:
        yield " <"
        for position, attribute in enumerate(parameters):
            yield ", " if position else ""
            if attribute.type == ir.AttributeType.UNDEFINED:
                yield attribute.name
            else:
                yield _attribute(attribute, "", typed=True)
        yield ">"
    yield f" ({_names(function.inputs)}) => ({_names(function.outputs)}) {{\n"
    for node in function:
        yield _node(node, _STEP)
    yield "}\n"


def _graph(graph: ir.Graph, indent: str) -> Pieces:
    yield f"{_name(graph.name or 'graph')} ({_typed(graph.inputs)}) => ({_typed(graph.outputs)}) "
    if graph.initializers:
        yield f"<\n{indent}"
        last = len(graph.initializers) - 1
        for position, value in enumerate(graph.initializers.values()):
            literal, remark = _constant(value.const_value)
            comma = "" if position == last else ","
            tensor_type = _initializer_type(value)
            yield f"{_STEP}{tensor_type} {_name(value.name)} = {literal}{comma}{_comment(remark)}\n{indent}"
        yield "> "
    yield "{\n"
    for node in graph:
        yield _node(node, indent + _STEP)
    yield f"{indent}}}"


def _node(node: ir.Node, indent: str) -> Pieces:
    yield indent
    # onnx-ir names unnamed nodes by itself; such a name tells nothing.
    if node.name and not re.fullmatch(rf"node_{re.escape(node.op_type)}_\d+", node.name):
        yield f"[{_name(node.name)}] "
    yield f"{_names(node.outputs)} = {node.domain + '.' if node.domain else ''}{node.op_type}"
    yield f":{node.overload} " if node.overload else " "
    yield f"({_names(node.inputs)})"
    attributes = list(node.attributes.values())
    if any(attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in attributes):
        yield " <"
        for position, attribute in enumerate(attributes):
            yield f"{',' if position else ''}\n{indent}{_STEP}"
            yield _attribute(attribute, indent + _STEP)
        yield f"\n{indent}>"
    elif attributes:
        yield " <"
        for position, attribute in enumerate(attributes):
            yield ", " if position else ""
            yield _attribute(attribute, indent)
        yield ">"
    types = [_value_type(output) for output in node.outputs]
    if len(types) > 1:
        types = [f"{output.name}: {kind}" for output, kind in zip(node.outputs, types, strict=True) if kind]
    yield _comment(", ".join(types)) + "\n"


def _attribute(attribute: ir.Attr, indent: str, typed: bool = False) -> Pieces:
    kind, value, label = attribute.type, attribute.value, attribute.name
    if attribute.is_ref():
        yield f"{label}: {kind.name.lower()} = @{attribute.ref_attr_name}"
    elif kind == ir.AttributeType.GRAPH:
        yield f"{label} = "
        yield _graph(value, indent)
    elif kind == ir.AttributeType.GRAPHS:
        yield f"{label}: graphs = ["
        for position, graph in enumerate(value):
            yield ", " if position else ""
            yield _graph(graph, indent)
        yield "]"
    else:
        text = _attribute_value(kind, value)
        # The parser reads the type off the value, but not of an empty list, a special float or a parameter's default.
        bare = not typed and text != "[]" and not re.search(r"\b(inf|nan)\b", text) and kind in _SELF_TYPED
        yield f"{label} = {text}" if bare else f"{label}: {kind.name.lower()} = {text}"


_SELF_TYPED = frozenset(
    {
        ir.AttributeType.INT,
        ir.AttributeType.INTS,
        ir.AttributeType.FLOAT,
        ir.AttributeType.FLOATS,
        ir.AttributeType.STRING,
        ir.AttributeType.STRINGS,
        ir.AttributeType.TENSOR,
    }
)


def _attribute_value(kind: ir.AttributeType, value: Any) -> str:
    if kind == ir.AttributeType.FLOAT:
        return _float(value)
    if kind == ir.AttributeType.STRING:
        return _quoted(value)
    if kind == ir.AttributeType.TENSOR:
        return _tensor(value)
    if kind == ir.AttributeType.TYPE_PROTO:
        return _type(value.type, value.shape)
    if kind == ir.AttributeType.INT:
        return str(int(value))
    formats: dict[ir.AttributeType, Callable[[Any], str]] = {
        ir.AttributeType.INTS: lambda item: str(int(item)),
        ir.AttributeType.FLOATS: _float,
        ir.AttributeType.STRINGS: _quoted,
        ir.AttributeType.TENSORS: _tensor,
        ir.AttributeType.TYPE_PROTOS: lambda item: _type(item.type, item.shape),
    }
    return f"[{', '.join(map(formats[kind], value))}]" if kind in formats else "..."


def _tensor(tensor: ir.TensorProtocol) -> str:
    return f"{_type(ir.TensorType(tensor.dtype), tensor.shape)} {_constant(tensor)[0]}"


def _constant(tensor: ir.TensorProtocol | None) -> tuple[str, str]:
    """The literal of a constant and a remark on it."""
    if tensor is None:
        return "...", "no value"
    if tensor.size > INLINE or isinstance(tensor, ir.ExternalTensor):
        where = ", external" if isinstance(tensor, ir.ExternalTensor) else ""
        size = f"{tensor.size:,} strings" if tensor.dtype == ir.DataType.STRING else f"{tensor.nbytes:,} bytes"
        return "...", size + where
    dtype, remark = tensor.dtype, ""
    values = np.asarray(tensor.numpy()).reshape(-1)
    if dtype == ir.DataType.STRING:
        items = [_quoted(item) for item in values.tolist()]
    elif dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        items = [str(item) for item in values]
    elif dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128):
        items = [str(part) for item in values for part in (item.real, item.imag)]
    elif dtype.is_integer() or dtype == ir.DataType.BOOL:
        items = [str(int(item)) for item in values]
    else:  # a small float: the syntax takes its bits
        items = [str(int(item)) for item in values.view(f"u{values.dtype.itemsize}")]
        remark = ", ".join(str(item) for item in values)
    return "{" + ", ".join(items) + "}", remark


def _float(value: float) -> str:
    """Shortest text that reads back as the same float32, which is what attributes hold."""
    text = str(np.float32(value))
    return text if re.search(r"[.en]", text) else text + ".0"


def _initializer_type(value: ir.Value) -> str:
    tensor = value.const_value
    return _value_type(value) if tensor is None else _type(ir.TensorType(tensor.dtype), tensor.shape)


def _value_type(value: ir.Value) -> str:
    return "" if value.type is None else _type(value.type, value.shape)


def _type(kind: ir.TypeProtocol, shape: ir.ShapeProtocol | None) -> str:
    opening, closing = "", ""
    while isinstance(kind, ir.SequenceType | ir.OptionalType):
        opening += "seq(" if isinstance(kind, ir.SequenceType) else "optional("
        closing += ")"
        kind = kind.elem_type
    if isinstance(kind, ir.SparseTensorType):
        opening, closing = opening + "sparse_tensor(", closing + ")"
    # `float` is a scalar and `float[]` a tensor of unknown rank.
    dims = "[]" if shape is None else "[" + ",".join(_dim(dim) for dim in shape) + "]" if len(shape) else ""
    return f"{opening}{kind.dtype.name.lower()}{dims}{closing}"


def _dim(dim: Any) -> str:
    if isinstance(dim, int):
        return str(dim)
    return "?" if dim.value is None else _name(str(dim.value))


def _typed(values: Iterable[ir.Value]) -> str:
    return ", ".join(f"{_value_type(value)} {_name(value.name)}".strip() for value in values)


def _names(values: Iterable[ir.Value | None]) -> str:
    return ", ".join(_name(value.name if value is not None else "") for value in values)


def _name(name: str | None) -> str:
    name = name or ""
    return name if _PLAIN.match(name) and name.lower() not in _KEYWORDS else _quoted(name)


def _quoted(text: str | bytes) -> str:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _comment(text: str) -> str:
    return "  # " + " ".join(text.split()) if text else ""


def _opsets(imports: Mapping[str, int]) -> str:
    return f"opset_import: [{', '.join(f'{_quoted(domain)} : {version}' for domain, version in imports.items())}]"


def _block(lines: list[str]) -> str:
    return "<\n" + ",\n".join(_STEP + line for line in lines) + "\n>\n"
