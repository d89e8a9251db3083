from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from onnxslim.errors import InputError
from onnxslim.samples import load_samples
from tests.calibration.nets import Port, port

FLOAT = np.dtype(np.float32)
SOUND = [Port("sound", FLOAT, ("N", "T"))]
NUMBERS = [0, 1, -1, 100, -128, 127]


def write(path: Path, width: int = 2, channels: int = 1, rate: int = 16_000, count: int = len(NUMBERS)) -> None:
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        scaled = [(number << (8 * (width - 1))) + (128 if width == 1 else 0) for number in NUMBERS[:count]]
        file.writeframes(
            b"".join(each.to_bytes(width, "little", signed=width > 1) for each in scaled for _ in range(channels))
        )


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_numbers_of_every_width(tmp_path: Path, width: int) -> None:
    write(tmp_path / "a.wav", width)
    (sample,) = load_samples(tmp_path / "a.wav", inputs=SOUND)
    assert sample.feed["sound"].dtype == FLOAT
    assert np.array_equal(sample.feed["sound"], np.array([NUMBERS], np.float32) / 128)


@pytest.mark.parametrize(
    ("shape", "found"), [(("T",), (6,)), ((1, "T"), (1, 6)), (("N", 1, "T"), (1, 1, 6)), (("N", "T", 1), (1, 6, 1))]
)
def test_layouts(tmp_path: Path, shape: tuple[int | str, ...], found: tuple[int, ...]) -> None:
    write(tmp_path / "a.wav")
    (sample,) = load_samples(tmp_path, inputs=[Port("sound", FLOAT, shape)])
    assert sample.feed["sound"].shape == found


def test_integers_stay_integers_and_folders_are_classes(tmp_path: Path) -> None:
    for name in ("yes", "no"):
        write(tmp_path / name / "a.wav")
    samples = list(load_samples(tmp_path, inputs=[Port("sound", np.dtype(np.int16), (1, 6))]))
    assert [(sample.id, sample.label) for sample in samples] == [("no/a.wav", 0), ("yes/a.wav", 1)]
    assert samples[0].feed["sound"].tolist() == [[number << 8 for number in NUMBERS]]


def refused(match: str, source: Path, inputs: list[Port] | None = SOUND, rate: int | None = None) -> None:
    with pytest.raises(InputError, match=match):
        list(load_samples(source, inputs=inputs, sample_rate=rate))


def test_nothing_is_guessed(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    refused("16,000 samples a second .*8,000 were asked for.*resample", tmp_path, rate=8000)
    write(tmp_path / "b.wav", rate=8000)
    refused("b.wav.*: 16,000 has 'a.wav'", tmp_path)
    write(tmp_path / "b.wav", channels=2)
    refused("2 channels .*make it mono", tmp_path)
    write(tmp_path / "b.wav", count=0)
    refused("holds no sound", tmp_path)
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    refused("no wave file of integer PCM .*ffmpeg", tmp_path)
    (tmp_path / "b.wav").unlink()
    refused("wrong size on axis 1", tmp_path, [Port("sound", FLOAT, (1, 512))])
    refused("takes no waveform.*not \\[N, 80, T\\]", tmp_path, [Port("mel", FLOAT, ("N", 80, "T"))])
    refused("has 16 bits, input 'sound' takes int8", tmp_path, [Port("sound", np.dtype(np.int8), (1, "T"))])
    refused("2 inputs .*sound fills only one", tmp_path, [port(), port("y")])
    refused("not known", tmp_path, None)
