"""Spectrograms as audio networks are fed with them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from models_zoo.speech import Sound

Spectrogram = NDArray[np.float64]
"""Shape [frames, bands]."""


def power(sound: Sound, window: NDArray[np.float64], hop: int) -> Spectrogram:
    """The power spectrum of windows centred at every ``hop`` samples; silence around the sound."""
    size = len(window)
    padded = np.pad(sound.astype(np.float64), size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    return np.square(np.abs(np.fft.rfft(frames * window)))


def log_mel(sound: Sound, rate: int, size: int, hop: int, bands: int) -> NDArray[np.float32]:
    """Decibels below the loudest band and frame, 80 at most, mapped from -80..0 to -1..1: float32 [frames, bands]."""
    mel = power(sound, hann(size), hop) @ filters(rate, size, bands).T
    decibels = 10 * np.log10(np.maximum(mel, 1e-10))
    decibels = np.maximum(decibels - max(decibels.max(), -100.0), -80)
    scaled: NDArray[np.float32] = ((decibels + 40) / 40).astype(np.float32)
    return scaled


def hann(size: int) -> NDArray[np.float64]:
    """Hann's window, periodic."""
    window: NDArray[np.float64] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    return window


@cache
def filters(rate: int, size: int, bands: int) -> NDArray[np.float64]:
    """Triangles of equal area on Slaney's mel scale (Auditory Toolbox, 1998), [bands, frequencies]."""
    edges = _hertz(np.linspace(0, _mel(rate / 2), bands + 2))
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    rising = (frequencies - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequencies) / np.diff(edges)[1:, None]
    triangles: NDArray[np.float64] = np.maximum(np.minimum(rising, falling), 0)
    return triangles * (2 / (edges[2:] - edges[:-2]))[:, None]


_LINEAR = 1000.0
"""Hz; the scale is linear below, logarithmic above."""


def _mel(hertz: float) -> float:
    """Above the linear part."""
    return 15 + 27 * float(np.log(hertz / _LINEAR) / np.log(6.4))


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * _LINEAR / 15, _LINEAR * 6.4 ** ((mel - 15) / 27))
