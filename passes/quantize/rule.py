"""What is known without a clock: which nodes pay in int8, and what each is expected to cost there.

The same model and samples give the same numbers on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import infer_shapes
from onnxslim.analysis.cost import bound, model_cost
from onnxslim.execution import Feed
from onnxslim.graph.edit import constant_tensor
from onnxslim.ops.contraction import output_axis
from onnxslim.ops.int8 import kernel_speedup, slow_kernel

from .cost import CALL, NANOSECONDS, Int8Costs
from .group import Int8Group

MACS = 30_000
"""Multiply-accumulates of a float kernel in a microsecond: about half of what one core with AVX-512 can do."""


def by_rule(groups: Sequence[Int8Group], reasons: dict[str, str]) -> list[Int8Group]:
    """The contractions whose kernels are not known to be slow; ``reasons`` takes in why the others are left out."""
    found = []
    for group in groups:
        tensor = constant_tensor(group.weight)
        slow = "" if tensor is None else slow_kernel(group.node, tuple(tensor.shape.numpy()))
        if tensor is None:
            slow = "nothing is timed, and only time tells whether its kernel pays"
        if slow:
            reasons[group.key] = slow
        else:
            found.append(group)
    return found


def costs_by_rule(groups: Sequence[Int8Group], sizes: Mapping[str, float]) -> Int8Costs:
    """Costs of contractions from their multiply-accumulates, and of conversions from their elements.

    Args:
        groups: Contractions.
        sizes: Elements of each value around them.
    """
    in_float, in_int8 = {}, {}
    for group in groups:
        tensor = constant_tensor(group.weight)
        assert tensor is not None
        work = _macs(group, tensor, sizes) / MACS
        in_float[group.key] = CALL + work
        in_int8[group.key] = CALL + work / kernel_speedup(group.node, tuple(tensor.shape.numpy()))
    conversion = {name: CALL + NANOSECONDS / 1000 * size for name, size in sizes.items()}
    return Int8Costs(in_float, in_int8, conversion, conversion)


def _macs(group: Int8Group, weight: ir.TensorProtocol, sizes: Mapping[str, float]) -> float:
    outputs = weight.shape.numpy()[output_axis(group.node)]
    if group.output is not None:  # a Conv: each output element sums the weights of its channel
        return sizes.get(group.output.name or "", 0.0) * weight.size / outputs
    return sizes.get(group.activations[0][1].name or "", 0.0) * outputs


def time_by_rule(model: ir.Model, feed: Feed) -> float:
    """Microseconds of a run of a float model, from its multiply-accumulates and its nodes.

    Args:
        model: Not changed. Operators whose multiply-accumulates are unknown count as one call.
        feed: Tells the sizes of symbolic dims.
    """
    facts = infer_shapes(model)
    shapes = {name: np.shape(array) for name, array in feed.items()}
    nodes = model_cost(model, facts, bound(model, facts, shapes)).nodes.values()
    return sum(CALL + (cost.macs or 0) / MACS for cost in nodes)
