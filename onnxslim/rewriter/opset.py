"""Raise the default opset to 13, where QuantizeLinear learned per-channel scales.

Operators whose meaning or inputs changed on the way are rewritten, one adapter each; those that only took more types
or optional attributes stay as they are. A model that needs an adapter not written here is left alone with a reason.
The differences were read from the operators' changelogs (onnx/docs/Changelog.md) and are held by onnx.defs.

Long because each operator that changed on the way has its adapter here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.analysis import infer_shapes
from onnxslim.graph.edit import Names, add_initializer, constant_tensor, raise_ir_version, site
from onnxslim.graph.walk import nodes
from onnxslim.pipeline.action import Action
from onnxslim.pipeline.context import Context

TARGET = 13
OLDEST = 7
"""onnxruntime supports nothing older either."""

Ranks = Callable[[ir.Value | None], int | None]
Adapter = Callable[[ir.Node, Names, Ranks], None]


def lift(model: ir.Model, context: Context) -> bool:
    """Raises the model's default opset to 13; one action. Whether the opset is at least 13 afterwards."""
    opset = model.opset_imports.get("", 0)
    if opset >= TARGET:
        return True
    reason = obstacle(model)
    if reason:
        context.decline("lift-opset", "model", reason)
        return False
    if not context.allow(Action("lift-opset", (), "model", f"opset {opset} -> {TARGET}")):
        return False
    raise_opset(model)
    return True


def raise_opset(model: ir.Model) -> None:
    """Rewrites in place what changed up to opset 13; there must be no ``obstacle``."""
    opset = model.opset_imports.get("", 0)
    names, facts = Names.of(model), infer_shapes(model)

    def rank_of(value: ir.Value | None) -> int | None:
        return None if value is None else facts.rank(value)

    for node in list(nodes(model)):
        adapter = ADAPTERS.get((node.op_type, _since(node, opset))) if node.domain == "" else None
        if adapter is not None:
            adapter(node, names, rank_of)
    model.opset_imports[""] = TARGET
    raise_ir_version(model, 7)


def obstacle(model: ir.Model) -> str:
    """Why the model cannot be lifted; empty where it can."""
    opset = model.opset_imports.get("", 0)
    if opset < OLDEST:
        return f"opset {opset} is older than {OLDEST}"
    if model.functions:
        return "the model has local functions, whose bodies follow their own opset"
    for node in nodes(model):
        if node.domain != "":
            continue
        old = _since(node, opset)
        try:
            new = onnx.defs.get_schema(node.op_type, TARGET, "")
        except onnx.defs.SchemaError:
            return f"{site(node)} is no operator of opset {TARGET}"
        if new.deprecated or new.since_version != old:
            if (node.op_type, old) in ADAPTERS:
                condition = CONDITIONS.get((node.op_type, old))
                why = "" if condition is None else condition(node)
                if why:
                    return f"{site(node)}: {why}"
            elif new.deprecated or not _widened(node.op_type, old, new):
                return f"{site(node)} changed between opset {opset} and {TARGET}, and there is no adapter for it"
    return ""


def _since(node: ir.Node, opset: int) -> int:
    """The opset that defined the node's operator as it is used here; 0 where it is not defined."""
    try:
        schema: onnx.defs.OpSchema = onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return 0
    return schema.since_version


# New optional attributes whose defaults are the old meaning.
_EXTENDED = {
    ("ArgMax", "select_last_index"),
    ("ArgMin", "select_last_index"),
    ("AveragePool", "ceil_mode"),
    ("Constant", "*"),
    ("DepthToSpace", "mode"),
    ("DequantizeLinear", "axis"),
    ("GatherND", "batch_dims"),
    ("MaxPool", "ceil_mode"),
    ("MaxPool", "dilations"),
    ("MaxPool", "storage_order"),
    ("QuantizeLinear", "axis"),
}


