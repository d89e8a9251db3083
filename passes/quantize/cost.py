"""What each group costs in float and in int8, and what it costs to go from one to the other: measured node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnxslim.execution import NodeTime

NANOSECONDS = 0.4
"""For one element through a QuantizeLinear or DequantizeLinear, where none was there to measure."""
CALL = 1.5
"""Microseconds that a node costs whatever its size."""


@dataclass(frozen=True, slots=True)
class Int8Costs:
    """Microseconds of one run, by group key and by value name."""

    in_float: Mapping[str, float]
    in_int8: Mapping[str, float]
    quantize: Mapping[str, float]
    dequantize: Mapping[str, float]


def conversions(
    times: Sequence[NodeTime], sizes: Mapping[str, float], quantized: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, float]]:
    """What a QuantizeLinear and a DequantizeLinear of each value would cost, from those that are left in a graph.

    Args:
        times: Of the model in which all groups are int8.
        sizes: Elements of each value.
        quantized: Name of an int8 value -> name of the value that it stands for.
    """
    seen: dict[str, list[tuple[float, float]]] = {"QuantizeLinear": [], "DequantizeLinear": []}
    for each in times:
        if each.op_type in seen:
            name = each.outputs[0] if each.op_type == "QuantizeLinear" else each.inputs[0]
            size = sizes.get(quantized.get(name, ""), 0.0)
            if size:
                seen[each.op_type].append((size, each.microseconds))
    rates = {}
    for op_type, points in seen.items():
        total = sum(size for size, _ in points)
        rates[op_type] = sum(cost for _, cost in points) / total if total else NANOSECONDS / 1000
    return tuple({name: CALL + rates[op] * size for name, size in sizes.items()} for op in seen)  # type: ignore[return-value]
