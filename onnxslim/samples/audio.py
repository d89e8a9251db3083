"""Samples from ``.wav`` files: the waveform as it is, for models that take one."""

from __future__ import annotations

import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.errors import InputError
from onnxslim.samples.check import PortLike
from onnxslim.samples.sample import Sample

PREPARE = "prepare the samples as .npz files"


class Waves:
    """Wave files, one sample each; ids are the paths relative to ``root``.

    A float input gets numbers from -1 to 1, an integer input the numbers of files of its own width. The time axis of
    ``[time]``, ``[batch, time]``, ``[batch, 1, time]`` and ``[batch, time, 1]`` takes the whole file. Nothing is
    resampled, mixed down, cut or padded.

    Args:
        root: Their folder.
        files: Paths in it.
        labels: One a file; None where there are none.
        inputs: Of the model, which has one.
        rate: Samples a second that every file must have; None means that of the first.

    Raises:
        InputError: The model takes no waveform. What is wrong with a file is raised when it is read.
    """

    def __init__(
        self,
        root: Path,
        files: Sequence[str],
        labels: Sequence[Any] | None,
        inputs: Sequence[PortLike] | None,
        rate: int | None,
    ) -> None:
        self.root, self.files, self.labels = root, files, labels
        self.port = _port(inputs)
        self.shape = _shape(self.port)
        self.rate, self.given = rate, rate is not None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        path = self.root / self.files[index]
        rate, width, samples = read_wave(path)
        if self.rate is None:
            self.rate = rate if index == 0 else read_wave(self.root / self.files[0])[0]
        if rate != self.rate:
            raise InputError(
                f"the file has {rate:,} samples a second",
                where=str(path),
                why=f"{self.rate:,} {'were asked for' if self.given else f'has {self.files[0]!r}'}",
                mend="resample it: the model was trained at one rate",
            )
        array = self._converted(samples, width, path).reshape(self.shape)
        return Sample(self.files[index], {self.port.name: array}, self.labels[index] if self.labels else None)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def _converted(self, samples: np.ndarray, width: int, path: Path) -> np.ndarray:
        dtype = self.port.dtype
        assert dtype is not None
        if dtype.kind == "f":
            return (samples / float(1 << (8 * width - 1))).astype(dtype)
        if dtype.kind == "i" and dtype.itemsize == width:
            return samples.astype(dtype)
        raise InputError(
            f"the file has {8 * width} bits, input {self.port.name!r} takes {dtype}", where=str(path), mend=PREPARE
        )


def read_wave(path: Path) -> tuple[int, int, np.ndarray]:
    """Samples a second, bytes a sample, and the samples as ``int32[time]``, whose largest is that of the width.

    Raises:
        InputError: The file cannot be read, is no integer PCM, has several channels, or is empty.
    """
    try:
        with wave.open(str(path), "rb") as file:
            rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
            content = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise InputError(
            "the file is no wave file of integer PCM",
            where=str(path),
            why=str(error) or "it ends too early",
            mend="convert it, e.g. ffmpeg -i IN -ac 1 -c:a pcm_s16le OUT.wav",
        ) from error
    if channels != 1:
        raise InputError(
            f"the file has {channels} channels", where=str(path), mend="make it mono, e.g. ffmpeg -i IN -ac 1 OUT.wav"
        )
    if width == 1:
        samples = np.frombuffer(content, np.uint8).astype(np.int32) - 128
    elif width in (2, 4):
        samples = np.frombuffer(content[: len(content) // width * width], f"<i{width}").astype(np.int32)
    elif width == 3:
        triples = np.frombuffer(content[: len(content) // 3 * 3], np.uint8).reshape(-1, 3)
        samples = np.pad(triples, ((0, 0), (1, 0))).view("<i4").reshape(-1) >> 8
    else:
        raise InputError(f"the file has {8 * width} bits a sample", where=str(path), mend="convert it to 16 bits")
    if not len(samples):
        raise InputError("the file holds no sound", where=str(path), mend="remove it")
    return rate, width, samples


def _port(inputs: Sequence[PortLike] | None) -> PortLike:
    if inputs is None:
        raise InputError("the input that takes the sound is not known", mend=PREPARE)
    if len(inputs) != 1 or inputs[0].dtype is None:
        names = ", ".join(port.name for port in inputs)
        raise InputError(f"the model has {len(inputs)} inputs ({names}), sound fills only one", mend=PREPARE)
    return inputs[0]


def _shape(port: PortLike) -> tuple[int, ...]:
    """What the waveform is reshaped to."""
    sizes = port.shape
    match len(sizes):
        case 1:
            return (-1,)
        case 2:
            return (1, -1)
        case 3 if sizes[1] == 1:
            return (1, 1, -1)
        case 3 if sizes[2] == 1:
            return (1, -1, 1)
    shown = ", ".join("?" if size is None else str(size) for size in sizes)
    raise InputError(
        f"input {port.name!r} takes no waveform",
        why=f"that is [time], [batch, time], [batch, 1, time] or [batch, time, 1], not [{shown}]",
        mend=f"compute what the model takes, such as a spectrogram, and {PREPARE}",
    )
