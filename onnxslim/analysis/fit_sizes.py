"""Sizes that operators demand of parameters, beside the data that they are applied to."""

from __future__ import annotations

from collections.abc import Sequence

from onnxslim.analysis.dims import Dim
from onnxslim.analysis.facts import Shape
from onnxslim.analysis.operator import Operator, differ
from onnxslim.ops.contraction import gemm_axes


def spreads(shape: Shape, over: Sequence[Dim]) -> bool:
    """Whether a tensor of ``shape`` may be broadcast to ``over``, which keeps its own dims."""
    return len(shape) <= len(over) and not any(
        a != 1 and differ(a, b) for a, b in zip(reversed(shape), reversed(over), strict=False)
    )


def bias_of_conv(op: Operator) -> str:
    """Conv: as many maps in each group, a bias for each, and a kernel within the padded data."""
    x, w, b, group = op.shape(0), op.shape(1), op.shape(2), op.get("group", 1)
    if w is None or not w:
        return ""
    if isinstance(w[0], int) and group > 1 and w[0] % group:
        return f"{w[0]} maps are computed in {group} groups"
    if b is not None and (len(b) != 1 or differ(b[0], w[0])):
        return f"the bias has the dims {_dims(b)}, and must have [{w[0]}]"
    if x is None or len(x) != len(w) or 0 in x or op.text("auto_pad", "NOTSET") not in ("", "NOTSET", "VALID"):
        return ""
    count = len(x) - 2
    pads = list(op.get("pads") or [0] * 2 * count)
    dilations = list(op.get("dilations") or [1] * count)
    if len(pads) != 2 * count or len(dilations) != count:
        return ""
    for size, kernel, step, before, after in zip(x[2:], w[2:], dilations, pads[:count], pads[count:], strict=True):
        if isinstance(size, int) and isinstance(kernel, int) and 0 < size + before + after < step * (kernel - 1) + 1:
            return f"the kernel covers {step * (kernel - 1) + 1} elements, the padded data has {size + before + after}"
    return ""


def pooling(op: Operator) -> str:
    """Pools: a window that finds a place. One place too few gives empty maps, which onnxruntime computes."""
    x, kernel = op.shape(0), op.get("kernel_shape")
    if x is None or kernel is None or op.text("auto_pad", "NOTSET") not in ("", "NOTSET", "VALID"):
        return ""
    count = len(x) - 2
    pads, steps = list(op.get("pads") or [0] * 2 * count), list(op.get("strides") or [1] * count)
    dilations = list(op.get("dilations") or [1] * count)
    if (
        op.get("ceil_mode", 0)
        or len(kernel) != count
        or len(pads) != 2 * count
        or not len(steps) == len(dilations) == count
    ):
        return ""
    rows = zip(x[2:], kernel, steps, dilations, pads[:count], pads[count:], strict=True)
    for size, window, step, dilation, before, after in rows:
        covered = dilation * (window - 1) + 1
        if isinstance(size, int) and size and size + before + after + step < covered:
            return f"the window covers {covered} elements, the padded data has {size + before + after}"
    return ""


def global_pooling(op: Operator) -> str:
    """GlobalAveragePool and its like: a batch, channels and what is pooled."""
    x = op.shape(0)
    return f"data of {len(x)} dims" if x is not None and len(x) < 2 else ""


def conv_transpose(op: Operator) -> str:
    """ConvTranspose: weights of [channels, maps / group, ...] and a bias for each map."""
    x, w, b, group = op.shape(0), op.shape(1), op.shape(2), op.get("group", 1)
    if group < 1:
        return f"group is {group}"
    if x is None or w is None or len(x) < 3:
        return ""
    if len(x) != len(w):
        return f"data of {len(x)} dims and weights of {len(w)}"
    if differ(x[1], w[0]):
        return f"the data has {x[1]} channels, the weights take {w[0]}"
    if isinstance(w[0], int) and w[0] % group:
        return f"{w[0]} channels are taken in {group} groups"
    if b is not None and isinstance(w[1], int) and (len(b) != 1 or differ(b[0], w[1] * group)):
        return f"the bias has the dims {_dims(b)}, and must have [{w[1] * group}]"
    return ""


def bias_of_gemm(op: Operator) -> str:
    """Gemm: C is broadcast to the product."""
    a, b, c = op.shape(0), op.shape(1), op.shape(2)
    if a is None or b is None or c is None or len(a) != 2 or len(b) != 2 or op.version < 7:
        return ""
    (rows, _), (_, columns) = gemm_axes(op.get)
    product = (a[rows], b[columns])
    return "" if spreads(c, product) else f"C has the dims {_dims(c)}, and is added to {_dims(product)}"


def layer_normalization(op: Operator) -> str:
    """LayerNormalization: an axis of the data; scale and bias are broadcast to it."""
    x, axis = op.shape(0), op.get("axis", -1)
    if x is not None and not -len(x) <= axis < len(x):
        return f"axis {axis} of {len(x)} dims"
    return _broadcast(op, (1, 2))


def p_relu(op: Operator) -> str:
    """PRelu: slopes are broadcast to the data, though onnxruntime takes any that broadcast with it."""
    x, slope = op.shape(0), op.shape(1)
    if x is None or slope is None or op.version < 7:
        return ""
    wrong = any(a != 1 and b != 1 and differ(a, b) for a, b in zip(reversed(slope), reversed(x), strict=False))
    return f"slopes of the dims {_dims(slope)} for data of {_dims(x)}" if wrong else ""


