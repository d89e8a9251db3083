"""Pages with text lines on them, and where the lines are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models_zoo.render import Look, Picture, text_line
from models_zoo.seeds import generator

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; the last two are the first outside."""

_LOOK = Look(height=(12, 28), blur=(0.0, 0.055), noise=(1, 17), contrast=(50, 205), tilt=0.0)


@dataclass(frozen=True)
class Page:
    """A picture [height, width, 3] and the boxes of its lines."""

    picture: Picture
    boxes: tuple[Box, ...]


def page(split: str, id: str, size: int) -> Page:
    """A square page of an id, with lines of text in one or two columns on paper, shaded and noisy."""
    rng = generator("page", id)
    paper: NDArray[np.float32] = rng.uniform(150, 250, 3).astype(np.float32)
    slope = np.linspace(-1, 1, size, dtype=np.float32)
    canvas = paper + slope[:, None, None] * rng.uniform(-25, 25) + slope[None, :, None] * rng.uniform(-25, 25)
    boxes: list[Box] = []
    columns = int(rng.integers(1, 3))
    for column in range(columns):
        top, right = int(rng.integers(8, 60)), (column + 1) * size // columns - 8
        for attempt in range(40):
            rendered = text_line(split, f"{id} {column} {attempt}", _LOOK).picture
            height, width = rendered.shape[:2]
            left = column * size // columns + int(rng.integers(8, 40))
            if left + width > right:
                continue
            if top + height > size - 8:
                break
            canvas[top : top + height, left : left + width] = rendered
            boxes.append((left, top, left + width, top + height))
            top += height + int(rng.integers(6, 40))
    noise = rng.standard_normal((size, size, 1), dtype=np.float32) * rng.uniform(0, 6)
    pixels: Picture = np.clip(canvas + noise, 0, 255).astype(np.uint8)
    return Page(pixels, tuple(boxes))
