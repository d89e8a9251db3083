"""The corpora of the round trip: onnx's backend tests with their inputs and expected outputs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

# The node tests follow onnx's development branch; onnxruntime reads this when it opens a model.
os.environ.setdefault("ALLOW_RELEASED_ONNX_OPSET_ONLY", "0")

STORED = ("light", "pytorch-converted", "pytorch-operator", "simple")


@dataclass(frozen=True, eq=False)
class Case:
    """One model and the inputs that its test gives, in the order of the graph's inputs."""

    name: str
    model: onnx.ModelProto
    inputs: tuple[tuple[Any, ...], ...] = field(default=())


def node_cases() -> list[Case]:
    """About 1,880 models of one operator each, in a fixed order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case import node

        found = node.collect_testcases(None)
    cases = [
        Case(case.name, case.model, tuple(tuple(inputs) for inputs, _ in case.data_sets or ()))
        for case in found
        if case.model is not None
    ]
    return sorted(cases, key=lambda case: case.name)


def stored_cases() -> Iterator[Case]:
    """The models that the onnx package carries as files."""
    import onnx.backend.test

    root = Path(onnx.backend.test.__file__).parent / "data"
    for kind in STORED:
        for path in sorted((root / kind).rglob("*.onnx")):
            name = f"{kind}/{path.parent.name if path.stem == 'model' else path.stem}"
            model = onnx.load(path)
            sets = []
            for folder in sorted(path.parent.glob("test_data_set_*")):
                files = sorted(folder.glob("input_*.pb"), key=lambda file: int(file.stem.split("_")[1]))
                sets.append(tuple(_read(file, model.graph.input[at].type) for at, file in enumerate(files)))
            if not sets:
                sets = [_ones(model)]
            yield Case(name, model, tuple(sets))


def _ones(model: onnx.ModelProto) -> tuple[Any, ...]:
    """The stored light models come without inputs: small constants fit their image inputs."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return tuple(
        np.full(
            [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim],
            0.5,
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
        )
        for value in model.graph.input
        if value.name not in constants
    )


def _read(path: Path, kind: onnx.TypeProto) -> Any:
    data = path.read_bytes()
    if kind.HasField("sequence_type"):
        return onnx.numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind.HasField("optional_type"):
        return onnx.numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return onnx.TensorProto.FromString(data)
