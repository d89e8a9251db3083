"""Spoken sentences with noise at known levels, from the espeak-ng that a published package bundles."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models_zoo.package import Package
from models_zoo.sentences import pairs, singles
from onnxslim.errors import SetupError

RATE = 16_000
"""Samples a second."""
SNRS = (-5, 2, 9, 16, 23, 30)
"""dB of speech over noise; a sentence is heard with each of them in turn."""
_SPOKEN = 22_050
_ESPEAK = Package(
    "espeakng-loader",
    "0.2.4",
    {
        "libespeak-ng.so": "b15ce0803b26254e8a0d088c6b9281a2637b2b02613147cc320cfdefaf2c3ccf",
        "espeak-ng-data/en_dict": "1053f74a34af38abb6fbd64b7838dacbc655a687c48ce1bb663d364a127b05de",
        "espeak-ng-data/intonations": "031a105bf6bb2ebcd73a2c579ccfb42469b27266db0078af65ae298fd3588b21",
        "espeak-ng-data/phondata": "a0b643b155cb6b12628d9e7865b57d9fca0d35844614f2594a5e009c80c80bb4",
        "espeak-ng-data/phonindex": "384e5fa6f714ba5356c58008249b78699c31c1ad044b243068d263fb806b7d73",
        "espeak-ng-data/phontab": "1b40690667e1e9aa1ba5e5234773c799e7e72ea751426e5150423d53c3f24fa2",
        "espeak-ng-data/lang/gmw/en": "4605d5330801de3641c6e366d15f129ea1f5ffbce8722642aba01ace07ab9c83",
        "espeak-ng-data/lang/gmw/en-US": "41534c2a22df5dd4f1052ff9e1a33a3ea7bff5a26b5c02bdad5ba8ddb7524704",
        "espeak-ng-data/voices/!v/f1": "7cdef453c6b0391d50a02b8f35392e6f41249cea65df1021affd68a64917b85f",
        "espeak-ng-data/voices/!v/f4": "ff9e2907a818920e3b976232c90eabaf270fff0de0b8a479af9a3633e9b7921f",
        "espeak-ng-data/voices/!v/m1": "7f2de023bdfe18651d2d0453d2e7ff5e8ade9f094912a79247336ddc90fd7783",
        "espeak-ng-data/voices/!v/m3": "7a4ac872387439814ddd65f5e1ff73017122975911df6b5dc62c5709e6fdb611",
    },
    folder="espeakng_loader",
)
_VOICES = {"calibration": ("en+m1", "en-us+f1"), "selection": ("en", "en+f4"), "report": ("en-us", "en+m3", "en-us+f4")}
_SIZES = {"calibration": 64, "selection": 40, "report": 120}


@cache
def sentences(split: str) -> tuple[NDArray[np.float32], ...]:
    """Each sentence of a split as sound at 16 kHz in -1..1, its root mean square 0.05.

    They are spoken in one fresh process in one order: what espeak-ng says depends on what it said before.

    Raises:
        SetupError: It cannot be fetched or run; the hashes are those of the build for x86-64 Linux.
    """
    texts = singles() if split == "calibration" else [sentence for pair in pairs(split) for sentence in pair]
    texts = texts[: _SIZES[split]]
    base = _ESPEAK.file("libespeak-ng.so").parent
    with tempfile.TemporaryDirectory(prefix="onnxslim-zoo-") as folder:
        script = "import sys; from models_zoo.speech import speak; speak(*sys.argv[1:4], sys.argv[4:])"
        command = [sys.executable, "-c", script, str(base), ",".join(_VOICES[split]), f"{folder}/spoken.npz", *texts]
        root = str(Path(__file__).resolve().parents[1])
        done = subprocess.run(command, capture_output=True, text=True, cwd=root)
        if done.returncode:
            raise SetupError("espeak-ng cannot speak", where=str(base), why=done.stderr.strip()[-200:])
        with np.load(f"{folder}/spoken.npz", allow_pickle=False) as file:
            spoken = [file[name] for name in file.files]
    return tuple(_at_16k(sound) for sound in spoken)


def speak(base: str, voices: str, output: str, texts: list[str]) -> None:
    """Writes an ``.npz`` of int16 sounds at 22.05 kHz, one for each text, the voices in turn: in its own process."""
    library = ctypes.CDLL(f"{base}/libespeak-ng.so")
    pieces: list[NDArray[np.int16]] = []

    def keep(wave: ctypes._Pointer[ctypes.c_short], count: int, _: int) -> int:
        if wave and count > 0:
            pieces.append(np.ctypeslib.as_array(wave, (count,)).copy())
        return 0

    if library.espeak_Initialize(2, 0, base.encode(), 0) != _SPOKEN:  # 2: synchronous, sound to the callback
        raise SystemExit("espeak_Initialize failed")
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    callback = kind(keep)  # must live as long as it may be called
    library.espeak_SetSynthCallback(callback)
    sounds = []
    for number, text in enumerate(texts):
        names = voices.split(",")
        if library.espeak_SetVoiceByName(names[number % len(names)].encode()):
            raise SystemExit(f"there is no voice {names[number % len(names)]}")
        pieces.clear()
        raw = text.encode()
        library.espeak_Synth(raw, len(raw) + 1, 0, 1, 0, 1, None, None)  # 1: positions in characters, text in UTF-8
        library.espeak_Synchronize()
        sounds.append(np.concatenate(pieces))
    np.savez(output, allow_pickle=False, **{f"{number:04d}": sound for number, sound in enumerate(sounds)})


def noisy(split: str, number: int, length: int) -> tuple[NDArray[np.float32], int]:
    """Sound number ``number`` of a split: speech repeated to ``length`` samples, noise added; and the SNR in dB.

    Consecutive numbers are the same sentence at other SNRs; each has noise of another spectrum.
    """
    spoken = sentences(split)
    sentence, snr = spoken[number // len(SNRS) % len(spoken)], SNRS[number % len(SNRS)]
    rng = np.random.default_rng([number // len(SNRS), number, sorted(_SIZES).index(split)])
    pause = np.zeros(RATE // 4, np.float32)
    speech = np.resize(np.concatenate([sentence, pause]), length)
    spectrum = np.fft.rfft(rng.standard_normal(length))
    slope = rng.uniform(0, 1.2)  # from white to beyond pink, in amplitude
    noise = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 20) ** slope, length)
    scale = 10 ** (-snr / 20) * np.sqrt(np.square(speech).mean() / np.square(noise).mean())
    return np.clip(speech + scale * noise, -1, 1).astype(np.float32), snr


def _at_16k(sound: NDArray[np.int16]) -> NDArray[np.float32]:
    """Resampled by cutting the spectrum, and brought to one loudness."""
    count = round(len(sound) * RATE / _SPOKEN)
    spectrum = np.fft.rfft(sound.astype(np.float64))[: count // 2 + 1]
    wave = np.fft.irfft(spectrum, count)
    loud: NDArray[np.float64] = 0.05 * wave / max(float(np.sqrt(np.square(wave).mean())), 1e-9)
    return loud.astype(np.float32)
