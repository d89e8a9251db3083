"""Code blocks of the documentation, so that tests can run them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim.execution import Latency, compare_latency

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "models_zoo" / "data" / "digits_cnn.onnx"


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a language in a document of the repository, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(document: str) -> list[str]:
    """The lines after ``$`` in the console blocks of a document."""
    lines = [line for block in blocks(document, "console") for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def write_digit_samples(folder: Path, count: int = 24) -> None:
    """Inputs of the digits CNN as one ``.npz`` each: strokes on a dark ground, not the zoo's own images."""
    folder.mkdir()
    generator = np.random.default_rng(7)
    for index in range(count):
        image = np.zeros((1, 1, 8, 8), np.float32)
        column, row = generator.integers(1, 7, 2)
        image[0, 0, :, column] = generator.random(8)
        image[0, 0, row, :] = generator.random(8)
        np.savez(folder / f"{index:03d}.npz", image=image)


def shorten_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times with few processes for a short while: no test rests on a verdict."""

    def quick(*arguments: Any, **options: Any) -> Latency:
        return compare_latency(*arguments, **options | {"processes": 4, "seconds": 0.2})

    monkeypatch.setattr("onnxslim.execution.compare_latency", quick)
    monkeypatch.setattr("onnxslim.api.bench.compare_latency", quick)
