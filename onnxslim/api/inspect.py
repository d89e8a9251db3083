"""What a model is, in numbers."""

from __future__ import annotations

import os
from dataclasses import replace

from onnxslim.api.source import AnyModel, open_source
from onnxslim.packing import ledger
from onnxslim.report import ModelFacts


def inspect(
    model: AnyModel,
    *,
    weights: bool = False,
    trust_data_dir: str | os.PathLike[str] | None = None,
    freeze_initializers: bool = False,
) -> ModelFacts:
    """Operators, sizes, inputs and outputs of a model.

    Args:
        model: A path, bytes, a ModelProto or an ``onnx_ir.Model``.
        weights: Whether to read the weights: zeros, values, and the bytes that each encoding takes, see ``tensors``.
        trust_data_dir: Where external data may lie besides the model's folder.
        freeze_initializers: Whether initializers that are inputs too are constants, which no caller replaces. Up to IR
            version 3 they always are.

    Raises:
        InputError: The model cannot be used.
    """
    source = open_source(model, trust_data_dir=trust_data_dir, freeze_initializers=freeze_initializers)
    return replace(source.facts, tensors=tuple(ledger(source.model))) if weights else source.facts
