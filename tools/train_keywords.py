"""Train the keyword spotter of the model zoo and export it to models_zoo/data/.

Run once, in an environment of its own: ``pip install -e '.[zoo]' torch==2.13.0 && python -m tools.train_keywords``.
Seeded; one thread; some minutes.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from models_zoo.entries.keywords_cnn import (
    BANDS,
    FILE,
    FRAMES,
    LONGEST,
    RATE,
    WORDS,
    samples,
    say,
    spectrogram,
)
from models_zoo.package import Package
from models_zoo.seeds import generator
from models_zoo.speech import VOICES

WIDTH = 64
EPOCHS = 13
BATCH = 64
SAYINGS = 3
"""How often a voice says each word, at another speed and pitch each time."""
TIMES = 14
"""How often each saying is heard, in other noise and at another size of mouth."""
_MORE = Package(
    "espeakng-loader",
    "0.2.4",
    {
        "espeak-ng-data/lang/gmw/en-029": "faeb8cb201056775f733acbd908c66555fe57bf01cb063920f178f389cbf85d3",
        "espeak-ng-data/lang/gmw/en-GB-x-gbclan": "2040e176f1f7f27bdce81c32d7e2b1662449d54d264afd3c0ed871b8e42b6e46",
        "espeak-ng-data/lang/gmw/en-GB-x-gbcwmd": "927a5ab891c65b30b4426b151d1623a01024f6b773a38497ba1c90cd77a95747",
        "espeak-ng-data/lang/gmw/en-US-nyc": "e8ee9168376d1f7d9e7dcda7c4644c36c529a8bea816e6380895364db46ea2e3",
        "espeak-ng-data/voices/!v/m4": "6bef82cea3538da1246b7a2c203206e90155cbb4af86faa8ef03366c3119ceee",
        "espeak-ng-data/voices/!v/m5": "08590ef7ce37630a6875d9cbe200dc473a9054b4184287808a4fd1c8e27dd02a",
        "espeak-ng-data/voices/!v/m6": "fc0e01af458a96d43f55878010d3abcbbda85e846922b25361a78d27c3a9ca00",
        "espeak-ng-data/voices/!v/Andy": "0e13ba1a940cd9df7e65358c36445c9740f3d75f1360c7f7c71ab9f74b45edca",
        "espeak-ng-data/voices/!v/Annie": "40f0f829c5c6e7abf4a02a21f128a572756d6f6693014c26d09a5c29ede5ec33",
        "espeak-ng-data/voices/!v/rob": "fbfffcdb0afb2e3b70f886c02282feae22509d77fe6e7103daf907f7a356595d",
        "espeak-ng-data/voices/!v/steph": "78186aeddce4c449348f368046b2665375b1a492e948d739249b0c964f082861",
    },
    folder="espeakng_loader",
)
"""Accents and variants beside those of `models_zoo.speech`, where espeak-ng looks for them."""
_ACCENTS = ("en-us-nyc", "en-gb-x-gbclan", "en-029", "en-gb-x-gbcwmd", "en-gb-scotland")
_VARIANTS = ("Annie", "m4", "Andy", "steph", "m5", "rob", "f1", "m6", "m1")
TRAINED = (
    *VOICES["calibration"],
    *(f"{accent}+{_VARIANTS[(3 * n + k) % 9]}" for n, accent in enumerate(_ACCENTS) for k in range(3)),
)
"""The voices of the training: none of the selection's and the report's accents or variants."""


def block(inputs: int, outputs: int, size: tuple[int, int], stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Conv, BatchNorm, ReLU; the exporter folds the BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, (size[0] // 2, size[1] // 2), groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class KeywordsCNN(nn.Module):  # type: ignore[misc, unused-ignore]  # torch is not there where types are checked
    """[batch, 1, frames, 40] in -1..1 -> [batch, 12] logits: the small DS-CNN of Zhang et al., Hello Edge, 2017."""

    def __init__(self) -> None:
        super().__init__()
        separable = [(block(WIDTH, WIDTH, (3, 3), groups=WIDTH), block(WIDTH, WIDTH, (1, 1))) for _ in range(4)]
        self.body = nn.Sequential(block(1, WIDTH, (10, 4), 2), *(part for pair in separable for part in pair))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(WIDTH, len(WORDS)))

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """Logits of ``spectrogram``."""
        return self.head(self.body(spectrogram))  # type: ignore[no-any-return, unused-ignore]


def training() -> tuple[torch.Tensor, torch.Tensor]:
    """Words of the training's voices, in the noises of the calibration split."""
    for name in _MORE.files:
        _MORE.file(name)
    spoken = say(TRAINED, SAYINGS, "training")
    heard, labels = [], []
    for number in range(len(spoken) * TIMES):
        rng = generator("training", str(number))
        sound = _stretched(spoken[number % len(spoken)], float(rng.uniform(0.8, 1.25)))
        heard.append(spectrogram(sound, "calibration", float(rng.uniform(-2, 25)), rng))
        labels.append(number % len(WORDS))
    return torch.from_numpy(np.concatenate(heard)), torch.tensor(labels)


def _stretched(sound: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Played slower by ``factor``, cut at the longest: other pitch, other formants, other speed."""
    count = min(int(len(sound) * factor), int(LONGEST * RATE))
    return np.interp(np.arange(count) / factor, np.arange(len(sound)), sound).astype(np.float32)


def augmented(heard: torch.Tensor) -> torch.Tensor:
    """Spectrograms tilted and shifted in level, with one band and one stretch of time masked."""
    count = len(heard)
    tilt = torch.linspace(-1, 1, BANDS) * (torch.rand(count, 1, 1, 1) - 0.5) * 0.5
    heard = heard + tilt + (torch.rand(count, 1, 1, 1) - 0.5) * 0.2
    for axis, length, most in ((3, BANDS, 8), (2, FRAMES, 8)):
        shape = [count, 1, 1, 1]
        start, width = torch.rand(shape) * length, torch.rand(shape) * most
        places = torch.arange(length).reshape([1, 1, -1, 1] if axis == 2 else [1, 1, 1, -1])
        heard = heard.masked_fill((places >= start) & (places < start + width), -1.0)
    return heard


def train(model: nn.Module, heard: torch.Tensor, labels: torch.Tensor) -> None:
    """AdamW with a one-cycle learning rate and label smoothing."""
    steps = -(-len(heard) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=EPOCHS * steps)
    model.train()
    for epoch in range(EPOCHS):
        for batch in torch.randperm(len(heard)).split(BATCH):
            loss = functional.cross_entropy(model(augmented(heard[batch])), labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}", flush=True)


def export(model: nn.Module, path: Path) -> None:
    """Opset 17, dynamic batch, BatchNormalization folded into the Conv before it."""
    model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the TorchScript exporter is deprecated; its graph has no metadata
        torch.onnx.export(
            model,
            (torch.zeros(1, 1, FRAMES, BANDS),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["spectrogram"],
            output_names=["logits"],
            dynamic_axes={"spectrogram": {0: "batch"}, "logits": {0: "batch"}},
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parents[1] / "models_zoo" / "data" / FILE
    parser.add_argument("--out", type=Path, default=default, help="where the model is written")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(arguments.seed)
    model = KeywordsCNN()
    train(model, *training())
    export(model, arguments.out)
    with torch.no_grad():
        for split in ("calibration", "selection", "report"):
            data = list(samples(split))
            heard = torch.from_numpy(np.concatenate([sample.feed["spectrogram"] for sample in data]))
            right = model(heard).argmax(1).numpy() == [sample.label for sample in data]
            print(f"{split}: accuracy {np.mean(right):.4f} on {len(right)}")
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
