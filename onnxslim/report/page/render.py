"""An account as a page: chapters by the template, styles, script and the data inside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from onnxslim.report.as_json import to_json
from onnxslim.report.page.sections import chapters
from onnxslim.report.page.terms import terms
from onnxslim.report.page.verdict import figures, sentence

if TYPE_CHECKING:
    from onnxslim.report.record import Account

MOST_DATA = 400_000
"""Bytes of JSON in a page; what a report holds beyond that is left out from the largest on, and named."""


def page_of(report: Account) -> str:
    """The page. It needs jinja2, the extra ``report``, and loads nothing when it is shown."""
    from jinja2 import Environment, StrictUndefined

    folder = files("onnxslim.report.page")
    text = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")}
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(text["page.html"])
    return template.render(
        title=" - ".join(filter(None, (_model(report), f"{report.command}: {report.decision}"))),
        verdict=sentence(report),
        reason=report.reason[:1].upper() + report.reason[1:],
        figures=figures(report),
        terms=terms(report),
        chapters=chapters(report),
        data=embedded(to_json(report)),
        style=text["page.css"],
        script=text["page.js"],
    )


def _model(report: Account) -> str:
    """The name of the file that the page is about; empty where there is none."""
    return PurePath(report.input.path or "").name


def embedded(data: Mapping[str, Any], most: int = MOST_DATA) -> str:
    """JSON that may stand in a script element: no ``<``, nothing but ASCII, and not too large.

    >>> embedded({"a": "x" * 99, "b": 1}, most=60)
    '{"b":1,"left_out":["a"]}'
    """
    kept = dict(data)
    left_out: list[str] = []
    while len(said := json.dumps(kept, separators=(",", ":"), allow_nan=False)) > most:
        largest = max(
            (key for key in kept if key != "left_out"), key=lambda key: len(json.dumps(kept[key])), default=None
        )
        if largest is None:
            break
        del kept[largest]
        left_out.append(largest)
        kept["left_out"] = left_out
    return said.replace("<", "\\u003c")
