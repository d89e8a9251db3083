"""Whether encodings are exact, how small files get, and how long they take to load."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

import models_zoo
import onnxslim
from onnxslim.execution import Feed, compare_latency, open_session
from onnxslim.graph import load, problems, to_bytes
from onnxslim.graph.edit import constant_tensor, set_constant
from onnxslim.packing import ledger
from onnxslim.passes.sparse.decode import Decode
from onnxslim.passes.sparse.encode import Encode, Encoding
from onnxslim.pipeline import Context

LEVELS = (0.5, 0.8, 0.9, 0.95)
ENCODINGS: tuple[Encoding, ...] = ("standard", "strict", "folded")
VALUES = ("int8", "int4", "codebook")
LEAST = 1 << 10
"""Numbers of a weight that zeros are put into."""
PACKED = 256
"""Bytes of a tensor from which on it may be packed."""
FEEDS = 2
LOADS = 15
"""Processes that open each file, interleaved; the fastest counts."""


def with_zeros(proto: onnx.ModelProto, share: float) -> ir.Model:
    """The smallest of the float weights are zero, the same share of each."""
    model = load(proto.SerializeToString())
    for graph in model.graphs():
        made = (node.outputs[0] for node in graph if node.op_type == "Constant")
        for value in [*graph.initializers.values(), *made]:
            tensor = constant_tensor(value)
            if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size < LEAST:
                continue
            array = tensor.numpy().copy()
            count = int(share * array.size)
            if count:
                array.reshape(-1)[np.argpartition(np.abs(array).reshape(-1), count - 1)[:count]] = 0
            set_constant(value, array)
    return model


def exact(name: str) -> dict[str, Any]:
    """One model at all levels and in all encodings.

    Args:
        name: Of the zoo.

    Returns:
        Level -> ``dense`` bytes, ``rest``, the bytes that are no encoded tensor, ``bound`` of those that are, and for
        each encoding ``bytes``, ``outputs`` and ``tensors``, whether all are the same bits, ``declined`` and
        ``problems``.
    """
    slimmed = _slimmed(name)
    feeds = [sample.feed for sample in models_zoo.get(name).samples("report").first(FEEDS)]
    return {str(level): _exact(slimmed, level, feeds) for level in LEVELS}


def _exact(slimmed: onnx.ModelProto, level: float, feeds: list[Feed]) -> dict[str, Any]:
    dense = to_bytes(with_zeros(slimmed, level))
    wanted = [open_session(dense).run(feed) for feed in feeds]
    # Small constants may be others after an opset was lifted.
    before = {each.name: each for each in _constants(load(dense)) if each.array.nbytes >= PACKED}
    large = [each for each in ledger(load(dense)) if each.elements >= LEAST and each.dtype == "float"]
    held = sum(each.bytes["dense"] or 0 for each in large)
    made: dict[str, Any] = {"dense": len(dense), "rest": len(dense) - held, "bound": sum(each.bound for each in large)}
    for encoding in ENCODINGS:
        model, context = load(dense), Context()
        Encode(encoding=encoding).run(model, context)
        encoded = to_bytes(model)
        found = [open_session(encoded).run(feed) for feed in feeds]
        decoded = load(encoded)
        Decode().run(decoded, Context())
        after = {each.name: each for each in _constants(decoded)}
        made[encoding] = {
            "bytes": len(encoded),
            "outputs": all(_same(a[key], b[key]) for a, b in zip(wanted, found, strict=True) for key in a),
            "tensors": all(name in after and _same(each.array, after[name].array) for name, each in before.items()),
            "declined": sorted({each.reason for each in context.declined if "no other form" not in each.reason}),
            "problems": problems(model)[:1],
        }
    return made


class _Constant:
    def __init__(self, name: str, array: np.ndarray) -> None:
        self.name, self.array = name, array


def _constants(model: ir.Model) -> list[_Constant]:
    found = []
    for graph in model.graphs():
        made = (node.outputs[0] for node in graph if node.op_type == "Constant")
        for value in (*graph.initializers.values(), *made):
            tensor = constant_tensor(value)
            if tensor is not None:
                found.append(_Constant(value.name or "", tensor.numpy()))
    return found


def _same(a: Any, b: Any) -> bool:
    one, other = np.asarray(a), np.asarray(b)
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


# -- files -------------------------------------------------------------------------------------------------------------


def files(name: str, level: float, peers: dict[str, list[str]], seconds: float) -> dict[str, Any]:
    """One model with zeros, in all encodings and as peers write it.

    Args:
        name: Of the zoo.
        level: Share of zeros.
        peers: Name -> command; the input's path and the output's are added to it.
        seconds: For each latency; 0: none is measured.
    """
    made: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as root:
        paths = {"dense": Path(root) / "dense.onnx"}
        paths["dense"].write_bytes(to_bytes(with_zeros(_slimmed(name), level)))
        for encoding in ENCODINGS:
            model = load(str(paths["dense"]))
            Encode(encoding=encoding).run(model, Context())
            paths[encoding] = Path(root) / f"{encoding}.onnx"
            paths[encoding].write_bytes(to_bytes(model))
        for peer, command in peers.items():
            path = Path(root) / f"{peer}.onnx"
            done = subprocess.run([*command, str(paths["dense"]), str(path)], capture_output=True, text=True)
            if path.exists():
                paths[peer] = path
            else:
                made[peer] = {"error": (done.stderr.strip().splitlines() or ["no file"])[-1][:120]}
        return made | _looked_at(name, paths, seconds)


def values(name: str, seconds: float) -> dict[str, Any]:
    """One model with the weights that ``--values`` gives it without samples, beside the slimmed one."""
    slimmed = _slimmed(name)
    with tempfile.TemporaryDirectory() as root:
        paths = {"dense": Path(root) / "dense.onnx"}
        paths["dense"].write_bytes(slimmed.SerializeToString())
        for each in VALUES:
            paths[each] = Path(root) / f"{each}.onnx"
            onnxslim.sparsify(slimmed, paths[each], values=each, bench=False)
        return _looked_at(name, paths, seconds)


def _looked_at(name: str, paths: dict[str, Path], seconds: float) -> dict[str, Any]:
    """Size, zstd size, load time and latency of each file, and what its outputs are."""
    feeds = [sample.feed for sample in models_zoo.get(name).samples("report").first(8)]
    loads = _loads(paths)
    made: dict[str, Any] = {}
    for key, path in paths.items():
        made[key] = {"bytes": path.stat().st_size, "zstd": _zstd(path), **loads[key]}
        made[key]["same"] = _same_outputs(paths["dense"], path, feeds)
        if seconds and key != "dense":
            latency = compare_latency(paths["dense"], path, feeds, seconds=seconds, processes=6)
            made[key]["latency"] = [latency.ratio, latency.low, latency.high]
    return made


def _slimmed(name: str) -> onnx.ModelProto:
    slimmed = onnxslim.slim(models_zoo.get(name).path(), verify=False)
    assert slimmed is not None
    return slimmed


def _loads(paths: dict[str, Path]) -> dict[str, dict[str, float]]:
    """Of each file ``load``, the least of the seconds, and ``peak``, the bytes of memory that went with them."""
    best = {key: {"load": float("inf"), "peak": 0.0} for key in paths}
    for _ in range(LOADS):
        for key, path in paths.items():
            done = subprocess.run(
                [sys.executable, "-m", "tools.load_once", str(path)], capture_output=True, text=True, check=True
            )
            found = json.loads(done.stdout)
            if found["seconds"] < best[key]["load"]:
                best[key] = {"load": found["seconds"], "peak": found["bytes"]}
    return best


def _same_outputs(one: Path, other: Path, feeds: list[Feed]) -> str:
    """``bits``, or the largest difference."""
    worst = 0.0
    runs = [open_session(str(path)).run for path in (one, other)]
    for feed in feeds:
        a, b = (run(feed) for run in runs)
        for key in a:
            if not _same(a[key], b[key]):
                gap = np.abs(np.asarray(a[key], np.float64) - np.asarray(b[key], np.float64)).max()
                worst = max(worst, float(gap))
    return f"{worst:.1g} apart" if worst else "bits"


def _zstd(path: Path) -> int:
    """Bytes after zstd at its default level; 0 where there is no zstd."""
    try:
        return len(subprocess.run(["zstd", "-q", "-c", str(path)], capture_output=True, check=True).stdout)
    except FileNotFoundError:
        return 0
