"""Operators that cannot work on the shapes and parameters that they get, whatever the data.

Shape inference goes on where it can; here each rule says what the operator's definition demands. Dims count where they
are numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from onnxslim.analysis import fit_indices, fit_sizes
from onnxslim.analysis.facts import Shape
from onnxslim.analysis.fit_recurrent import recurrent
from onnxslim.analysis.operator import Operator, differ
from onnxslim.ops.contraction import gemm_axes

Check = Callable[[Operator], str]
CHECKS: Final[dict[str, Check]] = {
    "Clip": fit_sizes.clip,
    "ConstantOfShape": fit_indices.fill,
    "ConvTranspose": fit_sizes.conv_transpose,
    "CumSum": fit_indices.cum_sum,
    "DepthToSpace": fit_sizes.depth_to_space,
    "DequantizeLinear": fit_sizes.quantization,
    "Einsum": fit_sizes.einsum,
    "GRU": recurrent,
    "GlobalAveragePool": fit_sizes.global_pooling,
    "GlobalMaxPool": fit_sizes.global_pooling,
    "GatherElements": fit_indices.gather_elements,
    "GatherND": fit_indices.gather_nd,
    "GroupNormalization": fit_sizes.group_normalization,
    "If": fit_sizes.one_number,
    "InstanceNormalization": fit_sizes.instance_normalization,
    "LRN": fit_sizes.local_response,
    "LSTM": recurrent,
    "LayerNormalization": fit_sizes.layer_normalization,
    "Loop": fit_sizes.one_number,
    "NonMaxSuppression": fit_sizes.boxes,
    "PRelu": fit_sizes.p_relu,
    "QuantizeLinear": fit_sizes.quantization,
    "RNN": recurrent,
    "Range": fit_indices.steps,
    "RoiAlign": fit_sizes.regions,
    "ReverseSequence": fit_indices.reverse_sequence,
    "Scan": fit_sizes.scanned,
    "ScatterElements": fit_indices.gather_elements,
    "ScatterND": fit_indices.scatter_nd,
    "Slice": fit_indices.slices,
    "SpaceToDepth": fit_sizes.space_to_depth,
}
"""Why an operator fails on its inputs, by its name; the rules below join those of other files."""
_PAD_MODES = ("constant", "reflect", "edge", "wrap")
_PADDINGS = ("", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


def check(*names: str) -> Callable[[Check], Check]:
    """Registers a check for operators."""

    def register(function: Check) -> Check:
        for name in names:
            CHECKS[name] = function
        return function

    return register


def unfit(op: Operator) -> str:
    """Why the operator fails on its inputs in every run; empty where it may not."""
    found = CHECKS.get(op.node.op_type)
    return "" if found is None else found(op)


@check("Concat")
def _concat(op: Operator) -> str:
    shapes = [fact.shape for fact in op.inputs if fact is not None and fact.shape is not None]
    axis, full = op.get("axis", 1), [shape for shape in shapes if 0 not in shape]
    first: Shape = full[0] if full else ()
    for shape in full[1:]:
        if len(shape) != len(first):
            return f"inputs of {len(first)} and of {len(shape)} dims are joined"
        for at, (a, b) in enumerate(zip(first, shape, strict=True)):
            if at != axis % len(first) and differ(a, b):
                return f"inputs that are joined along axis {axis} differ in axis {at}: {a} and {b}"
    return ""


@check("Reshape")
def _reshape(op: Operator) -> str:
    shape, target = op.shape(0), op.integers(1) if op.version >= 5 else op.get("shape")
    if shape is None or target is None:
        return ""
    if any(dim < -1 for dim in target):
        return f"the shape is {list(target)}"
    wanted = list(target)
    if not op.get("allowzero", 0):
        if any(dim == 0 and at >= len(shape) for at, dim in enumerate(wanted)):
            return f"the shape {list(target)} keeps a dim that data of {len(shape)} dims does not have"
        wanted = [shape[at] if dim == 0 else dim for at, dim in enumerate(wanted)]
    if not all(isinstance(dim, int) for dim in (*shape, *wanted)) or 0 in (*shape, *wanted):
        return ""
    held, needed = math.prod(dim for dim in shape if isinstance(dim, int)), math.prod(map(abs, wanted))
    fits = held % needed == 0 if -1 in wanted else held == needed
    return "" if fits else f"{held:,} elements are given the shape {list(target)}"


@check("Gemm")
def _gemm(op: Operator) -> str:
    a, b = op.shape(0), op.shape(1)
    for shape in (a, b):
        if shape is not None and len(shape) != 2:
            return f"a matrix has {len(shape)} dims"
    if a is None or b is None:
        return ""
    (_, summed), (over, _) = gemm_axes(op.get)
    left, right = a[summed], b[over]
    if differ(left, right):
        return f"matrices are multiplied over {left} and {right} elements"
    return fit_sizes.bias_of_gemm(op)


@check("Softmax", "LogSoftmax", "Hardmax")
def _axis(op: Operator) -> str:
    shape, axis = op.shape(0), op.get("axis", -1 if op.version >= 13 else 1)
    highest = 0 if shape is None else len(shape) - (op.version >= 13 or axis < 0)
    outside = shape is not None and len(shape) > 0 and not -len(shape) <= axis <= highest
    return f"axis {axis} of {len(shape or ())} dims" if outside else ""


@check("Split")
def _split(op: Operator) -> str:
    shape, axis = op.shape(0), op.get("axis", 0)
    sizes = op.integers(1) if op.version >= 13 else op.get("split")
    if shape is None or not sizes or not -len(shape) <= axis < len(shape):
        return ""
    if min(sizes) < 0:
        return f"a size is {min(sizes)}"
    if len(sizes) != len(op.node.outputs):
        return f"{len(sizes)} sizes are given for {len(op.node.outputs)} outputs"
    return f"sizes {list(sizes)} are not those of {shape[axis]} elements" if differ(shape[axis], sum(sizes)) else ""


@check("BatchNormalization")
def _batch_normalization(op: Operator) -> str:
    shape = op.shape(0)
    for index in range(1, 5):
        given = op.shape(index)
        if shape is None or len(shape) < 2 or given is None or len(given) != 1 or op.version < 7:
            continue
        if differ(shape[1], given[0]):
            return f"input {index} has {given[0]} elements for {shape[1]} channels"
    return ""


@check("Pad")
def _pad(op: Operator) -> str:
    mode = op.get("mode", "constant")
    if mode not in _PAD_MODES:
        return f"the mode {mode!r} is unknown"
    shape, pads = op.shape(0), op.integers(1) if op.version >= 11 else op.get("pads")
    if shape is None or pads is None or (op.version >= 18 and op.has(3)):
        return ""
    if len(pads) != 2 * len(shape):
        return f"{len(pads)} pads are given for {len(shape)} dims"
    for dim, before, after in zip(shape, pads, pads[len(shape) :], strict=False):
        if isinstance(dim, int) and dim + before + after < 0:
            return f"{-before - after} elements are cut off {dim}"
    return ""


@check("Gather")
def _gather(op: Operator) -> str:
    shape, indices, axis = op.shape(0), op.integers(1), op.get("axis", 0)
    if shape is None or not indices or not -len(shape) <= axis < len(shape):
        return ""
    size = shape[axis]
    wrong = [each for each in indices if isinstance(size, int) and not -size <= each < size]
    return f"the index {wrong[0]} is none of {size} entries" if wrong else ""


@check("TopK")
def _top_k(op: Operator) -> str:
    shape, count, axis = op.shape(0), op.integers(1) if op.version >= 10 else [op.get("k")], op.get("axis", -1)
    if shape is None or not count or not -len(shape) <= axis < len(shape):
        return ""
    size = shape[axis]
    if count[0] < 0:
        return f"{count[0]} elements are asked for"
    return f"{count[0]} elements are asked of {size}" if isinstance(size, int) and count[0] > size else ""


@check("Resize")
def _resize(op: Operator) -> str:
    if op.version >= 11 and not op.has(2) and not op.has(3):
        return "neither scales nor sizes are given"
    scales, sizes = op.shape(2), op.shape(3)
    both = op.version >= 11 and scales not in (None, (0,)) and sizes not in (None, (0,)) and op.has(2) and op.has(3)
    if both:
        return "scales and sizes are both given"
    known = op.elements(2 if op.version >= 11 else 1) or ()
    wrong = [scale for scale in known if isinstance(scale, int | float) and scale <= 0]
    return f"a scale is {wrong[0]}" if wrong else ""


@check("Dropout")
def _dropout(op: Operator) -> str:
    ratio = op.shape(1)
    return "the ratio is no scalar" if op.version >= 12 and ratio is not None and len(ratio) > 0 else ""


@check("MaxPool", "AveragePool", "LpPool")
def _pool(op: Operator) -> str:
    return _window(op) or fit_sizes.pooling(op)


def _window(op: Operator) -> str:
    for name in ("strides", "dilations", "kernel_shape"):
        if any(step < 1 for step in op.get(name) or ()):
            return f"{name} are {list(op.get(name))}"
    padding = op.text("auto_pad", "NOTSET")
    return f"auto_pad is {padding!r}" if padding not in _PADDINGS else ""


@check("Conv")
def _conv(op: Operator) -> str:
    wrong = _window(op)
    x, w, group = op.shape(0), op.shape(1), op.get("group", 1)
    if wrong or x is None or w is None:
        return wrong
    if group < 1:
        return f"group is {group}"
    if len(x) < 3 or len(x) != len(w):
        return f"data of {len(x)} dims and weights of {len(w)}"
    if isinstance(w[1], int) and differ(x[1], w[1] * group):
        return f"the data has {x[1]} channels, the weights take {w[1] * group}"
    kernel = op.get("kernel_shape")
    if kernel is not None and any(differ(a, b) for a, b in zip(kernel, w[2:], strict=False)):
        return f"kernel_shape is {list(kernel)}, and the weights have the dims {[str(dim) for dim in w]}"
    return fit_sizes.bias_of_conv(op)
