"""Judges quantized models of the zoo: do they load, are they smaller, faster, and still right on their task?

A process of its own (``python -m tools.quantize_judge``, a request as JSON on standard input, the answer on standard
output): a file that crashes the runtime ends one judgement, and the process that measures memory stays small.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import models_zoo
from models_zoo import Entry, LazySamples, Tally, paired_interval, ratio
from onnxslim.errors import OnnxSlimError
from onnxslim.evaluation import Reference, Tier
from onnxslim.execution import Run, compare_latency, open_session, optimized_graph

INTEGERS = {
    getattr(onnx.TensorProto, name) for name in ("INT8", "UINT8", "INT4", "UINT4", "INT16", "UINT16", "INT2", "UINT2")
}
"""Types of quantized weights; biases are int32."""
KERNELS = ("QLinear", "QGemm", "QAttention", "MatMulInteger", "ConvInteger", "DynamicQuantize", "MatMulNBits")
"""What the names of operators that compute on integers begin with."""
ITEMS = {"ppocrv4_rec": 500, "ppocr_cls": 600, "mtcnn_pnet": 160, "mtcnn_rnet": 160, "mtcnn_onet": 160}
"""Items of the report split that are scored, where it is not all: the first 160 crops are independent, the rest are
their mirror images."""
LABELLED = ("selection.pickle", "given.pickle")
"""Files of labelled samples: for the peers that choose by a score, and for ours."""
COMPARED = 16
"""Samples that the SQNR is measured on."""
TIMED = 4
"""Samples that the latency is measured with."""


def models() -> list[str]:
    """The names of all models with a task, but for those that come quantized."""
    return [
        name
        for name, entry in models_zoo.catalogue().items()
        if entry.task is not None and not name.startswith("tashkeel")
    ]


def write_samples(entry: Entry, count: int, folder: Path) -> dict[str, int]:
    """Writes samples as ``.npz``: for the peers the first ``count`` of the calibration split, for ours two splits.

    Ours splits what it is given by itself and calibrates on half of it, so it has as many of the selection split on
    top, and calibrates on no more than the peers. Beside both folders lie `LABELLED`: what the peers choose by, and all
    that ours is given, each as the name of the model and its labelled samples.

    Returns:
        How many were written into ``peers`` and ``ours``.
    """
    parts = {split: list(entry.samples(split).first(count)) for split in ("calibration", "selection")}
    chosen = {"peers": parts["calibration"], "ours": [*parts["calibration"], *parts["selection"]]}
    for name, samples in chosen.items():
        (folder / name).mkdir()
        for index, sample in enumerate(samples):
            feed: dict[str, Any] = dict(sample.feed)
            np.savez(folder / name / f"{index:04d}.npz", **feed)
    for name, samples in zip(LABELLED, (parts["selection"], chosen["ours"]), strict=True):
        (folder / name).write_bytes(pickle.dumps((entry.name, samples)))
    return {name: len(samples) for name, samples in chosen.items()}


def judge(entry: Entry, candidate: Path, options: dict[str, Any]) -> dict[str, Any]:
    """All verdicts on one file.

    Args:
        entry: Its model in the zoo.
        candidate: What a tool made of it.
        options: ``items`` caps the items scored (None: `ITEMS`), ``seconds`` and ``processes`` are for the latency (0
            seconds: not measured), on ``threads`` (where not given, on one and on all), ``cache`` is where the
            original's tallies are kept.
    """
    source = entry.path()
    made: dict[str, Any] = {"bytes": _bytes(candidate), "size_ratio": _bytes(source) / _bytes(candidate)}
    try:
        session = open_session(candidate, threads=threads())
    except OnnxSlimError as error:
        return made | {"error": f"does not load: {error}"}
    made |= kernels(optimized_graph(candidate))
    data = entry.samples("report").first(items(entry, options["items"]))
    try:
        feeds = [sample.feed for sample in data.first(COMPARED)]
        made["sqnr_db"] = Reference(source, feeds, tier=Tier.LOSSY, evidence="samples").check(candidate).sqnr
        made |= _scores(entry, session.run, data, Path(options["cache"]))
        if options["seconds"]:
            for count in options.get("threads", sorted({1, threads()})):
                latency = compare_latency(
                    source,
                    candidate,
                    feeds[:TIMED],
                    threads=count,
                    seconds=options["seconds"],
                    processes=options["processes"],
                )
                made.setdefault("latency", {})[str(count)] = asdict(latency)
    except OnnxSlimError as error:
        return made | {"error": f"does not run: {error}"}
    return made


def kernels(optimized: onnx.ModelProto) -> dict[str, int]:
    """How much of the optimized graph is int8, and how much only pretends to be.

    Returns:
        ``int8_kernels`` counts operators that compute on integers, ``unfused`` the quantized weights that a
        DequantizeLinear still turns into floats at every run.
    """
    weights = {
        each.name for each in optimized.graph.initializer if each.data_type in INTEGERS and math.prod(each.dims) > 1
    }
    nodes = optimized.graph.node
    left = {node.input[0] for node in nodes if node.op_type == "DequantizeLinear"} & weights
    return {"int8_kernels": sum(node.op_type.startswith(KERNELS) for node in nodes), "unfused": len(left)}


def items(entry: Entry, cap: int | None) -> int:
    """How many items of the report split are scored."""
    size = entry.scored().sizes["report"]
    return ITEMS.get(entry.name, size) if cap is None else min(cap, size)


def threads() -> int:
    """The number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def _scores(entry: Entry, run: Run, data: LazySamples, cache: Path) -> dict[str, Any]:
    task = entry.scored()
    # The same samples go through several runs, and making them can take longer than running them.
    samples = list(data)
    reference = open_session(entry.path(), threads=threads()).run
    if not cache.exists():
        tallies: dict[str, Any] = dict(task.measure(reference, samples))
        np.savez(cache, **tallies)
    with np.load(cache) as arrays:
        before: dict[str, Tally] = dict(arrays)
    after = task.measure(run, samples)
    scores = {name: _score(before[name], tally) for name, tally in after.items()}
    made: dict[str, Any] = {"metric": task.metric, "items": len(after[task.metric]), "scores": scores}
    if task.agreement is not None:
        found = task.agreement(run, reference, samples)
        made["agreement"] = {name: ratio(tally) for name, tally in found.items()}
    return made


def _score(before: Tally, after: Tally) -> dict[str, float]:
    """Scores of the original and the result, and the interval of their difference."""
    low, high = paired_interval(after, before)
    return {"fp32": ratio(before), "int8": ratio(after), "low": low, "high": high}


def _bytes(path: Path) -> int:
    """Size of a model with the files of weights beside it."""
    model = onnx.load(path, load_external_data=False)
    beside: set[str] = {
        entry.value
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return path.stat().st_size + sum((path.parent / name).stat().st_size for name in beside)


def main() -> None:
    request = json.load(sys.stdin)
    answer: Any
    if request["do"] == "list":
        answer = models()
    elif request["do"] == "prepare":
        entry = models_zoo.get(request["model"])
        folder = Path(request["folder"])
        answer = {"source": str(entry.path()), "bytes": entry.path().stat().st_size, "opset": entry.opset}
        answer["samples"] = write_samples(entry, request["calibration"], folder)
    else:
        answer = judge(models_zoo.get(request["model"]), Path(request["candidate"]), request["options"])
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