def _widened(op_type: str, old: int, new: onnx.defs.OpSchema) -> bool:
    """Whether the newer operator means the same for every node of the older one."""
    was = onnx.defs.get_schema(op_type, old, "")
    if [i.name for i in was.inputs] != [i.name for i in new.inputs]:
        return False
    if (op_type, "*") in _EXTENDED:
        return True
    added = {
        name
        for name, attribute in new.attributes.items()
        if name not in was.attributes or str(attribute.default_value) != str(was.attributes[name].default_value)
    }
    return set(was.attributes) <= set(new.attributes) and all((op_type, name) in _EXTENDED for name in added)


# ---- adapters: each edits one node in place, or puts others beside it ------------------------------------------------


def _attribute_to_input(attribute: str, *, required: bool = False) -> Adapter:
    """An int-list attribute that became the second input (axes of Squeeze, split of Split, ...)."""

    def adapt(node: ir.Node, names: Names, _: Ranks) -> None:
        found = node.attributes.pop(attribute, None)
        if found is None:
            return
        array = np.array(found.as_ints(), dtype=np.int64)
        _set_inputs(node, [node.inputs[0], _constant(node, names, attribute, array)])

    return adapt


def _softmax(node: ir.Node, names: Names, rank_of: Ranks) -> None:
    """Before 13 the input was flattened to 2-D at ``axis`` (default 1); from 13 on one axis is normalised."""
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    rank = rank_of(node.inputs[0])
    if axis == -1 or (rank is not None and axis % max(rank, 1) == rank - 1):
        node.attributes["axis"] = ir.AttrInt64("axis", -1)
        return
    x = node.inputs[0]
    shape = ir.node("Shape", [x])
    flat = ir.node("Flatten", [x], {"axis": axis})
    inner = ir.node(node.op_type, [flat.outputs[0]], {"axis": -1}, name=node.name)
    _name_outputs(names, node, shape, flat, inner)
    _replace(node, [shape, flat, inner], "Reshape", [inner.outputs[0], shape.outputs[0]])


def _clip(node: ir.Node, names: Names, _: Ranks) -> None:
    low, high = (node.attributes.pop(key, None) for key in ("min", "max"))
    inputs: list[ir.Value | None] = [node.inputs[0]]
    for key, found in (("min", low), ("max", high)):
        inputs.append(
            None if found is None else _constant(node, names, key, np.array(found.as_float(), dtype=np.float32))
        )
    _set_inputs(node, inputs)


def _pad(node: ir.Node, names: Names, _: Ranks) -> None:
    pads = node.attributes.pop("pads")
    fill = node.attributes.pop("value", None)
    inputs = [node.inputs[0], _constant(node, names, "pads", np.array(pads.as_ints(), dtype=np.int64))]
    if fill is not None and fill.as_float() != 0:
        inputs.append(_constant(node, names, "value", np.array(fill.as_float(), dtype=np.float32)))
    _set_inputs(node, inputs)


def _slice(node: ir.Node, names: Names, _: Ranks) -> None:
    inputs = [node.inputs[0]]
    for key in ("starts", "ends", "axes"):
        found = node.attributes.pop(key, None)
        if found is not None:
            inputs.append(_constant(node, names, key, np.array(found.as_ints(), dtype=np.int64)))
    _set_inputs(node, inputs)


def _topk(node: ir.Node, names: Names, _: Ranks) -> None:
    k = node.attributes.pop("k").as_int()
    _set_inputs(node, [node.inputs[0], _constant(node, names, "k", np.array([k], dtype=np.int64))])


def _dropout(node: ir.Node, _: Names, __: Ranks) -> None:
    # Inference: the ratio means nothing, and training_mode defaults to false.
    node.attributes.pop("ratio", None)


