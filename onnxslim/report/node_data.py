"""Times and errors by node for Model Explorer, which colours the nodes of a graph by such data.

The format is that of ``node_data_builder.py`` in https://github.com/google-ai-edge/model-explorer: graphs by id, and in
each of them ``results`` by key. A key is the name of a node's first output, by which Model Explorer finds the node.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from onnxslim.errors import InputError

if TYPE_CHECKING:
    from onnxslim.report.record import Account

GRADIENT = (
    {"stop": 0, "bgColor": "#ffffff", "textColor": "#000000"},
    {"stop": 1, "bgColor": "#f08c00", "textColor": "#000000"},
)
"""From the least to the most."""


def node_data(report: Account, what: Literal["time", "error"] = "time") -> dict[str, Any]:
    """Node data of the result; Model Explorer reads one kind of value from a file.

    Args:
        report: Of a run that was to write a report: others do not look inside the models.
        what: ``time`` in microseconds, or ``error`` in percent: root mean square of the error over that of the signal.

    Returns:
        ``{"<graph>": {"results": {"<value>": {"value": ...}}, "gradient": [...]}}``.

    Raises:
        InputError: It was not measured.
    """
    layers = report.layers
    values: dict[str, float] = {}
    if layers is not None and what == "time":
        values = {
            node.outputs[0]: round(node.microseconds, 2)
            for node in layers.result.nodes
            if node.outputs and node.microseconds is not None
        }
    elif layers is not None:
        values = {each.name: percent(each.sqnr_db) for each in layers.errors}
    if layers is None or not values:
        raise InputError(
            f"the report holds no {what} by node",
            why="; ".join(layers.notes) if layers is not None else "the run was not asked for a report",
            mend="name the file with --report (report=), and give samples",
        )
    results = {name: {"value": value} for name, value in values.items()}
    return {layers.result.name: {"results": results, "gradient": list(GRADIENT)}}


def percent(sqnr_db: float) -> float:
    """The error as a share of the signal.

    >>> percent(40.0), percent(float("inf"))
    (1.0, 0.0)
    """
    return 0.0 if sqnr_db == math.inf else float(f"{100 * 10 ** (-sqnr_db / 20):.4g}")
