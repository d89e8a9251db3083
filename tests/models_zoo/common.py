from __future__ import annotations

from functools import cache

from models_zoo import Entry, get
from onnxslim.runtime import Run, open_session

SCORED = [
    "ppocrv4_rec",
    "ppocrv4_det",
    "ppocr_cls",
    "magika",
    "mtcnn_pnet",
    "mtcnn_rnet",
    "mtcnn_onet",
    "minilm_l3",
    "digits_cnn",
]
"""What the project stands on: fetched, and fp32 scored, in the default run. A failing fetch fails the tests."""


@cache
def session(name: str) -> Run:
    """One session a model for all tests."""
    return open_session(entry(name).path(), threads=1).run


@cache
def entry(name: str) -> Entry:
    return get(name)
