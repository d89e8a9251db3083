"""OnnxSlim's functions that write models. For callers of OnnxSlim only: ``onnxslim.save`` is the function to use."""

from __future__ import annotations

import os
from typing import Any

import onnx

from onnxslim.graph import load
from onnxslim.graph import save as write


def save(
    model: onnx.ModelProto,
    model_path: str | os.PathLike[str],
    model_check: bool = False,
    save_as_external_data: bool = False,
    model_info: Any = None,
) -> None:
    """Writes a model in one step; it is validated first, with or without ``model_check``.

    Args:
        model: The model.
        model_path: Where to.
        model_check: No effect: every model is checked.
        save_as_external_data: Put the weights into a file beside it; above 1 GiB they go there anyway.
        model_info: No effect; OnnxSlim notes the size of the data in it.

    Raises:
        InputError: The model is invalid, or cannot be written there.
    """
    write(load(model), model_path, external_data=True if save_as_external_data else None)


def model_save_as_external_data(model: onnx.ModelProto, model_path: str | os.PathLike[str]) -> None:
    """Writes a model with its weights in a file beside it. An old data file of ours is replaced, not appended to."""
    save(model, model_path, save_as_external_data=True)