def _broadcast(op: Operator, inputs: Sequence[int]) -> str:
    x = op.shape(0)
    for index in inputs:
        shape = op.shape(index)
        if x is not None and shape is not None and not spreads(shape, x):
            return f"input {index} has the dims {_dims(shape)}, the data {_dims(x)}"
    return ""


def instance_normalization(op: Operator) -> str:
    """InstanceNormalization: a scale and a bias for each channel."""
    x = op.shape(0)
    for index in (1, 2):
        shape = op.shape(index)
        if x is not None and len(x) > 1 and shape is not None and (len(shape) != 1 or differ(shape[0], x[1])):
            return f"input {index} has the dims {_dims(shape)} for {x[1]} channels"
    return ""


def group_normalization(op: Operator) -> str:
    """GroupNormalization: groups of equally many channels."""
    x, groups = op.shape(0), op.get("num_groups", 1)
    if groups < 1:
        return f"num_groups is {groups}"
    uneven = x is not None and len(x) > 1 and isinstance(x[1], int) and x[1] % groups
    return f"{x[1]} channels in {groups} groups" if x is not None and uneven else ""


def depth_to_space(op: Operator) -> str:
    """DepthToSpace: channels of whole blocks."""
    x, block = op.shape(0), op.get("blocksize", 1)
    if block < 1:
        return f"blocksize is {block}"
    uneven = x is not None and len(x) == 4 and isinstance(x[1], int) and x[1] % (block * block)
    return f"{x[1]} channels in blocks of {block} x {block}" if x is not None and uneven else ""


def space_to_depth(op: Operator) -> str:
    """SpaceToDepth: images of whole blocks."""
    x, block = op.shape(0), op.get("blocksize", 1)
    if block < 1:
        return f"blocksize is {block}"
    uneven = x is not None and len(x) == 4 and any(isinstance(dim, int) and dim % block for dim in x[2:])
    return f"an image of {_dims(x[2:])} in blocks of {block}" if x is not None and uneven else ""


def quantization(op: Operator) -> str:
    """QuantizeLinear and DequantizeLinear: a scale for all, or one for each entry of an axis."""
    x, scale, axis = op.shape(0), op.shape(1), op.get("axis", 1)
    if x is None or scale is None or len(scale) != 1 or scale[0] == 1 or op.get("block_size", 0):
        return ""
    if not isinstance(scale[0], int):
        return ""
    if not -len(x) <= axis < len(x):
        return f"axis {axis} of {len(x)} dims"
    return f"{scale[0]} scales are given for {x[axis]} entries of axis {axis}" if differ(x[axis], scale[0]) else ""


def clip(op: Operator) -> str:
    """Clip: each bound is one number."""
    for index in (1, 2):
        shape = op.shape(index)
        if op.version >= 11 and shape is not None and any(isinstance(dim, int) and dim != 1 for dim in shape):
            return f"a bound has the dims {_dims(shape)}"
    return ""


def boxes(op: Operator) -> str:
    """NonMaxSuppression: four numbers for each box, a score for each."""
    given, scores = op.shape(0), op.shape(1)
    for name, shape in (("boxes", given), ("scores", scores)):
        if shape is not None and len(shape) != 3:
            return f"the {name} have {len(shape)} dims, and must have 3"
    if given is not None and differ(given[2], 4):
        return f"a box has {given[2]} numbers"
    if given is not None and scores is not None and differ(given[1], scores[2]):
        return f"{scores[2]} scores are given for {given[1]} boxes"
    return ""


def regions(op: Operator) -> str:
    """RoiAlign: four numbers for each region."""
    given = op.shape(1)
    if given is None:
        return ""
    return f"regions of the dims {_dims(given)}" if len(given) != 2 or differ(given[1], 4) else ""


def local_response(op: Operator) -> str:
    """LRN: a window of at least one channel."""
    return f"size is {op.get('size')}" if op.get("size", 1) < 1 else ""


def einsum(op: Operator) -> str:
    """Einsum: a letter stands for one size, or 1."""
    equation = op.text("equation").replace(" ", "")
    terms = equation.split("->")[0].split(",")
    if "." in equation or len(terms) != len(op.inputs):
        return ""
    sizes: dict[str, Dim] = {}
    for index, term in enumerate(terms):
        shape = op.shape(index)
        for letter, dim in zip(term, shape or (), strict=False):
            if not isinstance(dim, int) or dim == 1:
                continue
            if sizes.setdefault(letter, dim) != dim:
                return f"{letter!r} stands for {sizes[letter]} and for {dim} elements"
    return ""


def scanned(op: Operator) -> str:
    """Scan: what is scanned together has one length."""
    count = op.get("num_scan_inputs", 1)
    first, axes = len(op.inputs) - count, op.get("scan_input_axes") or [0] * count
    lengths: set[int] = set()
    for at, axis in enumerate(axes if op.version >= 9 and first >= 0 else ()):
        shape = op.shape(first + at)
        if shape is None:
            continue
        if not -len(shape) <= axis < len(shape):
            return f"axis {axis} of {len(shape)} dims is scanned"
        size = shape[axis]
        lengths.update([size] if isinstance(size, int) else [])
    return f"{' and '.join(map(str, sorted(lengths)))} elements are scanned together" if len(lengths) > 1 else ""


def one_number(op: Operator) -> str:
    """If and Loop: a condition and a count of iterations are one number each."""
    for index in range(1 if op.node.op_type == "If" else 2):
        shape = op.shape(index)
        if shape is not None and any(isinstance(dim, int) and dim != 1 for dim in shape):
            return f"input {index} has the dims {_dims(shape)}, and must be one number"
    return ""


def _dims(shape: Sequence[Dim]) -> str:
    return f"[{', '.join(map(str, shape))}]"
