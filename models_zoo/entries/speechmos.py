"""Microsoft's opinion scores of speech quality. The two that take sound are scored by which noise they hear."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from models_zoo.entry import Entry, LazySamples, PackageFile, Task
from models_zoo.package import Package
from models_zoo.tally import Tally
from onnxslim.calibration import Sample
from onnxslim.runtime.feeds import Run

_SPEECHMOS = Package(
    "speechmos",
    "0.0.1.1",
    {
        "dnsmos_models/bak_ovr.onnx": "5f335c90994618150192a656a474bcf8a9cbcedbc47965494ba8da79605d1308",
        "dnsmos_models/model_v8.onnx": "9246480c58567bc6affd4200938e77eef49468c8bc7ed3776d109c07456f6e91",
        "dnsmos_models/sig.onnx": "d2fbdb293bc2366dfbae2b7477c490f981d24a8b4405efd3c11787569c6549d7",
        "dnsmos_models/sig_bak_ovr.onnx": "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
        "pdnsmos_models/sig_bak_ovr.onnx": "9e3a197449ca2177f0997afec3bd6b890117ce2f17b89d6eea7fa0d47272c81c",
        "plcmos_models/plcmos_v2.onnx": "c0ad3fc64ef9682b4749c0e96636b41c73b4b30bd123b9348feea06a96895286",
        "aecmos_models/Run_1663829550_Stage_0.onnx": "b517d8d9ca2f91ea55d15f605a15917c19be5d832868fe115c7c5bc48986dae1",
        "aecmos_models/Run_1663915512_Stage_0.onnx": "f53122f43cb7e5b77ec797e85c8b997cfc2aac8220857c709226d876de8c0a99",
        "aecmos_models/Run_1668423760_Stage_0.onnx": "b57bc007046d7230008ad2b802cb378f998ff3d96be074389a4d07533b7d4aaf",
    },
    folder="speechmos",
)
_MODELS = {
    "dnsmos_bak_ovr": ("dnsmos_models/bak_ovr.onnx", 12, "keras2onnx audio CNN on a log-power spectrogram"),
    "dnsmos_model_v8": ("dnsmos_models/model_v8.onnx", 12, "keras2onnx audio CNN on a mel spectrogram"),
    "dnsmos_sig": ("dnsmos_models/sig.onnx", 12, "keras2onnx audio CNN on a log-power spectrogram"),
    "dnsmos_sig_bak_ovr": ("dnsmos_models/sig_bak_ovr.onnx", 12, "keras2onnx audio CNN, spectrogram in the graph"),
    "pdnsmos_sig_bak_ovr": ("pdnsmos_models/sig_bak_ovr.onnx", 12, "keras2onnx audio CNN, spectrogram in the graph"),
    "plcmos": ("plcmos_models/plcmos_v2.onnx", 11, "audio CNN with a GRU"),
    "aecmos_1663829550": ("aecmos_models/Run_1663829550_Stage_0.onnx", 9, "audio CNN with a GRU"),
    "aecmos_1663915512": ("aecmos_models/Run_1663915512_Stage_0.onnx", 9, "audio CNN with a GRU"),
    "aecmos_1668423760": ("aecmos_models/Run_1668423760_Stage_0.onnx", 9, "audio CNN with a GRU"),
}

_LENGTH = 144_160
"""Samples of sound that the models take: 9.01 s."""
_BACKGROUND = 1
"""Of the three scores: speech, background, overall."""
_SIZES = {"calibration": 96, "selection": 60, "report": 300}
_BANDS = {"dnsmos_sig_bak_ovr": (0.65, 0.8), "pdnsmos_sig_bak_ovr": (0.55, 0.75)}
"""Of the models that take sound; the others take spectra."""


def samples(split: str) -> LazySamples:
    """Sentences in noise; the label is the SNR in dB. Six in a row are one sentence, from loud to faint noise."""

    def make(id: str) -> Sample:
        from models_zoo.speech import noisy

        sound, snr = noisy(split, int(id.rsplit("-", 1)[1]), _LENGTH)
        return Sample(id, {"input_1": sound[None]}, snr)

    return LazySamples([f"{split}-noisy-{number:03d}" for number in range(_SIZES[split])], make)


def measure(run: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """For each sample and the one before: does the one with less noise have the better background score?"""
    found = [(float(_scores(run, sample)[_BACKGROUND]), float(str(sample.label))) for sample in data]
    right = [(1.0, 1.0)]
    right += [(float((a > b) == (x > y)), 1.0) for (a, x), (b, y) in itertools.pairwise(found)]
    return {"noise order": np.array(right, np.float64)}


def agreement(run: Run, reference: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """The mean absolute error of the three scores, which run from 1 to 5; lower is better."""
    kept = list(data)
    errors = [np.abs(_scores(run, sample) - _scores(reference, sample)) for sample in kept]
    return {"MAE": np.array([(float(error.sum()), float(error.size)) for error in errors], np.float64)}


def _scores(run: Run, sample: Sample) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = next(iter(run(sample.feed).values()))[0].astype(np.float64)
    return scores


def _task(band: tuple[float, float]) -> Task:
    return Task(
        title="hear which of two recordings has less noise",
        metric="noise order",
        samples=samples,
        measure=measure,
        usual=120,
        sizes=_SIZES,
        band=band,
        agreement=agreement,
    )


ENTRIES = tuple(
    Entry(
        name=name,
        source=PackageFile(_SPEECHMOS, file),
        license="MIT (speechmos)",
        opset=opset,
        notes=notes,
        task=_task(_BANDS[name]) if name in _BANDS else None,
    )
    for name, (file, opset, notes) in _MODELS.items()
)
