"""onnxruntime: sessions, targets, parity, latency.

Names are imported on first use, so that ``onnxslim.runtime.tier`` alone loads neither onnx nor onnxruntime.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from onnxslim.runtime.feeds import Feed, Outputs, Run
from onnxslim.runtime.tier import Tier

if TYPE_CHECKING:
    from onnxslim.runtime.latency import Latency, compare_latency
    from onnxslim.runtime.random import Tried, random_feeds, try_random_feeds
    from onnxslim.runtime.session import AnyModel, Port, Session, open_session, optimized_graph
    from onnxslim.runtime.target import TARGETS, Target, host_target

_HOME = {
    "AnyModel": "session",
    "Latency": "latency",
    "Port": "session",
    "Session": "session",
    "TARGETS": "target",
    "Target": "target",
    "Tried": "random",
    "compare_latency": "latency",
    "host_target": "target",
    "open_session": "session",
    "optimized_graph": "session",
    "random_feeds": "random",
    "try_random_feeds": "random",
}

__all__ = [
    "TARGETS",
    "AnyModel",
    "Feed",
    "Latency",
    "Outputs",
    "Port",
    "Run",
    "Session",
    "Target",
    "Tier",
    "Tried",
    "compare_latency",
    "host_target",
    "open_session",
    "optimized_graph",
    "random_feeds",
    "try_random_feeds",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
