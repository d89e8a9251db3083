"""Round trip without passes: ``to_proto(load(model))`` of every corpus model, compared field by field and by outputs.

python -m tools.bench_roundtrip            # the whole table, about two minutes
python -m tools.bench_roundtrip --verbose  # and every refusal
python -m tools.bench_roundtrip --graphsurgeon
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("ALLOW_RELEASED_ONNX_OPSET_ONLY", "0")  # read by onnxruntime when it opens a model

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from onnxslim.errors import InputError
from onnxslim.graph import from_graphsurgeon, load, to_graphsurgeon, to_proto
from tools.node_models import Case, node_cases, stored_cases
from tools.one_feature_models import one_feature_models
from tools.proto_facts import differences, facts

Trip = Callable[[onnx.ModelProto], onnx.ModelProto]


def plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Load and write."""
    return to_proto(load(model))


def through_graphsurgeon(model: onnx.ModelProto) -> onnx.ModelProto:
    """Load, to graphsurgeon, back, write."""
    original = load(model)
    return to_proto(from_graphsurgeon(to_graphsurgeon(original), original=original))


@dataclass(frozen=True)
class Outcome:
    """What became of one model.

    Args:
        name: The model.
        proto: ``same``, ``different`` (details say where), ``refused`` (details say why) or ``crashed``.
        outputs: ``same``, ``different``, ``random`` (the original differs from itself; shapes are compared),
            ``not run`` (onnxruntime does not run the original) or ``broken`` (it does not run the copy).
        details: One line each.
        grew: Whether the copy takes more bytes.
    """

    name: str
    proto: str
    outputs: str
    details: tuple[str, ...] = ()
    grew: bool = False


def examine(case: Case, trip: Trip = plain) -> Outcome:
    """Takes one model on the trip and compares."""
    before, size = facts(in_order(case.model)), case.model.ByteSize()
    try:
        copy = trip(case.model)
    except InputError as error:
        return Outcome(case.name, "refused", "not run", (str(error),))
    except Exception as error:  # a finding of its own: bad or unusual input may never end in a bare traceback
        return Outcome(case.name, "crashed", "not run", (f"{type(error).__name__}: {error}",))
    found = list(differences(before, facts(in_order(case.model)), "(the input was edited)"))
    found += differences(before, facts(copy))
    outputs, detail = compare_outputs(case, copy)
    return Outcome(case.name, "different" if found else "same", outputs, (*found, *detail), copy.ByteSize() > size)


def in_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself, or a copy with sorted nodes where they are not, which ONNX demands and loading does."""
    seen = {value.name for value in (*model.graph.input, *model.graph.initializer)}
    produced = {name for node in model.graph.node for name in node.output if name}
    for node in model.graph.node:
        if any(name in produced and name not in seen for name in node.input):
            break
        seen.update(node.output)
    else:
        return model
    graph = ir.from_proto(model).graph
    graph.sort()
    order = {node.outputs[0].name: position for position, node in enumerate(graph)}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.ClearField("node")
    copy.graph.node.extend(sorted(model.graph.node, key=lambda node: order[node.output[0]]))
    return copy


def compare_outputs(case: Case, copy: onnx.ModelProto) -> tuple[str, list[str]]:
    """Runs both on the case's inputs and compares bits."""
    try:
        wanted = _outputs(case.model, case.inputs)
    except Exception:  # onnxruntime's errors share no public base
        return "not run", []
    try:
        found = _outputs(copy, case.inputs)
    except Exception as error:
        return "broken", [f"onnxruntime: {str(error).splitlines()[0]}"]
    if found == wanted:
        return "same", []
    if _outputs(case.model, case.inputs) != wanted:
        shapes = [_shapes(run) for run in (wanted, found)]
        return ("random", []) if shapes[0] == shapes[1] else ("different", [f"shapes {shapes}"])
    return "different", ["the outputs differ"]


def _outputs(model: onnx.ModelProto, inputs: Iterable[tuple[Any, ...]]) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return [_bits(session.run(None, _feed(names, arrays))) for arrays in inputs]


def _feed(names: list[str], arrays: tuple[Any, ...]) -> dict[str, Any]:
    feed = {}
    for name, array in zip(names, arrays, strict=False):
        if isinstance(array, onnx.TensorProto):
            array = onnx.numpy_helper.to_array(array)
        feed[name] = list(array) if isinstance(array, list | tuple) else array
    return feed


def _bits(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        data = value.tolist() if value.dtype.kind == "O" else value.tobytes()
        return (str(value.dtype), value.shape, data)
    if isinstance(value, list):
        return [_bits(item) for item in value]
    return {key: _bits(item) for key, item in value.items()} if isinstance(value, dict) else repr(value)


def _shapes(value: Any) -> Any:
    if isinstance(value, list):
        return [_shapes(item) for item in value]
    return value[:2] if isinstance(value, tuple) else type(value)


def one_feature_cases() -> Iterator[Case]:
    """The one-feature models, on inputs of ones where they are plain tensors."""
    for name, model in one_feature_models():
        feeds: list[Any] = []
        constants = {tensor.name for tensor in model.graph.initializer}
        for value in model.graph.input:
            tensor = value.type.tensor_type
            if value.name in constants or not value.type.HasField("tensor_type"):
                continue
            shape = [dim.dim_value or (2 if dim.dim_param else 0) for dim in tensor.shape.dim]
            feeds.append(np.ones(shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
        yield Case(name, model, (tuple(feeds),))


def table(outcomes: dict[str, list[Outcome]]) -> str:
    """Counts of each corpus, as Markdown."""
    protos, outputs = ("same", "different", "refused", "crashed"), ("same", "random", "different", "broken", "not run")
    lines = [
        "| corpus | models | proto "
        + " | proto ".join(protos)
        + " | grew | outputs "
        + " | outputs ".join(outputs)
        + " |",
        "|---" * (3 + len(protos) + len(outputs)) + "|",
    ]
    for corpus, found in outcomes.items():
        proto, output = Counter(o.proto for o in found), Counter(o.outputs for o in found)
        counts = [len(found), *(proto[key] for key in protos), sum(o.grew for o in found)]
        counts += [output[key] for key in outputs]
        lines.append(f"| {corpus} | " + " | ".join(f"{count:,}" for count in counts) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--verbose", action="store_true", help="print every refusal, not only what went wrong")
    parser.add_argument("--graphsurgeon", action="store_true", help="take the trip through graphsurgeon as well")
    options = parser.parse_args(arguments)
    trip = through_graphsurgeon if options.graphsurgeon else plain
    corpora = {
        "onnx node models": node_cases(),
        "models in the onnx package": list(stored_cases()),
        "one-feature models": list(one_feature_cases()),
    }
    outcomes = {corpus: [examine(case, trip) for case in cases] for corpus, cases in corpora.items()}
    bad = 0
    for found in outcomes.values():
        for outcome in found:
            wrong = outcome.proto in ("different", "crashed") or outcome.outputs in ("different", "broken")
            bad += wrong
            if wrong or (options.verbose and outcome.details):
                print(f"{outcome.name}: proto {outcome.proto}, outputs {outcome.outputs}")
                for line in outcome.details[:5]:
                    print(f"    {line}")
    print(f"onnx {onnx.__version__}, onnxruntime {ort.__version__}\n\n{table(outcomes)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
