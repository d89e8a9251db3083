"""Which nodes can run in int8, each with the values that are quantized around it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import ShapeFacts
from onnxslim.graph.edit import constant_tensor
from onnxslim.ops.contraction import bias_of, output_axis
from onnxslim.ops.int8 import ABSORBED, CONTRACTIONS, ELEMENTWISE, MOVERS, no_int8, no_kernel

Operand = tuple[int, ir.Value]
"""An input's place and value."""

OPERATORS = frozenset((*CONTRACTIONS, *ELEMENTWISE, *MOVERS))
"""Operators that may run in int8."""


@dataclass(frozen=True, slots=True)
class GroupNames:
    """A group by the names of its values: what a plan holds of it."""

    key: str
    op_type: str
    activations: tuple[tuple[int, str], ...]
    constants: tuple[tuple[int, str], ...] = ()
    weight: str | None = None
    bias: str | None = None
    output: str | None = None
    absorbed: tuple[str, ...] = ()
    """Names of the first outputs of these nodes."""


@dataclass(frozen=True, slots=True, eq=False)
class Int8Group:
    """One node to run in int8.

    A contraction reads its activation through Q -> DQ, its weight through a DQ and its bias through a DQ of int32. An
    elementwise node reads each operand through Q -> DQ, a constant one through a DQ. ``output`` is the value to
    quantize after it (behind an absorbed Relu or Clip), None where the output stays float. The bias of a MatMul is that
    of an absorbed Add.
    """

    node: ir.Node
    activations: tuple[Operand, ...]
    constants: tuple[Operand, ...] = ()
    weight: ir.Value | None = None
    bias: ir.Value | None = None
    output: ir.Value | None = None
    absorbed: tuple[ir.Node, ...] = ()

    @property
    def key(self) -> str:
        """Name of the node's output: the same on a clone of the model."""
        return self.node.outputs[0].name or ""

    @property
    def names(self) -> GroupNames:
        """The group by the names of its values."""
        return GroupNames(
            self.key,
            self.node.op_type,
            tuple((place, value.name or "") for place, value in self.activations),
            tuple((place, value.name or "") for place, value in self.constants),
            None if self.weight is None else self.weight.name,
            None if self.bias is None else self.bias.name,
            None if self.output is None else self.output.name,
            tuple(node.outputs[0].name or "" for node in self.absorbed),
        )

    @property
    def is_contraction(self) -> bool:
        """Whether it multiplies by constant weights."""
        return self.weight is not None

    @property
    def bias_slot(self) -> tuple[ir.Node, int]:
        """The node that reads the bias, and where."""
        if self.node.op_type != "MatMul" or not self.absorbed:
            return self.node, 2
        add = self.absorbed[0]
        return add, 1 - next(i for i, value in enumerate(add.inputs) if value is self.node.outputs[0])

    @property
    def is_mover(self) -> bool:
        """Whether its input and output must share one grid."""
        return self.node.op_type in MOVERS

    @property
    def measured(self) -> tuple[ir.Value, ...]:
        """The values whose ranges the group needs."""
        values = tuple(dict.fromkeys(value for _, value in self.activations))
        return values if self.output is None else (*values, self.output)


def group_of(node: ir.Node, facts: ShapeFacts | None = None) -> Int8Group | str:
    """The group around a node of `OPERATORS`, or why there is none.

    Args:
        node: Of the main graph.
        facts: Of the model; elementwise nodes and movers need to know that a value is float32.
    """
    if node.op_type in CONTRACTIONS:
        return _contraction(node)
    assert facts is not None
    return _elementwise(node, facts)


def _contraction(node: ir.Node) -> Int8Group | str:
    activation, weight = node.inputs[0], node.inputs[1]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if activation is None or weight is None or constant_tensor(weight) is None:
        return "its weight is computed"
    if constant_tensor(activation) is not None:
        return "its activation is constant"
    if any(_is_dequantized(value) for value in (activation, weight)):
        return "already quantized"
    tensor = constant_tensor(weight)
    assert tensor is not None
    if tensor.dtype != ir.DataType.FLOAT:
        return f"its weights are {tensor.dtype.name.lower()}: int8 is made of float32 weights only"
    if bias is not None and constant_tensor(bias) is None:
        return "its bias is computed"
    reason = no_kernel(node, tuple(tensor.shape.numpy())) or _bias_too_large(node, bias, tensor)
    if reason:
        return reason
    group = Int8Group(node, ((0, activation),), (), weight, bias)
    if any(not np.isfinite(array).all() for array in constants_of(group)):
        return "its weights hold NaN or infinity"
    if not CONTRACTIONS[node.op_type].quantized_output:
        return group
    output, absorbed = _behind(node)
    reason = _dangling(output)
    return reason or Int8Group(node, ((0, activation),), (), weight, bias, output, absorbed)


def with_bias(group: Int8Group) -> Int8Group | None:
    """A MatMul together with the Add of a constant vector behind it; None where there is none.

    Where all sizes are known, onnxruntime makes a Gemm of both, between two Reshapes, before it looks for int8 kernels.
    That becomes a QGemm if the bias is quantized too, and nothing if it is not.
    """
    node, tensor, (add, value) = group.node, constant_tensor(group.weight), bias_of(group.node)
    if node.op_type != "MatMul" or group.bias is not None or tensor is None or add.graph is not node.graph:
        return None
    bias, outputs = constant_tensor(value), tensor.shape.numpy()[1]
    if bias is None or bias.dtype != ir.DataType.FLOAT or bias.size != outputs:
        return None
    if len(bias.shape) not in (1, 2) or bias.shape[-1] != outputs or not np.isfinite(bias.numpy()).all():
        return None
    return replace(group, bias=value, absorbed=(add,))


