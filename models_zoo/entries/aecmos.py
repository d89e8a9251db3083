"""AECMOS: how good is a call whose echo was cancelled? Scored by putting calls in order of the echo that is left."""

from __future__ import annotations

import numpy as np

from models_zoo.entries.speechmos import LICENSE, SIZES, SPEECHMOS, agreement, ids, orders
from models_zoo.entry import Entry, LazySamples, PackageFile, Task
from models_zoo.spectra import log_mel
from onnxslim.samples import Sample

_SECONDS = 6
_BANDS = 160
_MARKER = 20
"""Frames of ones or zeros that tell who talks, and as many zeros after them."""


def samples(split: str, rate: int, hidden: int, marked: bool) -> LazySamples:
    """Calls; the label is by how many dB the echo was cancelled.

    Args:
        split: Which.
        rate: Samples a second.
        hidden: Width of the GRU's state, which begins as zeros.
        marked: Whether the network is told who talks.
    """

    def make(id: str) -> Sample:
        from models_zoo.calls import call

        heard = call(split, id, rate, _SECONDS * rate)
        size = rate * 512 // 16_000
        channels = [log_mel(sound, rate, size + 1, size // 2, _BANDS) for sound in (heard.far, heard.near, heard.sent)]
        if marked:
            # Far end, microphone, what is sent: does the far end talk, may the near end talk?
            ones = (1.0, float(heard.both), 1.0)
            channels = [_marked(channel, one) for channel, one in zip(channels, ones, strict=True)]
        return Sample(id, {"input": np.stack(channels)[None], "h0": np.zeros((4, 1, hidden), np.float32)}, heard.gone)

    return LazySamples(ids(split), make)


def _marked(channel: np.ndarray, one: float) -> np.ndarray:
    return np.pad(np.pad(channel, ((0, _MARKER), (0, 0)), constant_values=one), ((0, _MARKER), (0, 0)))


def _entry(run: str, rate: int, hidden: int, marked: bool, notes: str, band: tuple[float, float]) -> Entry:
    return Entry(
        name=f"aecmos_{run}",
        source=PackageFile(SPEECHMOS, f"aecmos_models/Run_{run}_Stage_0.onnx"),
        license=LICENSE,
        opset=9,
        notes=f"audio CNN with a GRU, {notes}",
        task=Task(
            title="put calls in order of the echo that is left",
            metric="echo order",
            samples=lambda split: samples(split, rate, hidden, marked),
            measure=lambda run, data: orders(run, data, {"echo order": 0}),
            usual=100,
            sizes=SIZES,
            band=band,
            # Echo and other degradations; the one that is not told who talks gives what it believes of that as well.
            agreement=lambda run, reference, data: agreement(run, reference, data, scores=2),
        ),
    )


ENTRIES = (
    _entry("1663829550", 16_000, 64, False, "16 kHz, not told who talks", (0.86, 0.9)),
    _entry("1663915512", 16_000, 64, True, "16 kHz", (0.87, 0.91)),
    _entry("1668423760", 48_000, 96, True, "48 kHz", (0.88, 0.92)),
)
