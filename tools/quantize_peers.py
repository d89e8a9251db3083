"""One peer's quantization of one model: ``python quantize_peers.py TOOL MODEL SAMPLES OUT``, in the peer's environment.

SAMPLES is a folder of ``.npz``, one a sample, its keys the names of the inputs. Nothing of this project is imported:
each environment holds one peer, and what it needs.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

Feeds = list[dict[str, Any]]
CONTRACTIONS = ["Conv", "MatMul", "Gemm"]
TRANSFORMER = {"LayerNormalization", "Erf", "Gelu"}
"""Operators by which a graph shows that it is a transformer: NNCF wants to be told."""
PER_CHANNEL_OPSET = 13
"""The first in which DequantizeLinear has an axis."""


class Reader:
    """The samples in the form that onnxruntime's calibration takes, and AMD Quark's."""

    def __init__(self, feeds: Feeds) -> None:
        self.feeds = feeds
        self.rewind()

    def get_next(self) -> dict[str, Any] | None:
        """The next feed; None after the last."""
        return next(self.left, None)

    def rewind(self) -> None:
        """Starts again."""
        self.left: Iterator[dict[str, Any]] = iter(self.feeds)

    def __len__(self) -> int:
        return len(self.feeds)


def ort_default(source: Path, feeds: Feeds, target: Path) -> None:
    """``quantize_static`` as it comes, on the model as it comes: what a first try gives."""
    from onnxruntime.quantization import quantize_static

    quantize_static(source, target, Reader(feeds))


def ort_all(source: Path, feeds: Feeds, target: Path) -> None:
    """``quantize_static`` in the types that x86 wants, of every operator that it knows."""
    _ort_uint8(source, feeds, target, None)


def ort_core(source: Path, feeds: Feeds, target: Path) -> None:
    """The same of contractions alone."""
    _ort_uint8(source, feeds, target, CONTRACTIONS)


def _ort_uint8(source: Path, feeds: Feeds, target: Path, operators: list[str] | None) -> None:
    from onnxruntime.quantization import QuantType, quantize_static

    mended = target.with_name("prepared.onnx")

    def quantize(model: Path) -> None:
        quantize_static(
            model,
            target,
            Reader(feeds),
            op_types_to_quantize=operators,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )

    prepared = _prepared(source, mended)
    try:
        quantize(prepared)
    except Exception as error:  # it fails on what its own preparation makes of some models
        print(f"quantize_static after quant_pre_process: {error}")
        quantize(mended)


def _prepared(source: Path, target: Path) -> Path:
    """The mended model, after as much of onnxruntime's own preparation as works on it."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnx.save(_mended(source), target)
    processed = target.with_name("processed.onnx")
    for skip in (False, True):
        try:
            quant_pre_process(target, processed, skip_symbolic_shape=skip)
            return processed
        except Exception as error:  # whatever it raises, a user goes on with less
            print(f"quant_pre_process, skip_symbolic_shape={skip}: {error}")
    return target


def _mended(source: Path) -> onnx.ModelProto:
    """The model in the form that peers are made for, which is no merit of a model and easily had.

    Below opset 13 most do worse, or nothing; weights in Constant nodes they leave in float, or take for activations.
    """
    model = onnx.load(source)
    if next(each.version for each in model.opset_import if not each.domain) < PER_CHANNEL_OPSET:
        model = onnx.version_converter.convert_version(model, PER_CHANNEL_OPSET)
    for node in [node for node in model.graph.node if node.op_type == "Constant" and node.attribute[0].name == "value"]:
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        model.graph.node.remove(node)
    return model


def ort_dynamic(source: Path, feeds: Feeds, target: Path) -> None:
    """``quantize_dynamic``, which needs no samples."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(_prepared(source, target.with_name("prepared.onnx")), target)


def onnxsim_default(source: Path, feeds: Feeds, target: Path) -> None:
    """``quantize_static`` of onnxsim, after its simplifier."""
    _onnxsim(source, feeds, target, full_graph=False)


def onnxsim_full(source: Path, feeds: Feeds, target: Path) -> None:
    """The same of every activation."""
    _onnxsim(source, feeds, target, full_graph=True)


def _onnxsim(source: Path, feeds: Feeds, target: Path, *, full_graph: bool) -> None:
    import onnxsim

    model, valid = onnxsim.simplify(_mended(source))
    if not valid:
        raise ValueError("its simplifier's own check failed")
    onnx.save(onnxsim.quantize_static(model, feeds, full_graph=full_graph), target)


def nncf(source: Path, feeds: Feeds, target: Path) -> None:
    """NNCF's default preset, told of a transformer where it is one; it fails on casts of constants, which go before."""
    import nncf

    model = onnx.load(_prepared(source, target.with_name("prepared.onnx")))
    kind = nncf.ModelType.TRANSFORMER if TRANSFORMER & {node.op_type for node in model.graph.node} else None
    onnx.save(nncf.quantize(model, nncf.Dataset(feeds), subset_size=len(feeds), model_type=kind), target)


def quark(source: Path, feeds: Feeds, target: Path) -> None:
    """AMD Quark with its preset of uint8 activations and int8 weights."""
    from quark.onnx import ModelQuantizer
    from quark.onnx.quantization.config import Config, get_default_config

    config = Config(global_quant_config=get_default_config("U8S8_AAWS"))
    ModelQuantizer(config).quantize_model(_mended(source), str(target), Reader(feeds))


def aimet(source: Path, feeds: Feeds, target: Path) -> None:
    """AIMET's simulation in int8, exported as QDQ with integer weights and biases: its default keeps them in float."""
    from aimet_onnx import QuantizationSimModel

    model = QuantizationSimModel(_mended(source))
    model.compute_encodings(feeds)
    onnx.save(model.to_onnx_qdq(prequantize_constants=True, export_int32_bias=True), target)


TOOLS: dict[str, Callable[[Path, Feeds, Path], None]] = {
    "ort-default": ort_default,
    "ort-all": ort_all,
    "ort-core": ort_core,
    "ort-dynamic": ort_dynamic,
    "onnxsim": onnxsim_default,
    "onnxsim-full": onnxsim_full,
    "nncf": nncf,
    "quark": quark,
    "aimet": aimet,
}


def read(folder: Path) -> Feeds:
    """The samples, in the order of their names."""
    feeds: Feeds = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            feeds.append({name: arrays[name] for name in arrays.files})
    return feeds


def main() -> None:
    tool, source, samples, target = sys.argv[1:]
    try:
        TOOLS[tool](Path(source), read(Path(samples)), Path(target))
    except Exception as error:  # whatever a peer raises is its result; the last line of the log is told
        traceback.print_exc()
        sys.exit(f"{type(error).__name__}: " + " ".join(str(error).split()))


if __name__ == "__main__":
    main()
