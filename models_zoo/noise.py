"""Talk and noises at known levels: recordings whose quality is known because they were made so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models_zoo.seeds import generator
from models_zoo.speech import Sound, sentence, texts

NOISES = {
    "calibration": ("pink", "hum"),
    "selection": ("brown", "engine"),
    "report": ("white", "babble", "gusts", "hail"),
}
"""The kinds of each split; none is in two."""
SNRS = (-5, 20, 5, 30, 10, 0, 25, 15)
"""In dB, speech over noise. Mixed up, so that any few samples in a row have both faint and loud noise."""
LOSSES = (0, 30, 5, 20, 40, 2, 50, 10)
"""Percent of the packets that are lost, mixed up too."""
BURSTS = {"calibration": (1,), "selection": (2,), "report": (3, 4)}
"""How many packets in a row are lost; in no two splits the same."""
LOUDNESS = 0.05
"""The root mean square of speech."""

Wave = NDArray[np.float64]


@dataclass(frozen=True)
class Talk:
    """Sentences with pauses.

    Args:
        sound: Without noise.
        spoken: For each sample, whether it lies inside a sentence.
    """

    sound: Sound
    spoken: NDArray[np.bool_]


def talk(split: str, rng: np.random.Generator, rate: int, length: int, pause: tuple[float, float] = (0.1, 0.6)) -> Talk:
    """``length`` samples of a split's sentences, drawn at random, after pauses of so many seconds."""
    sound, spoken = np.zeros(length, np.float32), np.zeros(length, np.bool_)
    at = round(rate * rng.uniform(*pause))
    while at < length:
        said = sentence(split, int(rng.integers(len(texts(split)))), rate)[: length - at]
        sound[at : at + len(said)] = said
        spoken[at : at + len(said)] = True
        at += len(said) + round(rate * rng.uniform(*pause))
    return Talk(sound, spoken)


def noisy(split: str, id: str, rate: int, length: int) -> tuple[Sound, int]:
    """The recording of an id that ends with its number, and its SNR in dB.

    The number gives the SNR and the kind of noise, the whole id everything else.
    """
    rng = generator("noisy", id)
    number = int(id.rsplit("-", 1)[1])
    snr, kinds = SNRS[number % len(SNRS)], NOISES[split]
    said = talk(split, rng, rate, length)
    return mix(said.sound, noise(kinds[number // len(SNRS) % len(kinds)], split, rng, rate, length), snr), snr


def lossy(split: str, id: str, rate: int, length: int) -> tuple[Sound, int]:
    """The recording of an id that ends with its number, silent where packets of 10 ms are lost; percent lost."""
    rng = generator("lossy", id)
    number = int(id.rsplit("-", 1)[1])
    percent, bursts = LOSSES[number % len(LOSSES)], BURSTS[split]
    burst = bursts[number // len(LOSSES) % len(bursts)] * rate // 100
    sound = mix(talk(split, rng, rate, length).sound, noise(NOISES[split][0], split, rng, rate, length), 40)
    places = -(-length // burst)
    lost = np.isin(np.arange(places), rng.permutation(places)[: places * percent // 100])
    sound[np.repeat(lost, burst)[:length]] = 0
    return sound, percent


def mix(sound: Sound, added: Wave, snr: float) -> Sound:
    """Speech of the usual loudness with noise at a level."""
    return np.clip(sound + added * (LOUDNESS * 10 ** (-snr / 20)), -1, 1).astype(np.float32)


def noise(kind: str, split: str, rng: np.random.Generator, rate: int, length: int) -> Wave:
    """Noise of a kind, its root mean square 1; ``split`` is whose sentences the babble is made of."""
    match kind:
        case "white" | "pink" | "brown":
            wave = _coloured(rng, rate, length, {"white": 0.0, "pink": 0.5, "brown": 1.0}[kind])
        case "hum":
            wave = _tones(rng, rate, length, rng.uniform(48, 62)) + 0.2 * _coloured(rng, rate, length, 0.5)
        case "engine":
            wave = _tones(rng, rate, length, rng.uniform(25, 40), 0.1) + 0.5 * _coloured(rng, rate, length, 1.0)
        case "babble":
            voices = [talk(split, rng, rate, length, (0.0, 0.1)).sound for _ in range(6)]
            wave = np.sum(voices, axis=0, dtype=np.float64) + LOUDNESS * 0.1 * _coloured(rng, rate, length, 0.5)
        case "gusts":
            wave = _coloured(rng, rate, length, 0.7) * np.exp(_slow(rng, rate, length, 1.5))
        case "hail":
            wave = _clicks(rng, rate, length) + 0.1 * _coloured(rng, rate, length, 0.5)
        case _:
            raise ValueError(f"no such noise: {kind}")
    return wave / _rms(wave)


def _coloured(rng: np.random.Generator, rate: int, length: int, slope: float) -> Wave:
    """Gaussian noise whose amplitude falls with the frequency to the power of ``slope``, above 50 Hz."""
    count = length + -length % 400
    spectrum = np.fft.rfft(rng.standard_normal(count))
    wave: Wave = np.fft.irfft(spectrum / np.maximum(np.fft.rfftfreq(count, 1 / rate), 50) ** slope, count)[:length]
    return wave / _rms(wave)


def _slow(rng: np.random.Generator, rate: int, length: int, hertz: float) -> Wave:
    """A curve of standard normal points, so many a second."""
    points = rng.standard_normal(int(length / rate * hertz) + 3)
    curve: Wave = np.interp(np.arange(length) / rate * hertz, np.arange(len(points)), points)
    return curve


def _tones(rng: np.random.Generator, rate: int, length: int, base: float, wander: float = 0.0) -> Wave:
    """Harmonics of ``base`` Hz below 3 kHz, whose pitch wanders by so much of itself."""
    phase = 2 * np.pi * np.cumsum(base * (1 + wander * _slow(rng, rate, length, 1.0))) / rate
    count = int(3000 / base)
    levels = rng.uniform(0.2, 1, count) / np.arange(1, count + 1)
    starts = np.exp(1j * rng.uniform(0, 2 * np.pi, count))
    step = np.exp(1j * phase)
    # Horner's rule for the sum of the harmonics, which are the powers of the step.
    total = np.zeros(length, np.complex128)
    for weight in (levels * starts)[::-1]:
        total += weight
        total *= step
    wave: Wave = total.real
    return wave / _rms(wave)


def _clicks(rng: np.random.Generator, rate: int, length: int) -> Wave:
    """Thirty clicks a second, each of another strength, all with one short ringing decay."""
    hits = np.zeros(length)
    hits[rng.integers(length, size=30 * length // rate)] = rng.standard_normal(30 * length // rate)
    time = np.arange(rate // 50) / rate
    ring = np.exp(-time * rng.uniform(200, 600)) * np.sin(2 * np.pi * rng.uniform(800, 3000) * time)
    wave: Wave = np.convolve(hits, ring)[:length]
    return wave / _rms(wave)


def _rms(wave: Wave) -> float:
    return float(np.sqrt(np.square(wave).mean()))
