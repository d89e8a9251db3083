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
    from onnxslim.runtime.feeds import Feed, Outputs, Run
    from onnxslim.runtime.findings import Parity
    from onnxslim.runtime.isolated import IsolatedSession, open_isolated
    from onnxslim.runtime.latency import Latency, compare_latency
    from onnxslim.runtime.metrics import Fidelity, cosine, sqnr_db, top1_agreement
    from onnxslim.runtime.opening import AnyModel
    from onnxslim.runtime.ort import child_environment, operators_from
    from onnxslim.runtime.parity import Reference
    from onnxslim.runtime.profile import NodeTime, node_times
    from onnxslim.runtime.random import Tried, random_feeds, try_random_feeds, untried_feeds
    from onnxslim.runtime.ranking import rank_latency
    from onnxslim.runtime.session import Port, Session, lean_config, open_session, optimized_graph, try_opening
    from onnxslim.runtime.target import TARGETS, Target, host_target
    from onnxslim.runtime.views import logits_view

__all__ = [
    "TARGETS",
    "AnyModel",
    "Difference",
    "Feed",
    "Fidelity",
    "IsolatedSession",
    "Latency",
    "NodeTime",
    "Outputs",
    "Parity",
    "Port",
    "Reference",
    "Run",
    "Session",
    "Target",
    "Tier",
    "Tried",
    "attribute",
    "child_environment",
    "compare_latency",
    "cosine",
    "host_target",
    "lean_config",
    "logits_view",
    "node_times",
    "open_isolated",
    "open_session",
    "operators_from",
    "optimized_graph",
    "random_feeds",
    "rank_latency",
    "sqnr_db",
    "top1_agreement",
    "try_opening",
    "try_random_feeds",
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
    ".views": ("logits_view",),
}

__getattr__ = lazy_exports(__name__, {name: home for home, names in _HOMES.items() for name in names})
