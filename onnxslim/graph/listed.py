"""Initializers that a file lists as inputs: constants up to IR version 3, where they must be listed, defaults after it.

From IR version 4 on a caller may feed another array for an initializer that is an input too. Before, every initializer
had to be listed and none could be replaced. In the IR they are therefore plain initializers; the list is made again
when the model is written.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

LISTED = "onnxslim.listed"
"""Key of the names of all inputs that the file listed, in order, in the main graph's ``meta``."""
DEFAULTS_IR = 4
"""The first IR version in which an initializer that is an input is only a default."""


def defaults(model: ir.Model) -> list[ir.Value]:
    """Initializers of the main graph that a caller may replace, because they are inputs too."""
    return [value for value in model.graph.inputs if value.is_initializer()]


def make_constants(model: ir.Model) -> None:
    """Takes the initializers out of the main graph's inputs, so that nothing can replace them."""
    if not defaults(model):
        return
    if model.ir_version < DEFAULTS_IR:
        model.graph.meta[LISTED] = tuple(value.name or "" for value in model.graph.inputs)
    kept = [value for value in model.graph.inputs if not value.is_initializer()]
    model.graph.inputs.clear()
    model.graph.inputs.extend(kept)


def list_initializers(model: ir.Model, proto: onnx.ModelProto) -> None:
    """Lists the initializers of ``proto``, which was made of ``model``, as inputs where its IR version asks for that.

    The order is the file's where there was one, and new ones come last.
    """
    if model.ir_version >= DEFAULTS_IR or not proto.graph.initializer:
        return
    inputs = {info.name: info for info in proto.graph.input}
    constants = {name: value for name, value in model.graph.initializers.items() if name not in inputs}
    known = [name for name in model.graph.meta.get(LISTED, ()) if name in inputs or name in constants]
    if [name for name in known if name in inputs] != list(inputs):
        known = [*inputs, *(name for name in known if name in constants)]
    order = dict.fromkeys((*known, *constants))
    infos = [inputs[name] if name in inputs else _described(constants[name]) for name in order]
    copies = [onnx.ValueInfoProto.FromString(info.SerializeToString()) for info in infos]
    del proto.graph.input[:]
    proto.graph.input.extend(copies)


def _described(value: ir.Value) -> onnx.ValueInfoProto:
    """The input that an initializer is: declared as in the file, or by its tensor where nothing is declared."""
    info: onnx.ValueInfoProto = ir.serde.serialize_value(value)
    tensor = value.const_value
    if tensor is not None and (value.dtype is None or value.shape is None):
        dims = [int(dim) for dim in tensor.shape.numpy()]
        info.type.CopyFrom(onnx.helper.make_tensor_type_proto(int(tensor.dtype), dims))
    return info
