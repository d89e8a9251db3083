"""One peer's quantization of one model: ``python quantize_peers.py TOOL MODEL SAMPLES OUT``, in the peer's environment.

SAMPLES is a folder of ``.npz``, one a sample, its keys the names of the inputs. Each environment holds one peer, and
what it needs. Of this project only ``nncf-control`` imports something: the task of the zoo, which it validates with, on
the labelled samples in ``selection.pickle`` beside SAMPLES.
"""

from __future__ import annotations

import pickle
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
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
MAX_DROP = 0.01
"""Of the score, for the peers that take a bound."""
SPARSITY = 0.5
"""Share of the channels that onnxsim's structured pruning removes: its default."""
LABELLED = "selection.pickle"
"""Beside the folder of samples: the name of a model of the zoo and its labelled samples to choose by."""


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


def onnxsim_auto(source: Path, feeds: Feeds, target: Path) -> None:
    """``quantize_auto`` of onnxsim: its schemes from the smallest, the first within its default error of 2 %.

    Simplified before, and after it: it leaves the float weights beside those that it made of them.
    """
    import onnxsim

    model, valid = onnxsim.simplify(_mended(source))
    if not valid:
        raise ValueError("its simplifier's own check failed")
    made = onnxsim.quantize_auto(model, calibration_data=feeds)
    small, valid = onnxsim.simplify(made)
    onnx.save(small if valid else made, target)


def onnxsim_prune(source: Path, feeds: Feeds, target: Path) -> None:
    """The structured pruning of onnxsim, ranked on the samples (Wanda), and its fine-tuning on them."""
    import onnxsim

    model, valid = onnxsim.simplify(_mended(source))
    if not valid:
        raise ValueError("its simplifier's own check failed")
    simple = target.with_name("simple.onnx")
    onnx.save(model, simple)  # a path each: some of its functions change the model that they are given
    pruned = onnxsim.apply_structured_wanda_pruning(str(simple), calibration_data=feeds, sparsity=SPARSITY)
    onnx.save(onnxsim.apply_pruning_finetune(str(simple), pruned, calibration_data=feeds), target)


def nncf(source: Path, feeds: Feeds, target: Path) -> None:
    """NNCF's default preset, told of a transformer where it is one; it fails on casts of constants, which go before."""
    import nncf

    model = onnx.load(_prepared(source, target.with_name("prepared.onnx")))
    kind = _kind(model)
    onnx.save(nncf.quantize(model, nncf.Dataset(feeds), subset_size=len(feeds), model_type=kind), target)


def nncf_control(source: Path, feeds: Feeds, target: Path) -> None:
    """NNCF with accuracy control: operators go back to float until the task's score falls by `MAX_DROP` at most.

    The score is of the samples in `LABELLED`, and its session is that of onnxruntime.
    """
    import nncf
    import onnxruntime

    labelled = Path(sys.argv[3]).with_name(LABELLED)
    sys.path.append(str(Path(__file__).resolve().parent.parent))  # last: nothing here hides a package of the peer
    import models_zoo

    name, samples = pickle.loads(labelled.read_bytes())
    task = models_zoo.get(name).scored()

    def score(model: onnx.ModelProto, chosen: Iterable[Any]) -> float:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        tally = task.measure(lambda feed: dict(zip(names, session.run(names, feed), strict=True)), chosen)
        return models_zoo.ratio(tally[task.metric])

    model = onnx.load(_prepared(source, target.with_name("prepared.onnx")))
    made = nncf.quantize_with_accuracy_control(
        model,
        calibration_dataset=nncf.Dataset(feeds),
        validation_dataset=nncf.Dataset(samples),
        validation_fn=score,
        max_drop=MAX_DROP,
        subset_size=len(feeds),
        model_type=_kind(model),
    )
    onnx.save(made, target)


def _kind(model: onnx.ModelProto) -> Any:
    """What NNCF is told of a model."""
    import nncf

    return nncf.ModelType.TRANSFORMER if TRANSFORMER & {node.op_type for node in model.graph.node} else None


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
    "onnxsim-auto": onnxsim_auto,
    "onnxsim-prune": onnxsim_prune,
    "nncf": nncf,
    "nncf-control": nncf_control,
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