def _upsample(node: ir.Node, names: Names, _: Ranks) -> None:
    """Upsample-9 (x, scales) and Resize-10 (x, scales): asymmetric coordinates, nearest rounds down."""
    node.op_type = "Resize"
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "nearest"
    node.attributes["mode"] = ir.AttrString("mode", "linear" if mode in ("linear", "bilinear") else mode)
    node.attributes["coordinate_transformation_mode"] = ir.AttrString("coordinate_transformation_mode", "asymmetric")
    node.attributes["nearest_mode"] = ir.AttrString("nearest_mode", "floor")
    _set_inputs(node, [node.inputs[0], None, node.inputs[1]])


def _scatter(node: ir.Node, _: Names, __: Ranks) -> None:
    node.op_type = "ScatterElements"


def _drop_spatial(node: ir.Node, _: Names, __: Ranks) -> None:
    node.attributes.pop("spatial", None)


ADAPTERS: dict[tuple[str, int], Adapter] = {
    **{(op, since): _softmax for op in ("Softmax", "LogSoftmax", "Hardmax") for since in (1, 11)},
    **{(op, since): _attribute_to_input("axes") for op in ("Squeeze", "Unsqueeze", "ReduceSum") for since in (1, 11)},
    **{("Split", since): _attribute_to_input("split") for since in (2, 11)},
    **{("Dropout", since): _dropout for since in (7, 10)},
    ("BatchNormalization", 7): _drop_spatial,
    ("Clip", 6): _clip,
    ("Pad", 2): _pad,
    ("Resize", 10): _upsample,
    ("Resize", 11): lambda node, names, ranks: None,  # 13 only made roi optional
    ("Scatter", 9): _scatter,
    ("Slice", 1): _slice,
    ("TopK", 1): _topk,
    ("TopK", 10): lambda node, names, ranks: None,  # largest and sorted default to what it did
    ("Upsample", 9): _upsample,
    ("Gemm", 7): lambda node, names, ranks: None,  # C became optional
    ("Gemm", 9): lambda node, names, ranks: None,
}


def _spatial(node: ir.Node) -> str:
    found = node.attributes.get("spatial")
    return "spatial=0 has no newer form" if found is not None and found.as_int() == 0 else ""


def _float32_only(node: ir.Node) -> str:
    # The new inputs must have the data's type; a Clip or Pad of another type is rare before opset 11.
    dtype = node.inputs[0].dtype if node.inputs[0] is not None else None
    return "" if dtype in (None, ir.DataType.FLOAT) else f"{dtype} data"


def _mask_unused(node: ir.Node) -> str:
    return "its mask is used" if len(node.outputs) > 1 and node.outputs[1].uses() else ""


def _constant_scales(node: ir.Node) -> str:
    return "" if constant_tensor(node.inputs[1]) is not None else "its scales are computed"


CONDITIONS: dict[tuple[str, int], Callable[[ir.Node], str]] = {
    ("BatchNormalization", 7): _spatial,
    ("Clip", 6): _float32_only,
    ("Pad", 2): _float32_only,
    ("Dropout", 7): _mask_unused,
    ("Upsample", 9): _constant_scales,
    ("Resize", 10): _constant_scales,
}
"""What an adapter cannot do; the answer is the reason."""


# ---- edits ----------------------------------------------------------------------------------------------------------


def _constant(node: ir.Node, names: Names, role: str, array: np.ndarray) -> ir.Value:
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    return add_initializer(graph, names.fresh(f"{node.outputs[0].name}_{role}"), array)


def _set_inputs(node: ir.Node, inputs: list[ir.Value | None]) -> None:
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        node.replace_input_with(index, value)


def _name_outputs(names: Names, node: ir.Node, *new: ir.Node) -> None:
    for made in new:
        made.outputs[0].name = names.fresh(f"{node.outputs[0].name}_{made.op_type}")


def _replace(node: ir.Node, before: list[ir.Node], op_type: str, inputs: list[ir.Value]) -> None:
    """Turns ``node`` itself into ``op_type(inputs)``, so that its output keeps its name and place."""
    node.prepend(before)
    node.attributes.clear()
    node.op_type, node.name = op_type, None
    _set_inputs(node, list(inputs))
