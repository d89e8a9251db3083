"""What a model is, in numbers."""

from __future__ import annotations

import os

from onnxslim.api.source import AnyModel, open_source
from onnxslim.report import ModelFacts


def inspect(model: AnyModel, *, trust_data_dir: str | os.PathLike[str] | None = None) -> ModelFacts:
    """Operators, sizes, inputs and outputs of a model.

    Raises:
        InputError: The model cannot be used.
    """
    return open_source(model, trust_data_dir=trust_data_dir).facts
