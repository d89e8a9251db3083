"""The tensors that are quantized: which of them share a grid, and what ranges their grids may have."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx as nx

from onnxslim.calibration import Histogram
from onnxslim.calibration.ranges import entropy, min_max, mse, percentile

from .group import Int8Group

Span = tuple[float, float]
"""The values that the ends of a grid stand for."""

PERCENTILES = (99.999, 99.99, 99.9)
"""What the search tries beside the extremes and the least squared error."""
SAME = 0.02
"""Two ranges that differ by a smaller share are one."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Values that share one grid, because movers between them only pick or move elements.

    ``fixed`` is the range where the operator decides it: a HardSigmoid ends at 0 and 1 by saturating there.
    """

    name: str
    values: tuple[str, ...]
    fixed: Span | None


def tensors_of(groups: Sequence[Int8Group]) -> list[Tensor]:
    """The tensors around ``groups``, in the order of their first value."""
    links: nx.Graph[str] = nx.Graph()
    fixed: dict[str, Span] = {}
    for group in groups:
        names = [value.name or "" for value in group.measured]
        links.add_nodes_from(names)
        if group.is_mover:
            links.add_edges_from(itertools.pairwise(names))
        if group.node.op_type == "HardSigmoid":
            fixed[names[-1]] = (0.0, 1.0)
    order = {name: place for place, name in enumerate(links)}
    found = []
    for part in nx.connected_components(links):
        values = tuple(sorted(part, key=order.__getitem__))
        spans = [fixed[name] for name in values if name in fixed]
        found.append(Tensor(values[0], values, spans[0] if spans else None))
    return sorted(found, key=lambda tensor: order[tensor.name])


def merged(histograms: Sequence[Histogram]) -> Histogram:
    """The histogram of the data of all of them."""
    result = histograms[0]
    for each in histograms[1:]:
        result = result.merge(each)
    return result


def span_of(histogram: Histogram, rule: str, share: float) -> Span:
    """The range that one rule chooses.

    Args:
        histogram: Of all values of the tensor.
        rule: ``min-max``, ``percentile``, ``entropy`` or ``mse``.
        share: Percent of the values kept by ``percentile``.
    """
    if rule == "min-max":
        return min_max(histogram)
    if rule == "percentile":
        return percentile(histogram, share)
    return entropy(histogram) if rule == "entropy" else mse(histogram)


def spans_of(histogram: Histogram) -> list[Span]:
    """The ranges worth trying, the full one first, without those that are nearly the same."""
    found = [min_max(histogram), mse(histogram), *(percentile(histogram, share) for share in PERCENTILES)]
    kept: list[Span] = []
    for low, high in found:
        room = SAME * (max(high, 0.0) - min(low, 0.0))
        if all(abs(low - other[0]) > room or abs(high - other[1]) > room for other in kept):
            kept.append((low, high))
    return kept


def by_value(tensors: Sequence[Tensor], spans: Mapping[str, Span]) -> dict[str, Span]:
    """The range of every value, from those of the tensors by name."""
    return {value: spans[tensor.name] for tensor in tensors for value in tensor.values}


def centred(span: Span) -> Span:
    """The range made symmetric around zero, where it has negative values; else a Relu before it would stay."""
    low, high = span
    reach = max(-low, high)
    return (-reach, reach) if low < 0 else span
