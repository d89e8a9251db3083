"""onnxruntime: sessions, targets, parity, latency.

Names are imported on first use, so that ``onnxslim.runtime.tier`` alone loads neither onnx nor onnxruntime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim.lazy import lazy_exports
from onnxslim.runtime.tier import Tier

if TYPE_CHECKING:
    from onnxslim.runtime.attribution import attribute
    from onnxslim.runtime.compare import Difference
    from onnxslim.runtime.extents import Extents, extents_of
    from onnxslim.runtime.feeds import Feed, Outputs, Run
    from onnxslim.runtime.findings import Parity
    from onnxslim.runtime.isolated import IsolatedSession, open_isolated
    from onnxslim.runtime.latency import Latency, compare_latency
    from onnxslim.runtime.measure import Measure, Noise, Tally
    from onnxslim.runtime.metrics import Fidelity, cosine, sqnr_db, top1_agreement
    from onnxslim.runtime.opening import AnyModel
    from onnxslim.runtime.ort import child_environment, operators_from
    from onnxslim.runtime.parity import Reference
    from onnxslim.runtime.parts import Leaf, Part, leaves_of, shown, twins_of
    from onnxslim.runtime.profile import NodeTime, node_times
    from onnxslim.runtime.random import Tried, random_feeds, try_random_feeds, untried_feeds
    from onnxslim.runtime.ranking import rank_latency
    from onnxslim.runtime.session import Port, Session, lean_config, open_session, optimized_graph, try_opening
    from onnxslim.runtime.target import TARGETS, Target, host_target

__all__ = [
    "TARGETS",
    "AnyModel",
    "Difference",
    "Extents",
    "Feed",
    "Fidelity",
    "IsolatedSession",
    "Latency",
    "Leaf",
    "Measure",
    "NodeTime",
    "Noise",
    "Outputs",
    "Parity",
    "Part",
    "Port",
    "Reference",
    "Run",
    "Session",
    "Tally",
    "Target",
    "Tier",
    "Tried",
    "attribute",
    "child_environment",
    "compare_latency",
    "cosine",
    "extents_of",
    "host_target",
    "lean_config",
    "leaves_of",
    "node_times",
    "open_isolated",
    "open_session",
    "operators_from",
    "optimized_graph",
    "random_feeds",
    "rank_latency",
    "shown",
    "sqnr_db",
    "top1_agreement",
    "try_opening",
    "try_random_feeds",
    "twins_of",
    "untried_feeds",
]

_HOMES = {
    ".attribution": ("attribute",),
    ".compare": ("Difference",),
    ".feeds": ("Feed", "Outputs", "Run"),
    ".findings": ("Parity",),
    ".isolated": ("IsolatedSession", "open_isolated"),
    ".latency": ("Latency", "compare_latency"),
    ".metrics": ("Fidelity", "cosine", "sqnr_db", "top1_agreement"),
    ".ort": ("child_environment", "operators_from"),
    ".parity": ("Reference",),
    ".profile": ("NodeTime", "node_times"),
    ".random": ("Tried", "random_feeds", "try_random_feeds", "untried_feeds"),
    ".ranking": ("rank_latency",),
    ".opening": ("AnyModel",),
    ".session": ("Port", "Session", "lean_config", "open_session", "optimized_graph", "try_opening"),
    ".target": ("TARGETS", "Target", "host_target"),
    ".extents": ("Extents", "extents_of"),
    ".measure": ("Measure", "Noise", "Tally"),
    ".parts": ("Leaf", "Part", "leaves_of", "shown", "twins_of"),
}

__getattr__ = lazy_exports(__name__, {name: home for home, names in _HOMES.items() for name in names})
