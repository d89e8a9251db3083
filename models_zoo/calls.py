"""Calls with an echo that was cancelled to a known degree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models_zoo.noise import NOISES, mix, noise, talk
from models_zoo.seeds import generator
from models_zoo.speech import Sound

CANCELLED = (0, 24, 8, 48, 16, 4, 36, 12)
"""dB by which the echo is weaker than in the microphone, mixed up."""
_ROOMS = {"calibration": (0.1, 0.15), "selection": (0.2, 0.25), "report": (0.3, 0.45)}
"""Seconds of reverberation; no two splits share any."""


@dataclass(frozen=True)
class Call:
    """One side of a call.

    Args:
        far: What the loudspeaker plays.
        near: What the microphone hears: its echo, noise, and the near end if that talks too.
        sent: The same with the echo cancelled.
        both: Whether both ends talk.
        gone: How much weaker the echo is, in dB.
    """

    far: Sound
    near: Sound
    sent: Sound
    both: bool
    gone: int


def call(split: str, id: str, rate: int, length: int) -> Call:
    """The call of an id that ends with its number, which gives the echo, and whether both ends talk."""
    rng = generator("call", id)
    number = int(id.rsplit("-", 1)[1])
    gone, both = CANCELLED[number % len(CANCELLED)], bool(number // len(CANCELLED) % 2)
    far = talk(split, rng, rate, length).sound
    own = talk(split, rng, rate, length).sound if both else np.zeros(length, np.float32)
    echo = _echo(far, _room(split, rng, rate), length + rate)
    hiss = noise(NOISES[split][0], split, rng, rate, length)
    near, sent = (mix((own + level * echo).astype(np.float32), hiss, 30) for level in (1.0, 10 ** (-gone / 20)))
    return Call(far, near, sent, both, gone)


def _room(split: str, rng: np.random.Generator, rate: int) -> NDArray[np.float64]:
    """The impulse response from loudspeaker to microphone: a direct path and a tail that falls by 60 dB, power 1/2."""
    seconds = rng.uniform(*_ROOMS[split])
    time = np.arange(int(seconds * rate)) / rate
    tail = 0.3 * rng.standard_normal(len(time)) * 10 ** (-3 * time / seconds) / np.sqrt(rate / 1000)
    tail[int(rng.uniform(0.002, 0.01) * rate)] += 1
    room: NDArray[np.float64] = tail * np.sqrt(0.5 / np.square(tail).sum())
    return room


def _echo(sound: Sound, room: NDArray[np.float64], padded: int) -> NDArray[np.float64]:
    echo: NDArray[np.float64] = np.fft.irfft(np.fft.rfft(sound, padded) * np.fft.rfft(room, padded), padded)
    return echo[: len(sound)]
