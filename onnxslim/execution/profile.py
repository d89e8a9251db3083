"""How long each node takes in the graph that onnxruntime makes of a model."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxslim.execution.feeds import Feed
from onnxslim.execution.opening import AnyModel
from onnxslim.execution.session import open_session, optimized_graph
from onnxslim.graph.atomic import scratch_folder

WARM_UP = 2
"""Runs that do not count: caches and arenas fill."""


@dataclass(frozen=True, slots=True)
class NodeTime:
    """One node of the optimized graph."""

    op_type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    microseconds: float
    """The least of the runs of each feed, averaged over the feeds; 0 where it never ran."""


def node_times(
    model: AnyModel,
    feeds: Sequence[Feed],
    *,
    runs: int = 8,
    threads: int = 1,
    config: Mapping[str, str] | None = None,
) -> list[NodeTime]:
    """Profiles a model, fully optimized, with onnxruntime's own profiler.

    The profiler costs a few microseconds a node: the times compare nodes, they do not add up to a run.

    Args:
        model: Its nodes should have unique names; those that onnxruntime makes have.
        feeds: Each is run ``runs`` times, after two runs that do not count.
        runs: At least 1.
        threads: Threads within an operator.
        config: Session config entries.

    Raises:
        InputError: onnxruntime does not accept the model or a feed.
        CheckFailed: A node failed while running.
    """
    graph = optimized_graph(model, threads=threads, config=config).graph
    times: dict[str, list[float]] = defaultdict(list)
    with scratch_folder() as folder:
        session = open_session(model, threads=threads, config=config, profile_to=os.path.join(folder, "profile.json"))
        for feed in feeds:
            for _ in range(WARM_UP + runs):
                session.run(feed)
        with open(session.end_profile(), encoding="utf-8") as file:
            events = json.load(file)
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            times[name.removesuffix("_kernel_time")].append(float(event["dur"]))
    each = WARM_UP + runs
    return [
        NodeTime(
            node.op_type, node.name, tuple(node.input), tuple(node.output), _average(times.get(node.name, []), each)
        )
        for node in graph.node
    ]


def _average(durations: Sequence[float], each: int) -> float:
    if not durations:
        return 0.0
    if len(durations) % each:
        return float(np.median(durations))  # inside a loop or a branch
    # The least of the runs: what else the machine does makes a node slower, never faster.
    return float(np.min(np.reshape(durations, (-1, each))[:, WARM_UP:], axis=1).mean())
