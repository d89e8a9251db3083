"""DNSMOS: how good does speech sound in noise? Scored by putting recordings of known quality in order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models_zoo.entries.speechmos import LICENSE, SIZES, SPEECHMOS, agreement, ids, orders
from models_zoo.entry import Entry, LazySamples, PackageFile, Task
from models_zoo.spectra import hann, log_mel, power
from models_zoo.speech import Sound
from onnxslim.execution.feeds import Feed
from onnxslim.samples import Sample

_RATE, _LENGTH = 16_000, 144_160
"""9.01 s of sound."""
_BACKGROUND, _OVERALL = 1, 2
"""Places among the three scores: speech, background, overall."""
_ALL_THREE = {"noise order": _BACKGROUND, "overall order": _OVERALL}


def waveform(sound: Sound) -> Feed:
    """The input of sig_bak_ovr: the sound itself, float32 [1, 144160]."""
    return {"input_1": sound[None]}


def log_power(sound: Sound) -> Feed:
    """The input of sig and bak_ovr, float32 [1, 901, 161]: decadic logarithm of the power, not below -12."""
    spectrum = power(sound[:-160], hann(320), 160)
    return {"input_1": np.log10(np.maximum(spectrum, 1e-12)).astype(np.float32)[None]}


def mel(sound: Sound) -> Feed:
    """The input of model_v8, float32 [1, 900, 120]."""
    return {"input_1": log_mel(sound[:-160], _RATE, 321, 160, 120)[None]}


def noisy(split: str, feed: Callable[[Sound], Feed]) -> LazySamples:
    """Talk in noise; the label is the SNR in dB."""

    def make(id: str) -> Sample:
        from models_zoo.noise import noisy

        sound, snr = noisy(split, id, _RATE, _LENGTH)
        return Sample(id, feed(sound), snr)

    return LazySamples(ids(split), make)


def lossy(split: str, feed: Callable[[Sound], Feed]) -> LazySamples:
    """Talk with gaps; the label is the percentage that is left."""

    def make(id: str) -> Sample:
        from models_zoo.noise import lossy

        sound, lost = lossy(split, id, _RATE, _LENGTH)
        return Sample(id, feed(sound), 100 - lost)

    return LazySamples(ids(split), make)


def _entry(
    name: str, file: str, notes: str, feed: Callable[[Sound], Feed], scores: dict[str, int], band: tuple[float, float]
) -> Entry:
    gaps = "gap order" in scores
    collect = lossy if gaps else noisy
    return Entry(
        name=name,
        source=PackageFile(SPEECHMOS, file),
        license=LICENSE,
        opset=12,
        notes=notes,
        task=Task(
            title=f"put recordings in order of their {'gaps' if gaps else 'noise'}",
            metric=next(iter(scores)),
            samples=lambda split: collect(split, feed),
            measure=lambda run, data: orders(run, data, scores),
            usual=64,
            sizes=SIZES,
            band=band,
            agreement=agreement,
        ),
    )


_SPECTROGRAM = "keras2onnx audio CNN on a log-power spectrogram"
_SOUND = "keras2onnx audio CNN, spectrogram in the graph"

ENTRIES = (
    _entry("dnsmos_bak_ovr", "dnsmos_models/bak_ovr.onnx", _SPECTROGRAM, log_power, _ALL_THREE, (0.85, 0.91)),
    _entry(
        "dnsmos_model_v8",
        "dnsmos_models/model_v8.onnx",
        "keras2onnx audio CNN on a mel spectrogram",
        mel,
        {"noise order": 0},
        (0.82, 0.88),
    ),
    # Its one score is of the speech alone, which noise hardly changes and gaps do.
    _entry("dnsmos_sig", "dnsmos_models/sig.onnx", _SPECTROGRAM, log_power, {"gap order": 0}, (0.87, 0.93)),
    _entry("dnsmos_sig_bak_ovr", "dnsmos_models/sig_bak_ovr.onnx", _SOUND, waveform, _ALL_THREE, (0.85, 0.91)),
    _entry("pdnsmos_sig_bak_ovr", "pdnsmos_models/sig_bak_ovr.onnx", _SOUND, waveform, _ALL_THREE, (0.72, 0.79)),
)
