"""Spoken sentences, by the espeak-ng that a published package bundles: other texts and other voices in each split.

espeak-ng is GPL-3.0; it runs as a program of its own, and nothing of it is kept in this repository.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models_zoo.package import Package
from models_zoo.sentences import pairs, singles
from onnxslim.errors import SetupError

Sound = NDArray[np.float32]
"""Shape [samples], in -1..1."""
Said = tuple[str, str, int, int]
"""A text, the voice as espeak-ng names it, words a minute, and pitch of 0..100."""
SPOKEN_RATE = 22_050
"""Samples a second, as espeak-ng makes them."""
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
        "espeak-ng-data/lang/gmw/en-GB-scotland": "1ce4282c1f4385dbaf0035e799b2ab1ee9e9a3ab4829100594a3047727b52353",
        "espeak-ng-data/lang/gmw/en-GB-x-rp": "d0625af7f58561b1b8cf96fd7f93eee6553bcb3eadb9020ae0757bf96e5115e5",
        "espeak-ng-data/lang/gmw/en-US": "41534c2a22df5dd4f1052ff9e1a33a3ea7bff5a26b5c02bdad5ba8ddb7524704",
        "espeak-ng-data/voices/!v/belinda": "9bd791b7115820e25ada82b4911134d5116e8238b4fd4d214dfccf162576141c",
        "espeak-ng-data/voices/!v/f1": "7cdef453c6b0391d50a02b8f35392e6f41249cea65df1021affd68a64917b85f",
        "espeak-ng-data/voices/!v/f4": "ff9e2907a818920e3b976232c90eabaf270fff0de0b8a479af9a3633e9b7921f",
        "espeak-ng-data/voices/!v/linda": "df06b4c29f5953034e7815ea7062e356917266f8fab576f76c036045525c8e28",
        "espeak-ng-data/voices/!v/m1": "7f2de023bdfe18651d2d0453d2e7ff5e8ade9f094912a79247336ddc90fd7783",
        "espeak-ng-data/voices/!v/m2": "6eb925eb6691621a6de66c87596c6ed879c80a04215a9a8437dffc28fcfa14dd",
        "espeak-ng-data/voices/!v/m3": "7a4ac872387439814ddd65f5e1ff73017122975911df6b5dc62c5709e6fdb611",
        "espeak-ng-data/voices/!v/m7": "bdfc54a3558ca98f9ca082479c5211034a824d8721db91804f9d77867db6fab3",
    },
    folder="espeakng_loader",
)
VOICES = {
    "calibration": ("en-gb-scotland+m1", "en-gb-scotland+f1"),
    "selection": ("en-gb-x-rp+m2", "en-gb-x-rp+belinda"),
    "report": ("en-us+m3", "en-us+f4", "en+m7", "en+linda"),
}
"""espeak-ng's names, language and variant; neither is in two splits.

No variant that breathes, for its breath is another one each time.
"""
_RATES, _PITCHES = (130, 200), (30, 65)
"""Words a minute, and pitch of 0..100: drawn for each sentence."""
_SET_RATE, _SET_PITCH = 1, 3


def texts(split: str) -> list[str]:
    """The sentences of a split."""
    return singles() if split == "calibration" else [sentence for pair in pairs(split) for sentence in pair]


def sentence(split: str, number: int, rate: int) -> Sound:
    """A sentence of a split without silence around it, its root mean square 0.05, at ``rate`` samples a second."""
    spoken = utterances(split)
    return _resampled(split, number % len(spoken), rate)


@cache
def _resampled(split: str, number: int, rate: int) -> Sound:
    return trimmed(utterances(split)[number], rate)


def trimmed(said: NDArray[np.int16], rate: int) -> Sound:
    """A sound without silence around it, its root mean square 0.05, at ``rate`` samples a second.

    Resampled by cutting or padding the spectrum, as the sounds are short.
    """
    sound = said.astype(np.float64)
    loud = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max())
    sound = sound[loud[0] : loud[-1] + 1]
    # To a multiple of 20 ms, which is a whole number of samples at each rate and a length that the FFT likes.
    sound = np.pad(sound, (0, -len(sound) % (SPOKEN_RATE // 50)))
    count = len(sound) * rate // SPOKEN_RATE
    wave = np.fft.irfft(np.fft.rfft(sound)[: count // 2 + 1], count)
    loud_enough: Sound = (0.05 * wave / np.sqrt(np.square(wave).mean())).astype(np.float32)
    return loud_enough


@cache
def utterances(split: str) -> list[NDArray[np.int16]]:
    """All sentences of a split, spoken in one order: the sound depends on what was said before.

    Raises:
        SetupError: As `spoken` does.
    """
    rng = np.random.default_rng(len(split))
    return spoken(
        [
            (text, VOICES[split][number % len(VOICES[split])], int(rng.integers(*_RATES)), int(rng.integers(*_PITCHES)))
            for number, text in enumerate(texts(split))
        ]
    )


def spoken(said: Sequence[Said]) -> list[NDArray[np.int16]]:
    """What is said, in a fresh process and in this order; the same sounds each time.

    Raises:
        SetupError: It cannot be fetched or does not run here; the known hash is that of the build for x86-64 Linux.
    """
    # All are checked, as espeak-ng looks for its data itself.
    library, *_ = [_ESPEAK.file(name) for name in _ESPEAK.files]
    with tempfile.TemporaryDirectory(prefix="onnxslim-zoo-") as folder:
        output = Path(folder) / "spoken.npz"
        done = subprocess.run(
            [sys.executable, "-m", "models_zoo.speech", str(library), str(output)],
            input=json.dumps(said),
            cwd=Path(__file__).resolve().parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SetupError("espeak-ng does not speak here", where=str(library), why=done.stderr.strip()[-300:])
        with np.load(output, allow_pickle=False) as file:
            return [file[name] for name in file.files]


def _speak(library: str, output: str) -> None:
    """The other process: sentences from standard input, spoken into an ``.npz`` of int16 sounds."""
    espeak = ctypes.CDLL(library)
    pieces: list[NDArray[np.int16]] = []

    def keep(wave: ctypes._Pointer[ctypes.c_short], count: int, _: int) -> int:
        if wave and count > 0:
            pieces.append(np.ctypeslib.as_array(wave, (count,)).copy())
        return 0

    # 2: synchronous, and the sound goes to the callback, which must live as long as it may be called.
    if espeak.espeak_Initialize(2, 0, str(Path(library).parent).encode(), 0) != SPOKEN_RATE:
        raise SystemExit("espeak_Initialize failed")
    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)(keep)
    espeak.espeak_SetSynthCallback(callback)
    sounds = {}
    for number, (text, voice, rate, pitch) in enumerate(json.load(sys.stdin)):
        if espeak.espeak_SetVoiceByName(voice.encode()):
            raise SystemExit(f"there is no voice {voice}")
        espeak.espeak_SetParameter(_SET_RATE, rate, 0)
        espeak.espeak_SetParameter(_SET_PITCH, pitch, 0)
        pieces.clear()
        raw = text.encode() + b"\0"
        espeak.espeak_Synth(raw, len(raw), 0, 1, 0, 1, None, None)  # 1 and 1: by character, in UTF-8
        sounds[f"{number:04d}"] = np.concatenate(pieces)
    np.savez(output, allow_pickle=False, **sounds)


if __name__ == "__main__":
    _speak(*sys.argv[1:])
