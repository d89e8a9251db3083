from __future__ import annotations

from functools import cache

import pytest

from models_zoo import Entry, get
from onnxslim.execution import Run, open_session

SCORED = [
    "ppocrv4_rec",
    "ppocrv4_det",
    "ppocr_cls",
    "magika",
    "mtcnn_pnet",
    "mtcnn_rnet",
    "mtcnn_onet",
    "ddddocr",
    "minilm_l3",
    "digits_cnn",
    "keywords_cnn",
    "silero_vad_16k_sequence",
    "basic_pitch",
    "dnsmos_model_v8",
    "plcmos",
    "aecmos_1663915512",
]
"""What the project stands on: fetched, and fp32 scored, in the default run. A failing fetch fails the tests."""
SLOW = [
    "captcha_whisperer",
    "silero_vad",
    "silero_vad_16k_op15",
    "silero_vad_half",
    "silero_vad_op18_ifless",
    "silero_vad_openvino_16k",
    "dnsmos_bak_ovr",
    "dnsmos_sig",
    "dnsmos_sig_bak_ovr",
    "pdnsmos_sig_bak_ovr",
    "aecmos_1663829550",
    "aecmos_1668423760",
    "nudenet",
]
"""Scored too, but like others of their family or slow."""
EVERY = [*SCORED, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@cache
def session(name: str) -> Run:
    """One session a model for all tests."""
    return open_session(entry(name).path(), threads=1).run


@cache
def entry(name: str) -> Entry:
    return get(name)
