"""The package with Microsoft's opinion scores of speech quality, DNSMOS, PLCMOS and AECMOS, and what they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from models_zoo.package import Package
from models_zoo.tally import Tally, in_order
from onnxslim.execution.feeds import Run
from onnxslim.samples import Sample

SPEECHMOS = Package(
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
LICENSE = "MIT (speechmos)"
SIZES = {"calibration": 64, "selection": 64, "report": 300}


def ids(split: str) -> Sequence[str]:
    """The ids of a split's recordings."""
    return [f"{split}-recording-{number:03d}" for number in range(SIZES[split])]


def orders(run: Run, data: Iterable[Sample], scores: dict[str, int]) -> dict[str, Tally]:
    """Pairs of recordings of other quality that the scores order as the labels do: metric -> which score.

    The labels are known qualities, higher is better; the higher score has to be that of the better recording.
    """
    kept = [(opinions(run, sample), float(str(sample.label))) for sample in data]
    truths = [truth for _, truth in kept]
    return {metric: in_order([float(each[score]) for each, _ in kept], truths) for metric, score in scores.items()}


def agreement(run: Run, reference: Run, data: Iterable[Sample], scores: int | None = None) -> dict[str, Tally]:
    """The mean absolute error of the first so many scores of a recording, all of them by default: lower is better.

    They are on a scale of about 1 to 5.
    """
    errors = (np.abs(opinions(run, sample) - opinions(reference, sample))[:scores] for sample in data)
    return {"MAE": np.array([(error.sum(), error.size) for error in errors], np.float64)}


def opinions(run: Run, sample: Sample) -> NDArray[np.float64]:
    """All scores of one recording, as the network gives them: shape [scores]."""
    return next(iter(run(sample.feed).values())).astype(np.float64).reshape(-1)
