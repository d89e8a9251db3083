"""PLCMOS: how good does speech sound where packets were lost? Scored by putting recordings in order of their gaps."""

from __future__ import annotations

import numpy as np

from models_zoo.entries.speechmos import LICENSE, SIZES, SPEECHMOS, agreement, ids, orders
from models_zoo.entry import Entry, LazySamples, PackageFile, Task
from models_zoo.seeds import generator
from models_zoo.spectra import power
from models_zoo.speech import Sound
from onnxslim.execution.feeds import Feed
from onnxslim.samples import Sample

_RATE, _LENGTH = 16_000, 96_000
_SIZE, _HOP = 512, 256


def samples(split: str) -> LazySamples:
    """Talk with gaps; the label is the percentage that is left."""

    def make(id: str) -> Sample:
        from models_zoo.noise import lossy

        sound, lost = lossy(split, id, _RATE, _LENGTH)
        return Sample(id, feed(sound, id), 100 - lost)

    return LazySamples(ids(split), make)


def feed(sound: Sound, id: str) -> Feed:
    """Natural logarithm of the power by 20, float32 [1, 1, frames, 257], and a rater, whom the id draws.

    Where there is no power at all it is 120 dB below the least that there is.
    """
    spectrum = power(sound, np.hamming(_SIZE + 1)[:-1], _HOP)
    least = spectrum[spectrum > 0].min()
    logarithm = np.log(np.where(spectrum > 0, spectrum, least * 1e-12)) / 20
    rater = generator("rater", id).standard_normal((1, 64))
    return {"degraded_audio": logarithm.astype(np.float32)[None, None], "rater_embed": rater.astype(np.float32)}


ENTRIES = (
    Entry(
        name="plcmos",
        source=PackageFile(SPEECHMOS, "plcmos_models/plcmos_v2.onnx"),
        license=LICENSE,
        opset=11,
        notes="audio CNN with a GRU",
        task=Task(
            title="put recordings in order of their gaps",
            metric="gap order",
            samples=samples,
            measure=lambda run, data: orders(run, data, {"gap order": 0}),
            usual=100,
            sizes=SIZES,
            band=(0.91, 0.95),
            agreement=agreement,
        ),
    ),
)
