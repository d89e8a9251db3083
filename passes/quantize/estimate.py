"""Estimates for single tensors and nodes: the error at the outputs that each brings, and the time that each saves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.calibration import Histogram
from onnxslim.evaluation import Noise
from onnxslim.execution import Feed, NodeTime, attribute, node_times
from onnxslim.graph.edit import constant_tensor
from onnxslim.samples.feeds import PROBED

from .cost import Int8Costs, conversions
from .grid import TINY
from .group import Int8Group
from .qdq import Built
from .select import Errors
from .simulate import Simulator
from .tensors import Span, Tensor, spans_of

SECONDS = 40.0
"""Spent on the errors of single tensors; slow models are judged by fewer samples."""
GAIN = 0.9
"""Another range than the full one must leave no more than this share of the noise."""
PEAK = 1.1
"""... and no more than this multiple of the largest error: what clips the score of a rare hit is quiet on average."""

TURNS = (3, 12)
"""Profiles of each form, at least and at most."""
PROFILING = 6.0
"""Seconds after which no further turn begins: of a fast model, more profiles fit than the least number."""


def judge_ranges(
    simulator: Simulator, tried: Mapping[str, Sequence[Span]], seconds: float, each: float | None = None
) -> tuple[dict[str, Span], dict[str, Noise]]:
    """For each tensor alone the range with the least noise at the outputs, and that noise.

    The first range is tried for all tensors, the others for the noisiest first, while time is left.

    Args:
        simulator: Of the model.
        tried: Tensor name -> ranges to choose from.
        seconds: Time to spend on the others.
        each: Seconds that a run is taken to last, whatever the clock says; None to go by the clock.
    """
    spans = {name: each[0] for name, each in tried.items()}
    noise = {name: simulator.noise({name: span}) for name, span in spans.items()}
    began, reckoned = time.perf_counter(), 0.0
    for name in sorted(spans, key=lambda each: -noise[each].power):
        if (time.perf_counter() - began if each is None else reckoned) > seconds:
            break
        reckoned += (each or 0.0) * simulator.count * (len(tried[name]) - 1)
        full = noise[name]
        for span in tried[name][1:]:
            found = simulator.noise({name: span})
            if found.power < min(noise[name].power, GAIN * full.power) and found.peak <= PEAK * full.peak:
                spans[name], noise[name] = span, found
    return spans, noise


def ranges_to_try(tensors: Sequence[Tensor], histograms: Mapping[str, Histogram]) -> dict[str, list[Span]]:
    """The ranges of each tensor that are worth a try, the full one first."""
    return {each.name: [each.fixed] if each.fixed else spans_of(histograms[each.name]) for each in tensors}


def affordable(
    simulate: Callable[[Sequence[Feed]], Simulator], feeds: Sequence[Feed], tensors: int, each: float | None = None
) -> Simulator:
    """A simulator on as many of the feeds as the time for all tensors allows.

    Args:
        simulate: Makes one for some feeds.
        feeds: To choose from.
        tensors: How many will be asked for.
        each: Seconds that a run is taken to last, whatever the clock says; None to measure one.
    """
    simulator = simulate(feeds[:1])
    if each is None:
        started = time.perf_counter()
        simulator.noise({})
        each = time.perf_counter() - started
    # The first range and about one other for each tensor.
    count = min(int(SECONDS / (2 * max(tensors, 1) * max(each, 1e-6))), PROBED, len(feeds))
    return simulate(feeds[:count]) if count > 1 else simulator


def errors_of(
    simulator: Simulator,
    groups: Sequence[Int8Group],
    tensors: Sequence[Tensor],
    spans: Mapping[str, Span],
    noise: Mapping[str, Noise],
    histograms: Mapping[str, Histogram],
    *,
    round_weight: Callable[[Int8Group], np.ndarray],
) -> Errors:
    """What each tensor and each weight adds to the noise at the outputs, made to add up to what all of them make.

    Rounding a weight moves the output of its contraction as much as rounding the activation does that it multiplies,
    if both lose the same share of their power: so the measured error of the activation tells that of the weight. Both
    kinds are scaled to the noise that was measured with all of the kind rounded.

    Args:
        simulator: Of the model.
        groups: All that may run in int8.
        tensors: Around them.
        spans: Tensor name -> its range.
        noise: Tensor name -> what it makes alone.
        histograms: By tensor name.
        round_weight: The weight of a group as int8 stands for it.
    """
    of_value = {name: tensor.name for tensor in tensors for name in tensor.values}
    weights = {}
    for group in groups:
        tensor = constant_tensor(group.weight)
        if tensor is None:
            continue
        weight = tensor.numpy().astype(np.float64)
        lost = float(np.square(weight - round_weight(group)).sum() / max(np.square(weight).sum(), TINY))
        name = of_value[group.activations[0][1].name or ""]
        low, high = spans[name]
        step = (max(high, 0.0) - min(low, 0.0)) / 255
        share = step * step / 12 / max(_power(histograms[name]), TINY)
        weights[group.key] = noise[name].power * lost / max(share, TINY)
    tensors_alone = {name: each.power for name, each in noise.items()}
    return Errors(_scaled_to(tensors_alone, simulator.noise(spans).power), _scaled_to(weights, simulator.weights.power))


def _power(histogram: Histogram) -> float:
    """Mean square of the values."""
    centres = histogram.edges[:-1] + histogram.width / 2
    used = np.flatnonzero(histogram.counts)
    return float(np.dot(histogram.counts[used], np.square(centres[used])) / max(histogram.total, 1))


def _scaled_to(parts: Mapping[str, float], total: float) -> dict[str, float]:
    whole = sum(min(value, 1.0) for value in parts.values())
    factor = total / whole if whole > 0 and np.isfinite(total) else 1.0
    return {name: value * factor for name, value in parts.items()}


def measure_costs(
    model: ir.Model, built: Built, feeds: Sequence[Feed], sizes: Mapping[str, float], config: Mapping[str, str]
) -> Int8Costs:
    """Profiles the float model and the one with all groups in int8.

    Args:
        model: The float model that ``built`` was made of.
        built: With every group; its nodes have unique names.
        feeds: To run.
        sizes: Elements of each value.
        config: Session config entries.
    """
    plain = model.clone()
    name_nodes(plain)
    names = {node.outputs[0].name: node.name or "" for node in plain.graph if node.outputs}
    owners = {
        names[output.name]: group.key
        for group in built.groups
        for output in (ir.Value(name=group.key), *(node.outputs[0] for node in group.absorbed))
    }
    first = {group.key for group in built.groups if group.is_contraction}
    # In turns, so that a machine that is busy for a while slows both, and the least of each counts.
    ends, turns = time.perf_counter() + PROFILING, list[list[list[NodeTime]]]()
    while len(turns) < TURNS[0] or (len(turns) < TURNS[1] and time.perf_counter() < ends):
        turns.append([node_times(each, feeds, config=config) for each in (plain, built.model)])
    before, times = (least([turn[side] for turn in turns]) for side in range(2))
    in_float = attribute(before, plain, owners, first)
    in_int8 = attribute(times, built.model, built.owners, first)
    quantize, dequantize = conversions(times, sizes, built.quantized)
    return Int8Costs(in_float, in_int8, quantize, dequantize)


def least(profiles: Sequence[Sequence[NodeTime]]) -> list[NodeTime]:
    """Of several profiles of one model the least time of each node."""
    return [min(times, key=lambda each: each.microseconds) for times in zip(*profiles, strict=True)]


def name_nodes(model: ir.Model) -> None:
    """Gives every node of the main graph a name of its own: profiles know nodes by name."""
    for place, node in enumerate(model.graph):
        node.name = f"node:{place}"
