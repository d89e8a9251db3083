"""Running models: sessions of onnxruntime, alone or in a child process, on which machine, how fast.

Names are imported on first use, so that ``onnxslim.execution.target`` alone loads neither onnx nor onnxruntime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim.lazy import lazy_exports

if TYPE_CHECKING:
    from onnxslim.execution.attribution import attribute
    from onnxslim.execution.executor import Executor, OnnxRuntime
    from onnxslim.execution.feeds import Feed, Outputs, Run
    from onnxslim.execution.isolated import IsolatedSession, open_isolated
    from onnxslim.execution.latency import Latency, compare_latency
    from onnxslim.execution.opening import AnyModel
    from onnxslim.execution.ort import child_environment, operators_from
    from onnxslim.execution.profile import NodeTime, node_times
    from onnxslim.execution.random import TriedFeeds, random_feeds, try_random_feeds, untried_feeds
    from onnxslim.execution.ranking import rank_latency
    from onnxslim.execution.session import Port, Session, lean_config, open_session, optimized_graph, try_opening
    from onnxslim.execution.stepper import Forward
    from onnxslim.execution.target import TARGETS, Target, host_target

__all__ = [
    "TARGETS",
    "AnyModel",
    "Executor",
    "Feed",
    "Forward",
    "IsolatedSession",
    "Latency",
    "NodeTime",
    "OnnxRuntime",
    "Outputs",
    "Port",
    "Run",
    "Session",
    "Target",
    "TriedFeeds",
    "attribute",
    "child_environment",
    "compare_latency",
    "host_target",
    "lean_config",
    "node_times",
    "open_isolated",
    "open_session",
    "operators_from",
    "optimized_graph",
    "random_feeds",
    "rank_latency",
    "try_opening",
    "try_random_feeds",
    "untried_feeds",
]

_HOMES = {
    ".attribution": ("attribute",),
    ".executor": ("Executor", "OnnxRuntime"),
    ".feeds": (
        "Feed",
        "Outputs",
        "Run",
    ),
    ".isolated": (
        "IsolatedSession",
        "open_isolated",
    ),
    ".latency": (
        "Latency",
        "compare_latency",
    ),
    ".opening": ("AnyModel",),
    ".ort": (
        "child_environment",
        "operators_from",
    ),
    ".profile": (
        "NodeTime",
        "node_times",
    ),
    ".random": (
        "TriedFeeds",
        "random_feeds",
        "try_random_feeds",
        "untried_feeds",
    ),
    ".ranking": ("rank_latency",),
    ".session": (
        "Port",
        "Session",
        "lean_config",
        "open_session",
        "optimized_graph",
        "try_opening",
    ),
    ".stepper": ("Forward",),
    ".target": (
        "TARGETS",
        "Target",
        "host_target",
    ),
}

__getattr__ = lazy_exports(__name__, {name: home for home, names in _HOMES.items() for name in names})
