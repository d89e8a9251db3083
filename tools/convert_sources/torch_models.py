"""Architectures in plain PyTorch with random weights, each with example inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


def _evaluated(model: nn.Module, *example: torch.Tensor) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    for each in model.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.running_mean.normal_(0, 0.1)
            each.running_var.uniform_(0.5, 1.5)
    return model.eval(), example


class _Residual(nn.Module):  # type: ignore[misc]
    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.one, self.two = (
            nn.Conv2d(inner, outer, 3, stride, 1, bias=False),
            nn.Conv2d(outer, outer, 3, 1, 1, bias=False),
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(outer), nn.BatchNorm2d(outer)])
        self.short = nn.Identity() if inner == outer and stride == 1 else nn.Conv2d(inner, outer, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norms[0](self.one(x)))
        return torch.relu(self.norms[1](self.two(y)) + self.short(x))


def resnet() -> Any:
    torch.manual_seed(0)
    sizes = [(32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 256, 2)]
    stem = [nn.Conv2d(3, 32, 7, 2, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    body = [_Residual(*each) for each in sizes]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10)]
    return _evaluated(nn.Sequential(*stem, *body, *head), torch.randn(1, 3, 96, 96))


class _Inverted(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int) -> None:
        super().__init__()
        wide = 4 * width
        self.body = nn.Sequential(
            nn.Conv2d(width, wide, 1),
            nn.BatchNorm2d(wide),
            nn.Hardswish(),
            nn.Conv2d(wide, wide, 3, 1, 1, groups=wide),
            nn.BatchNorm2d(wide),
            nn.Hardswish(),
        )
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, width, 1), nn.ReLU(), nn.Conv2d(width, wide, 1), nn.Hardsigmoid()
        )
        self.out = nn.Conv2d(wide, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        return x + self.out(y * self.gate(y))


def mobilenet() -> Any:
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 24, 3, 2, 1), nn.ReLU6()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10)]
    return _evaluated(nn.Sequential(*stem, *[_Inverted(24) for _ in range(4)], *head), torch.randn(1, 3, 64, 64))


class _ConvNeXt(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int) -> None:
        super().__init__()
        self.deep = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.one, self.two = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.deep(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.two(functional.gelu(self.one(y)))).permute(0, 3, 1, 2)


def convnext() -> Any:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 48, 4, 4), *[_ConvNeXt(48) for _ in range(4)]]
    return _evaluated(
        nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10)), torch.randn(1, 3, 64, 64)
    )


class _Transformer(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.heads = heads
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.LayerNorm(width),
                    nn.Linear(width, 3 * width),
                    nn.Linear(width, width),
                    nn.LayerNorm(width),
                    nn.Linear(width, 4 * width),
                    nn.Linear(4 * width, width),
                ]
            )
            for _ in range(depth)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count, length, width = x.shape
        for norm, join, out, other, up, down in self.blocks:
            parts = join(norm(x)).reshape(count, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
            found = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
            x = x + out(found.transpose(1, 2).reshape(count, length, width))
            x = x + down(functional.gelu(up(other(x))))
        return x


class _Vit(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.body = nn.Conv2d(3, 96, 8, 8), _Transformer(96, 4, 4)
        self.first, self.places = nn.Parameter(torch.randn(1, 1, 96)), nn.Parameter(torch.randn(1, 65, 96) * 0.1)
        self.head = nn.Linear(96, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.body(x)[:, 0])


def vit() -> Any:
    torch.manual_seed(0)
    return _evaluated(_Vit(), torch.randn(1, 3, 64, 64))


class _Bert(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(500, 64), nn.Embedding(64, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 256, activation="gelu", batch_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), nn.Linear(64, 4)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        return self.head(self.body(x, src_key_padding_mask=mask == 0)[:, 0])


def bert() -> Any:
    torch.manual_seed(0)
    mask = torch.ones(2, 16, dtype=torch.long)
    mask[1, 10:] = 0
    return _evaluated(_Bert(), torch.randint(500, (2, 16)), mask)


class _Lstm(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(40, 64, 2, batch_first=True, bidirectional=True)
        self.gru, self.head = nn.GRU(128, 32, batch_first=True), nn.Linear(32, 12)

    def forward(self, spectrum: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(self.rnn(spectrum)[0])[0])


def lstm() -> Any:
    torch.manual_seed(0)
    return _evaluated(_Lstm(), torch.randn(1, 50, 40))


class _Unet(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            [nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)]
        )
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(64, 32, 2, 2), nn.Conv2d(64, 32, 3, padding=1), nn.Conv2d(48, 16, 3, padding=1)]
        )
        self.head, self.norm = nn.Conv2d(16, 2, 1), nn.GroupNorm(4, 32)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        a = functional.leaky_relu(self.down[0](image))
        b = functional.silu(self.norm(self.down[1](functional.max_pool2d(a, 2))))
        c = torch.relu(self.down[2](functional.avg_pool2d(b, 2)))
        d = torch.relu(self.up[1](torch.cat([self.up[0](c), b], 1)))
        e = functional.interpolate(d, scale_factor=2, mode="bilinear", align_corners=False)
        return self.head(torch.relu(self.up[2](torch.cat([e, a], 1))))


def unet() -> Any:
    torch.manual_seed(0)
    return _evaluated(_Unet(), torch.randn(1, 1, 64, 64))


def detector() -> Any:
    torch.manual_seed(0)

    class Detector(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.SiLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.SiLU())
            self.boxes, self.scores = nn.Conv2d(64, 4, 1), nn.Conv2d(64, 5, 1)

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            x = self.body(image)
            boxes, scores = self.boxes(x).exp().flatten(2), self.scores(x).sigmoid().flatten(2)
            best, places = scores.max(1)[0].topk(20)
            return boxes.gather(2, places[:, None].expand(-1, 4, -1)), best, places

    return _evaluated(Detector(), torch.randn(1, 3, 64, 64))
