"""Silero VAD in six builds: is someone speaking? Scored by the frames of talk with pauses that they get right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models_zoo.entry import Entry, LazySamples, PackageFile, Task
from models_zoo.package import Package
from models_zoo.tally import Tally
from onnxslim.execution.feeds import Feed, Outputs, Run
from onnxslim.samples import Sample

_SILERO = Package(
    "silero-vad",
    "6.2.3",
    {
        "silero_vad.onnx": "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
        "silero_vad_16k_op15.onnx": "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
        "silero_vad_16k_sequence.onnx": "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
        "silero_vad_half.onnx": "1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769",
        "silero_vad_op18_ifless.onnx": "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
        "silero_vad_openvino_16k.onnx": "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87",
    },
    folder="silero_vad/data",
)
_SEQUENCE = "silero_vad_16k_sequence.onnx"
_RATE, _FRAME, _CONTEXT = 16_000, 512, 64
"""A frame of 32 ms is heard together with the last 64 samples before it."""
_FRAMES = 64
"""Frames of a sample: two seconds."""
_LATEST = 96
"""The frame of the recording at which a sample begins at the latest."""
_EDGE = 3
"""Frames around the beginning and the end of a sentence that are not judged: where speech begins is no exact place."""
_PAUSES = (1.5, 4.0)
_SNRS = (-10, 15, 0, -5, 25, 5)
_THRESHOLD = 0.5
"""The package's setting (silero-vad, get_speech_timestamps)."""
_SIZES = {"calibration": 256, "selection": 256, "report": 300}


@dataclass(frozen=True)
class Scene:
    """Two seconds out of a recording.

    Args:
        frames: Shape [64, 576].
        speech: Shape [64]: does someone speak?
        judged: Shape [64]: is that beyond doubt?
        before: Shape [frames, 576]: what was heard before.
    """

    frames: NDArray[np.float32]
    speech: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    before: NDArray[np.float32]


def samples(split: str, name: str) -> LazySamples:
    """The feed is the first frame of a scene, or all of it, with the state before it; the label is the scene.

    The state is what the build itself, in fp32, remembers of what was heard before.
    """

    def make(id: str) -> Sample:
        heard = scene(split, id)
        return Sample(id, _whole(heard) if name == _SEQUENCE else _first(heard, name), heard)

    return LazySamples([f"{split}-scene-{number:03d}" for number in range(_SIZES[split])], make)


def scene(split: str, id: str) -> Scene:
    """The scene of an id that ends with its number, which gives the noise and its level."""
    from models_zoo.noise import NOISES, mix, noise, talk
    from models_zoo.seeds import generator

    rng = generator("scene", id)
    number = int(id.rsplit("-", 1)[1])
    snr = _SNRS[number % len(_SNRS)]
    kinds = [kind for kind in NOISES[split] if kind != "babble"]  # which is speech, too
    start = int(rng.integers(_LATEST + 1))
    length = (start + _FRAMES) * _FRAME
    said = talk(split, rng, _RATE, length, _PAUSES)
    sound = mix(said.sound, noise(kinds[number // len(_SNRS) % len(kinds)], split, rng, _RATE, length), snr)
    heard = np.lib.stride_tricks.sliding_window_view(np.pad(sound, (_CONTEXT, 0)), _CONTEXT + _FRAME)[::_FRAME]
    speech = said.spoken.reshape(-1, _FRAME).mean(1) > 0.5
    near = np.lib.stride_tricks.sliding_window_view(np.pad(speech, _EDGE, mode="edge"), 2 * _EDGE + 1)
    judged: NDArray[np.bool_] = np.equal(near.all(1), near.any(1))
    return Scene(heard[start:].copy(), speech[start:], judged[start:], heard[:start])


def measure(run: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """Per scene: the judged frames that are heard rightly."""
    rows = []
    for sample in data:
        heard: Scene = sample.label
        right = np.equal(_probabilities(run, sample) > _THRESHOLD, heard.speech) & heard.judged
        rows.append((right.sum(), heard.judged.sum()))
    return {"frame accuracy": np.array(rows, np.float64)}


def agreement(run: Run, reference: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """Per scene: the frames on which the reference says the same, and the mean absolute error of the probabilities."""
    pairs = [(_probabilities(run, sample), _probabilities(reference, sample)) for sample in data]
    same = [(((a > _THRESHOLD) == (b > _THRESHOLD)).sum(), len(a)) for a, b in pairs]
    errors = [(np.abs(a - b).sum(), len(a)) for a, b in pairs]
    return {"frame agreement": np.array(same, np.float64), "MAE": np.array(errors, np.float64)}


def _probabilities(run: Run, sample: Sample) -> NDArray[np.float64]:
    """Of speech in each frame of the scene; from frame to frame the model carries its own state."""
    if "state" not in sample.feed:
        return run(sample.feed)["speech_probs"].astype(np.float64)
    outputs = _frame_by_frame(run, sample.feed, sample.label.frames)
    return np.array([each["output"][0, 0] for each in outputs], np.float64)


def _frame_by_frame(run: Run, feed: Feed, frames: NDArray[np.float32]) -> Iterator[Outputs]:
    state = feed["state"]
    for frame in frames:
        outputs = run(feed | {"input": frame[None], "state": state})
        state = outputs["stateN"]
        yield outputs


def _first(heard: Scene, name: str) -> Feed:
    feed = {"input": heard.frames[:1], "state": np.zeros((2, 1, 128), np.float32)}
    if name not in _ONE_RATE:
        feed["sr"] = np.array(_RATE, np.int64)
    for outputs in _frame_by_frame(_own(name), feed, heard.before):
        feed["state"] = outputs["stateN"]
    return feed


def _whole(heard: Scene) -> Feed:
    feed = {"input": heard.frames, **{name: np.zeros((1, 1, 128), np.float32) for name in "hc"}}
    if len(heard.before):
        outputs = _own(_SEQUENCE)(feed | {"input": heard.before})
        feed |= {"h": outputs["hn"], "c": outputs["cn"]}
    return feed


@cache
def _own(name: str) -> Run:
    from onnxslim.execution import open_session

    return open_session(_SILERO.file(name), threads=1).run


_MODELS = {
    "silero_vad": ("silero_vad.onnx", 16, "LSTM, 25 If subgraphs, both sampling rates in one file"),
    "silero_vad_16k_op15": ("silero_vad_16k_op15.onnx", 15, "LSTM, 16 kHz only"),
    "silero_vad_16k_sequence": (_SEQUENCE, 16, "LSTM over a whole recording at once"),
    "silero_vad_half": ("silero_vad_half.onnx", 16, "weights in fp16, and others than those of the other builds"),
    "silero_vad_op18_ifless": ("silero_vad_op18_ifless.onnx", 18, "If over the two sampling rates"),
    "silero_vad_openvino_16k": ("silero_vad_openvino_16k.onnx", 16, "static shapes, LSTM"),
}
_ONE_RATE = ("silero_vad_half.onnx", "silero_vad_openvino_16k.onnx")
"""Builds without an input for the sampling rate."""


def _entry(name: str, file: str, opset: int, notes: str) -> Entry:
    return Entry(
        name=name,
        source=PackageFile(_SILERO, file),
        license="MIT (silero-vad)",
        opset=opset,
        notes=notes,
        task=Task(
            title="hear in which frames someone speaks",
            metric="frame accuracy",
            samples=lambda split: samples(split, file),
            measure=measure,
            usual=100,
            sizes=_SIZES,
            band=(0.91, 0.95),
            agreement=agreement,
        ),
    )


ENTRIES = tuple(_entry(name, *model) for name, model in _MODELS.items())
