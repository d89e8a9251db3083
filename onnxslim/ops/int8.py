"""Which operators onnxruntime's CPU provider runs in int8, and in what surroundings.

Read from onnxruntime 1.31's QDQ selectors (core/optimizer/qdq_transformer/selectors_actions) and from the graphs that
it makes; the speeds were measured on x86 with AVX512-VNNI, one thread. A group of QuantizeLinear / DequantizeLinear
nodes that matches no kernel is not merely useless: its weights are dequantized in every run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.ops.contraction import contraction_of

WEIGHT = "_quantized"
"""Suffix of the name of int8 numbers, behind that of what they stand for."""


@dataclass(frozen=True, slots=True)
class Int8Kernel:
    """An operator that multiplies an activation by a constant weight.

    Inputs 0, 1 and 2 are the activation, the weight and the bias. ``quantized_output`` is whether the kernel is formed
    only with a QuantizeLinear on the output; where it is not, leaving the output in float is faster and more accurate.
    """

    kernel: str
    quantized_output: bool
    ranks: tuple[int, ...]
    """Ranks of the weight that the kernel takes."""


CONTRACTIONS: dict[str, Int8Kernel] = {
    "Conv": Int8Kernel("QLinearConv", quantized_output=True, ranks=(3, 4, 5)),
    "MatMul": Int8Kernel("MatMulIntegerToFloat", quantized_output=False, ranks=(2,)),
    "Gemm": Int8Kernel("QGemm", quantized_output=False, ranks=(2,)),
}

ABSORBED = frozenset({"Relu", "Clip"})
"""Between a Conv and the QuantizeLinear on its output these vanish: the quantized range already ends where they do."""


def no_kernel(node: ir.Node, weight_shape: tuple[int, ...]) -> str:
    """Why onnxruntime has no int8 kernel for a contraction with a constant weight; empty where it has one."""
    contraction = CONTRACTIONS[node.op_type]
    if len(weight_shape) not in contraction.ranks:
        return f"{contraction.kernel} takes no weight of rank {len(weight_shape)}"
    known = contraction_of(node, shape=weight_shape)
    if isinstance(known, str):
        return known
    if known.scaled:
        return "QGemm takes no alpha or beta other than 1"
    return "a transposed activation" if known.data_axis == 0 else ""


def slow_kernel(node: ir.Node, weight_shape: tuple[int, ...]) -> str:
    """Why the int8 kernel is slower than the float one, as measured; empty where it is not known to be."""
    if node.op_type == "Conv":
        out_channels, in_channels, *kernel = weight_shape
        group = node.attributes.get_int("group", 1)
        if group > 1 and in_channels == 1:
            return "depthwise: QLinearConv measured 0.70 to 0.98x the speed of float"
        if all(size == 1 for size in kernel):
            if min(in_channels, out_channels) < 24:
                channels = f"{in_channels} -> {out_channels} channels"
                return f"1x1 with {channels}: measured 0.84x the speed of float at 16 channels"
        elif in_channels < 8:
            return f"only {in_channels} input channels: QLinearConv measured 0.53 to 0.69x the speed of float below 8"
    elif min(weight_shape) < 8:
        return f"a product with {weight_shape[0]} x {weight_shape[1]} weights is too small to pay"
    return ""


_SPEEDUPS: dict[str, tuple[tuple[int, ...], tuple[float, ...]]] = {
    "Conv": ((8, 16, 32, 64, 128, 256), (1.0, 1.4, 2.1, 2.6, 2.8, 3.1)),
    "1x1": ((16, 32, 64, 128, 512), (0.84, 1.09, 1.6, 2.0, 2.8)),
    "Gemm": ((8, 512), (1.3, 2.8)),
    "MatMul": ((32, 512), (2.2, 3.6)),
}
"""Channels, and the speed of the int8 kernel at so many as a multiple of the float kernel's."""


def kernel_speedup(node: ir.Node, weight_shape: tuple[int, ...]) -> float:
    """How many times as fast as in float a contraction was measured to be in int8, with about as many channels.

    Args:
        node: A contraction that is not known to be slow.
        weight_shape: Of its weight.
    """
    pointwise = node.op_type == "Conv" and all(size == 1 for size in weight_shape[2:])
    channels, speeds = _SPEEDUPS["1x1" if pointwise else node.op_type]
    return float(np.interp(np.log2(min(weight_shape[:2])), np.log2(channels), speeds))


@dataclass(frozen=True, slots=True)
class Elementwise:
    """An operator with an int8 kernel that takes quantized operands and gives a quantized result."""

    kernel: str
    operands: int
    """How many inputs, from the first, are quantized; 0 means all."""
    constants: bool = False
    """Whether one of two operands may be a constant, quantized per tensor."""


ELEMENTWISE: dict[str, Elementwise] = {
    "Add": Elementwise("QLinearAdd", 2, constants=True),
    "Mul": Elementwise("QLinearMul", 2, constants=True),
    "Sigmoid": Elementwise("QLinearSigmoid", 1),
    "LeakyRelu": Elementwise("QLinearLeakyRelu", 1),
    "Softmax": Elementwise("QLinearSoftmax", 1),
    "GlobalAveragePool": Elementwise("QLinearGlobalAveragePool", 1),
    "AveragePool": Elementwise("QLinearAveragePool", 1),
    "Concat": Elementwise("QLinearConcat", 0),
    # clip(a x + b, 0, 1) = a clip(x + b / a, 0, 1 / a): the sum saturates, and the factor goes into the scale.
    "HardSigmoid": Elementwise("QLinearAdd", 1),
    "HardSwish": Elementwise("QLinearMul", 1),
}
"""Everything else between the contractions runs in float, behind a DequantizeLinear."""

MOVERS = frozenset(
    (
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Slice",
        "Gather",
        "Expand",
        "Tile",
        "MaxPool",
        "Resize",
    )
)
"""Operators that only pick or move elements of input 0: free in int8 where both sides share one grid."""


UNSUPPORTED = frozenset(("ConvTranspose", "LSTM", "GRU", "RNN", "Einsum", "PRelu"))
"""Operators with weights for which the CPU provider has no int8 kernel."""


def no_int8(node: ir.Node) -> str:
    """Why onnxruntime has no int8 form of an elementwise operator or a mover; empty where it has one."""
    text = node.attributes.get_string
    if node.op_type == "Resize" and text("mode", "nearest") != "nearest":
        return "Resize makes new numbers, unless it picks the nearest"
    if node.op_type == "Resize" and text("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return "Resize makes new numbers outside of what it crops"
    if node.op_type == "HardSigmoid" and node.attributes.get_float("alpha", 0.2) <= 0:
        return "a HardSigmoid that falls"
    if node.op_type == "MaxPool" and len(node.outputs) > 1 and node.outputs[1].uses():
        return "the places of the maxima are used"
    return ""


def hard_sigmoid(node: ir.Node) -> tuple[float, float]:
    """Slope and offset of a HardSigmoid, or of the one in a HardSwish."""
    if node.op_type == "HardSwish":
        return 1 / 6, 0.5
    return node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
