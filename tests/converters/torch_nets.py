"""PyTorch models for the child: right ones, and such whose export is wrong on purpose.

An export is made wrong where ``torch.onnx.is_in_onnx_export()`` takes another way, as real models do by mistake.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

exporting = torch.onnx.is_in_onnx_export


class Net(nn.Module):  # type: ignore[misc]
    """Convolutions, a pool, a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1)
        )
        self.body[1].running_mean.normal_()
        self.head = nn.Linear(32, 10)
        self.scale = nn.Parameter(torch.linspace(1, 2, 12))

    def features(self, image: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(image) * self.scale)

    def forward(self, image: torch.Tensor) -> Any:
        return self.head(self.features(image).mean((2, 3)))


class WrongTranspose(Net):
    def features(self, image: torch.Tensor) -> torch.Tensor:
        x = self.body(image)
        return torch.relu((x.transpose(2, 3) if exporting() else x) * self.scale)


class DropoutOn(Net):
    def forward(self, image: torch.Tensor) -> Any:
        return functional.dropout(super().forward(image), 0.2, training=True)


class Narrowed(Net):
    def forward(self, image: torch.Tensor) -> Any:
        y = super().forward(image)
        return y if exporting() else y.double()


class BatchFrozen(Net):
    def forward(self, image: torch.Tensor) -> Any:
        x = self.features(image).mean((2, 3))
        return self.head(x.reshape(4 if exporting() else image.shape[0], 32))


class BatchStatistics(Net):
    def forward(self, image: torch.Tensor) -> Any:
        self.body[1].train(exporting())
        return super().forward(image)


class OtherActivation(Net):
    def features(self, image: torch.Tensor) -> torch.Tensor:
        x = self.body(image) * self.scale
        return functional.gelu(x, approximate="tanh" if exporting() else "none")


class OtherPadding(Net):
    def forward(self, image: torch.Tensor) -> Any:
        padded = functional.pad(image, (1, 1, 1, 1), mode="constant" if exporting() else "reflect")
        return self.head(self.body(padded).mean((2, 3)))


class OtherRounding(Net):
    def forward(self, image: torch.Tensor) -> Any:
        y = super().forward(image) * 4
        return y.floor() if exporting() else y.round()


class OtherResize(Net):
    def forward(self, image: torch.Tensor) -> Any:
        larger = functional.interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=exporting())
        return self.head(self.body(larger).mean((2, 3)))


class OutputsSwapped(Net):
    def forward(self, image: torch.Tensor) -> Any:
        y = super().forward(image)
        first, second = y.softmax(-1), y
        return (second, first) if exporting() else (first, second)


class OutputLost(Net):
    def forward(self, image: torch.Tensor) -> Any:
        y = super().forward(image)
        return y if exporting() else (y, y.argmax(-1))


class WeightsHalved(Net):
    def forward(self, image: torch.Tensor) -> Any:
        x = self.features(image).mean((2, 3))
        weight = self.head.weight.half().float() if exporting() else self.head.weight
        return functional.linear(x, weight, self.head.bias)


class WrongIndex(Net):
    def forward(self, image: torch.Tensor) -> Any:
        x = self.features(image).mean((2, 3))
        return self.head(x)[:, :5] if not exporting() else self.head(x)[:, 1:6]


class EpsilonLost(Net):
    def forward(self, image: torch.Tensor) -> Any:
        x = self.features(image).mean((2, 3)) * 1e-3
        return functional.layer_norm(x, (32,), eps=1e-12 if exporting() else 1e-5)


FAULTS = (
    WrongTranspose,
    DropoutOn,
    Narrowed,
    BatchFrozen,
    BatchStatistics,
    OtherActivation,
    OtherPadding,
    OtherRounding,
    OtherResize,
    OutputsSwapped,
    OutputLost,
    WeightsHalved,
    WrongIndex,
    EpsilonLost,
)


def _with_example(kind: type[Net]) -> tuple[nn.Module, torch.Tensor]:
    model = kind()
    torch.manual_seed(1)
    return model.eval(), torch.rand(4, 3, 12, 12) * 2 - 1


def right() -> tuple[nn.Module, torch.Tensor]:
    return _with_example(Net)


class Sequence(nn.Module):  # type: ignore[misc]
    """Two inputs, one by keyword, and a dictionary of outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(50, 16)
        self.rnn = nn.LSTM(16, 24, batch_first=True)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        states, (last, _) = self.rnn(self.words(ids) * mask[..., None])
        return {"states": states, "last": last}


def sequence() -> tuple[nn.Module, tuple[Any, ...]]:
    return Sequence().eval(), ((torch.randint(50, (2, 7)),), {"mask": torch.ones(2, 7)})


for _kind in FAULTS:
    globals()[_kind.__name__.lower()] = lambda kind=_kind: _with_example(kind)
