"""A keyword spotter of our own, under 25,000 weights, trained by tools/train_keywords.py. Scored by accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models_zoo.entry import Entry, LazySamples, OwnFile, Task
from models_zoo.tally import Tally
from onnxslim.execution.feeds import Feed, Run
from onnxslim.samples import Sample

FILE = "keywords_cnn.onnx"
WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "house", "seven")
RATE = 16_000
"""Samples a second; a sample is a second long."""
BANDS, WINDOW, HOP = 40, 640, 320
FRAMES = 1 + RATE // HOP
SNRS = (20, 8, 15, 5, 25)
"""In dB, mixed up; five of them, so that they meet all of the twelve words."""
_SAYINGS = {"calibration": 10, "selection": 10, "report": 6}
"""How often each voice of a split says each word, at another speed and pitch each time."""
_SPEEDS, _PITCHES = (110, 190), (25, 75)
LONGEST = 0.9
"""Seconds of a word at most; what is longer is cut."""
_SIZES = {"calibration": 256, "selection": 240, "report": 720}


@cache
def sayings(split: str) -> Sequence[NDArray[np.float32]]:
    """The words of a split, one after the other, said again by each voice: number n says ``WORDS[n % 12]``.

    Raises:
        SetupError: espeak-ng cannot be fetched or does not run here.
    """
    from models_zoo.speech import VOICES

    return say(VOICES[split], _SAYINGS[split], split)


def say(voices: Sequence[str], times: int, key: str) -> list[NDArray[np.float32]]:
    """All words by each voice, so many times, at speeds and pitches that ``key`` gives."""
    from models_zoo.seeds import generator
    from models_zoo.speech import spoken, trimmed

    rng = generator("sayings", key)
    said = [
        (word, voice, int(rng.integers(*_SPEEDS)), int(rng.integers(*_PITCHES)))
        for _ in range(times)
        for voice in voices
        for word in WORDS
    ]
    return [trimmed(sound, RATE)[: int(LONGEST * RATE)] for sound in spoken(said)]


def spectrogram(sound: NDArray[np.float32], split: str, snr: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A word somewhere in a second of noise, as the model hears it: float32 [1, 1, frames, bands] in -1..1."""
    from models_zoo.noise import NOISES, mix, noise
    from models_zoo.spectra import log_mel

    kinds = [kind for kind in NOISES[split] if kind != "babble"]  # which would say other words
    second = np.zeros(RATE, np.float32)
    start = int(rng.integers(RATE - len(sound) + 1))
    second[start : start + len(sound)] = sound
    heard = mix(second, noise(kinds[rng.integers(len(kinds))], split, rng, RATE, RATE), snr)
    return log_mel(heard, RATE, WINDOW, HOP, BANDS)[None, None]


def samples(split: str) -> LazySamples:
    """Single words with their number in `WORDS` as label."""
    return LazySamples([f"{split}-word-{number:03d}" for number in range(_SIZES[split])], lambda id: _sample(split, id))


def measure(run: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """Accuracy."""
    right = [(next(iter(run(sample.feed).values())).argmax() == sample.label, 1) for sample in data]
    return {"accuracy": np.array(right, np.float64)}


def _sample(split: str, id: str) -> Sample:
    from models_zoo.seeds import generator

    number = int(id.rsplit("-", 1)[1])
    spoken = sayings(split)
    feed: Feed = {
        "spectrogram": spectrogram(
            spoken[number % len(spoken)], split, SNRS[number % len(SNRS)], generator("keyword", id)
        )
    }
    return Sample(id, feed, number % len(WORDS))


ENTRIES = (
    Entry(
        name="keywords_cnn",
        source=OwnFile(FILE),
        license="Apache-2.0 (this repository; trained on words that espeak-ng says)",
        opset=17,
        notes="DS-CNN of 22,604 weights: Conv, 4 depthwise separable blocks, a mean, Gemm; BatchNormalization folded",
        task=Task(
            title="name spoken words in noise",
            metric="accuracy",
            samples=samples,
            measure=measure,
            usual=720,
            sizes=_SIZES,
            band=(0.86, 0.9),
        ),
    ),
)
