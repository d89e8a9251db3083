"""Train the digits CNN of the model zoo and export it to models_zoo/data/.

Run once, in an environment of its own: ``pip install -e '.[zoo]' torch==2.13.0 && python -m tools.train_digits``.
Seeded; one thread; about a minute.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from models_zoo.entries.digits_cnn import FILE, digits, indices

EPOCHS = 90
BATCH = 64


def block(inputs: int, outputs: int, groups: int = 1, size: int = 3) -> nn.Sequential:
    """Conv, BatchNorm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class DigitsCNN(nn.Module):  # type: ignore[misc, unused-ignore]  # torch is not there where types are checked
    """[batch, 1, 8, 8] in 0..1 -> [batch, 10] logits. A residual and a depthwise block, for passes to work on."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(block(1, 32), block(32, 64))
        self.inner = nn.Sequential(block(64, 64), nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64))
        self.tail = nn.Sequential(block(64, 64, groups=64), block(64, 96, size=1))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(96 * 4, 96), nn.ReLU(), nn.Linear(96, 10))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of ``image``."""
        x = functional.max_pool2d(self.stem(image), 2)
        x = functional.relu(x + self.inner(x))
        x = functional.max_pool2d(self.tail(x), 2)
        return self.head(x)  # type: ignore[no-any-return, unused-ignore]


def augmented(images: torch.Tensor) -> torch.Tensor:
    """Each image turned, scaled and shifted a little, another way each time."""
    count = len(images)
    angle = (torch.rand(count) - 0.5) * 0.5
    scale = 1 + (torch.rand(count) - 0.5) * 0.24
    shift = (torch.rand(count, 2) - 0.5) * 0.36
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    affine = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], 1).view(count, 2, 3)
    grid = functional.affine_grid(affine, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Adam with a one-cycle learning rate and label smoothing."""
    steps = -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=EPOCHS * steps)
    model.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = functional.cross_entropy(model(augmented(images[batch])), labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def export(model: nn.Module, path: Path) -> None:
    """Opset 17, dynamic batch; BatchNormalization stays a node, so that there is something to fuse."""
    model.eval()
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated, but the other one folds BatchNormalization away.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(1, 1, 8, 8),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
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
    images, labels = (torch.from_numpy(array) for array in digits())
    model = DigitsCNN()
    train(model, images[indices("training")], labels[indices("training")])
    export(model, arguments.out)
    with torch.no_grad():
        for part in ("training", "selection", "report"):
            right = model(images[indices(part)]).argmax(1) == labels[indices(part)]
            print(f"{part}: accuracy {np.mean(right.numpy()):.4f} on {len(right)}")
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