def _bias_too_large(node: ir.Node, bias: ir.Value | None, weight: ir.TensorProtocol) -> str:
    """Whether a bias with one number for each row would become a matrix that is larger than what its weight saves."""
    tensor = constant_tensor(bias)
    rows, columns = tensor.shape.numpy() if tensor is not None and len(tensor.shape) == 2 else (1, 0)
    outputs = weight.shape.numpy()[output_axis(node)]
    if columns == 1 and rows > 1 and 4 * rows * outputs > 3 * weight.size:
        return f"its bias of {rows} rows would become a matrix of {rows} x {outputs} numbers"
    return ""


def _elementwise(node: ir.Node, facts: ShapeFacts) -> Int8Group | str:
    reason = no_int8(node)
    if reason:
        return reason
    known = ELEMENTWISE.get(node.op_type)
    count = 1 if known is None else known.operands or len(node.inputs)
    activations: list[Operand] = []
    constants: list[Operand] = []
    for index, value in enumerate(node.inputs[:count]):
        if value is None:
            return "an operand is missing"
        tensor = constant_tensor(value)
        if facts.dtype(value) != ir.DataType.FLOAT:
            return "its operands are not known to be float32"
        if tensor is None:
            if _is_dequantized(value):
                return "already quantized"
            activations.append((index, value))
        elif known is None or not known.constants or not np.isfinite(tensor.numpy()).all():
            return "an operand is constant"
        else:
            constants.append((index, value))
    if not activations:
        return "its operands are constant"
    # A product with a constant is rarely worth a Q of a value that a MatMul left in float: QLinearMatMul is worse.
    if any(_from_float_kernel(value) for _, value in activations):
        return "a MatMul before it gives float"
    alone = known is None or node.op_type == "HardSigmoid"  # whose Q has a scale of its own
    output, absorbed = (node.outputs[0], ()) if alone else _behind(node)
    reason = _dangling(output)
    return reason or Int8Group(node, tuple(activations), tuple(constants), output=output, absorbed=absorbed)


def _behind(node: ir.Node) -> tuple[ir.Value, tuple[ir.Node, ...]]:
    """The value behind the Relus and Clips that a QuantizeLinear makes needless, and these."""
    output, absorbed = node.outputs[0], []
    while not output.is_graph_output() and len(output.uses()) == 1:
        consumer = next(iter(output.uses())).node
        if consumer.domain or consumer.op_type not in ABSORBED or consumer.inputs[0] is not output:
            break
        if any(constant_tensor(bound) is None for bound in consumer.inputs[1:] if bound is not None):
            break
        if consumer.graph is not node.graph:
            break
        absorbed.append(consumer)
        output = consumer.outputs[0]
    return output, tuple(absorbed)


def _dangling(output: ir.Value) -> str:
    if output.is_graph_output():
        return "its output is the model's: nothing after it reads int8"
    return "" if output.uses() else "nothing reads its output"


def _from_float_kernel(value: ir.Value) -> bool:
    """Whether an int8 contraction, if it becomes one, gives the value in float."""
    node = value.producer()
    if node is None or node.domain or node.op_type != "MatMul":
        return False
    return any(constant_tensor(operand) is not None for operand in node.inputs)


def _is_dequantized(value: ir.Value) -> bool:
    node = value.producer()
    return node is not None and node.op_type == "DequantizeLinear" and node.domain == ""


def constants_of(group: Int8Group) -> Iterator[np.ndarray]:
    """The arrays of the weight and the bias."""
    for value in (group.weight, group.bias):
        tensor = constant_tensor(value)
        if tensor is not None:
            yield tensor.numpy()


def rebound(model: ir.Model, groups: Iterable[Int8Group | GroupNames]) -> list[Int8Group]:
    """The same groups in a clone of their model, or in what raising its opset made of it.

    A group whose node became several is left out.
    """
    values = {value.name: value for value in (*model.graph.inputs, *model.graph.initializers.values())}
    nodes = {}
    for node in model.graph:
        for value in node.outputs:
            values[value.name] = value
            nodes[value.name] = node
    named = (group.names if isinstance(group, Int8Group) else group for group in groups)
    return [
        Int8Group(
            nodes[group.key],
            tuple((place, values[name]) for place, name in group.activations),
            tuple((place, values[name]) for place, name in group.constants),
            values[group.weight] if group.weight is not None else None,
            values[group.bias] if group.bias is not None else None,
            values[group.output] if group.output is not None else None,
            tuple(nodes[name] for name in group.absorbed),
        )
        for group in named
        if _is_same(nodes[group.key], group)
    ]


def _is_same(node: ir.Node, group: GroupNames) -> bool:
    operands = (*group.activations, *group.constants)
    return node.op_type == group.op_type and all(
        place < len(node.inputs) and (found := node.inputs[place]) is not None and found.name == name
        for place, name in operands
    )
