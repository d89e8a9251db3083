"""Played notes by additive synthesis, with the piano roll they were played from: other instruments in each split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models_zoo.seeds import generator

RATE = 22_050
"""Samples a second."""
LENGTH = 43_844
"""Samples of a piece."""
HOP = 256
"""Samples between the frames of the roll."""
FRAMES, KEYS = 172, 88
"""The shape of the roll; the lowest key is A0, 27.5 Hz."""


@dataclass(frozen=True)
class Instrument:
    """What a note sounds like.

    Args:
        slope: The k-th harmonic has the amplitude k ** -slope.
        even: Amplitude of the even harmonics.
        decay: Share of its amplitude that a note loses in a second.
        attack: Seconds until a note is at its loudest.
        vibrato: Depth in semitones, at 5.5 Hz.
    """

    slope: float
    even: float = 1.0
    decay: float = 0.0
    attack: float = 0.01
    vibrato: float = 0.0


INSTRUMENTS: Mapping[str, Mapping[str, Instrument]] = {
    "calibration": {"organ": Instrument(1.0), "guitar": Instrument(1.3, decay=0.7, attack=0.004)},
    "selection": {"reed": Instrument(1.1, even=0.3, attack=0.03), "harp": Instrument(1.8, decay=0.8, attack=0.005)},
    "report": {
        "piano": Instrument(1.5, decay=0.6, attack=0.006),
        "strings": Instrument(1.2, attack=0.06, vibrato=0.15),
        "flute": Instrument(2.2, attack=0.04, vibrato=0.05),
    },
}
"""Of each split; none is in two."""


@dataclass(frozen=True)
class Piece:
    """Two seconds of music.

    Args:
        sound: Shape [LENGTH], in -1..1.
        roll: Shape [FRAMES, KEYS]: is the key held while the frame's middle is heard?
    """

    sound: NDArray[np.float32]
    roll: NDArray[np.bool_]


def piece(split: str, id: str) -> Piece:
    """The piece of an id that ends with its number, which gives the instrument; one to three voices at a time."""
    rng = generator("piece", id)
    instruments = list(INSTRUMENTS[split].values())
    instrument = instruments[int(id.rsplit("-", 1)[1]) % len(instruments)]
    sound, roll = np.zeros(LENGTH), np.zeros((FRAMES, KEYS), bool)
    middles = np.arange(FRAMES) * HOP
    for _ in range(rng.integers(1, 4)):
        at = int(rng.uniform(0, 0.3) * RATE)
        while at < LENGTH - RATE // 10:
            end = min(at + int(rng.uniform(0.2, 0.8) * RATE), LENGTH)
            key = int(rng.integers(20, 64))
            # A key that is held already would only be louder.
            if not roll[(middles >= at) & (middles < end), key].any():
                sound[at:end] += rng.uniform(0.4, 1) * tone(instrument, key, end - at)
                roll[(middles >= at) & (middles < end), key] = True
            at = end + int(rng.uniform(0, 0.1) * RATE)
    sound *= rng.uniform(0.2, 0.9) / np.abs(sound).max()
    return Piece((sound + 0.001 * rng.standard_normal(LENGTH)).astype(np.float32), roll)


def tone(instrument: Instrument, key: int, length: int) -> NDArray[np.float64]:
    """One note of a key, ``length`` samples, let go in the last 20 ms."""
    time = np.arange(length) / RATE
    base = 27.5 * 2 ** (key / 12)
    bend = instrument.vibrato / 12 * np.log(2) * np.sin(2 * np.pi * 5.5 * time)
    phase = 2 * np.pi * base * np.cumsum(np.exp(bend)) / RATE
    wave = np.zeros(length)
    for k in range(1, min(16, int(RATE / 2 / base)) + 1):
        wave += k**-instrument.slope * (1.0 if k % 2 else instrument.even) * np.sin(k * phase)
    rise = np.minimum(time / instrument.attack, 1)
    fall = np.minimum((time[-1] - time) / 0.02, 1)
    note: NDArray[np.float64] = wave * rise * fall * (1 - instrument.decay) ** time
    return note
