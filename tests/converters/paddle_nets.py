"""Layers of Paddle, right ones and such with a planted fault. Run as a program it saves some into a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

IMAGES = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
ROWS = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)


def _cnn() -> Any:
    paddle.seed(0)
    return nn.Sequential(
        nn.Conv2D(3, 8, 3, padding=1, stride=2),
        nn.BatchNorm2D(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2D(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(8, 4),
    )


def cnn() -> Any:
    return _cnn(), IMAGES


class Encoder(nn.Layer):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        paddle.seed(0)
        self.table = nn.Embedding(50, 32)
        self.body = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64), 1)
        self.head = nn.Linear(32, 4)

    def forward(self, ids: Any, bias: Any) -> Any:
        return self.head(self.body(self.table(ids)).mean(1)) + bias, ids.argmax(-1)


def encoder() -> Any:
    return Encoder(), (np.arange(20).reshape(2, 10), np.ones((2, 4), np.float32))


class Dropped(nn.Layer):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        return nn.functional.dropout(self.head(x), 0.5, training=True)


def dropout_on() -> Any:
    return Dropped(), ROWS


class Other(Dropped):
    def forward(self, x: Any) -> Any:
        return self.head(x) * (1.01 if type(x).__name__ == "Value" else 1.0)


def otherwhensaved() -> Any:
    return Other(), ROWS


def write(folder: Path) -> None:
    net = _cnn()
    net.eval()
    (folder / "saved").mkdir()
    spec = [paddle.static.InputSpec([None, 3, 16, 16], "float32", "image")]
    paddle.jit.save(net, str(folder / "saved" / "inference"), input_spec=spec)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
