"""Images of text lines, as a scanner or a camera would see them: low resolution, blur, noise, uneven contrast."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from models_zoo.fonts import fonts
from models_zoo.seeds import generator
from models_zoo.texts import line

Picture = NDArray[np.uint8]
"""Shape [height, width, 3], RGB."""


@dataclass(frozen=True)
class Look:
    """How hard the lines are to read; each value is drawn evenly from its range.

    Args:
        height: Letter size in pixels.
        blur: Radius of the Gaussian blur, as a share of the letter size.
        noise: Standard deviation of the pixel noise, of 255.
        contrast: Difference between ink and paper, of 255.
        tilt: Largest angle in degrees, both ways.
    """

    height: tuple[float, float] = (12, 34)
    blur: tuple[float, float] = (0.0, 0.055)
    noise: tuple[float, float] = (2, 20)
    contrast: tuple[float, float] = (80, 220)
    tilt: float = 1.2


@dataclass(frozen=True)
class TextLine:
    """A picture, the text on it and the file name of its font."""

    picture: Picture
    text: str
    font: str


def text_line(split: str, id: str, look: Look = Look()) -> TextLine:
    """The line of an id: text and font belong to the split, everything else to the id.

    Raises:
        SetupError: A font cannot be fetched.
    """
    rng = generator("text line", id)
    text = line(split, rng)
    paths = _paths(split)
    path = paths[rng.integers(len(paths))]
    return TextLine(picture(text, path, rng, look), text, path.rsplit("/", 1)[-1])


def picture(text: str, path: str, rng: np.random.Generator, look: Look) -> Picture:
    """``text`` in a font, degraded as ``look`` says."""
    size = round(rng.uniform(*look.height))
    font = _font(path, size)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    margin_x, margin_y = (round(size * rng.uniform(0.1, 0.5)), round(size * rng.uniform(0.12, 0.35)))
    mask = Image.new("L", (right - left + 2 * margin_x, bottom - top + 2 * margin_y))
    ImageDraw.Draw(mask).text((margin_x - left, margin_y - top), text, fill=255, font=font)
    if look.tilt:
        mask = mask.rotate(rng.uniform(-look.tilt, look.tilt), Image.Resampling.BILINEAR)
    mask = mask.filter(ImageFilter.GaussianBlur(size * rng.uniform(*look.blur)))
    ink_share = np.asarray(mask, dtype=np.float32)[..., None] / 255
    paper, ink = _colours(rng, rng.uniform(*look.contrast))
    shading = np.linspace(-1, 1, mask.width, dtype=np.float32)[None, :, None] * rng.uniform(-18, 18)
    noise = rng.standard_normal((mask.height, mask.width, 1), dtype=np.float32) * rng.uniform(*look.noise)
    pixels: Picture = np.clip(paper + (ink - paper) * ink_share + shading + noise, 0, 255).astype(np.uint8)
    return pixels


def fit(source: Picture, height: int, widest: int | None = None) -> NDArray[np.float32]:
    """Resized to ``height`` at the same aspect, at most ``widest``: float32 [3, height, width], BGR, in -1..1.

    The preprocessing of PP-OCR's recogniser and classifier (rapidocr-onnxruntime, resize_norm_img).
    """
    width = -(-source.shape[1] * height // source.shape[0])
    width = min(width, widest) if widest else width
    resized = Image.fromarray(np.ascontiguousarray(source)).resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(resized, dtype=np.float32)[..., ::-1].transpose(2, 0, 1)
    return np.ascontiguousarray(pixels / 127.5 - 1)


def _colours(rng: np.random.Generator, contrast: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Paper and ink, tinted; one line in four is light on dark."""
    lighter = rng.uniform(contrast, 255)
    tint = rng.uniform(-12, 12, size=(2, 3))
    pair = np.clip(np.array([[lighter], [lighter - contrast]]) + tint, 0, 255).astype(np.float32)
    paper, ink = pair if rng.random() < 0.75 else pair[::-1]
    return paper, ink


@cache
def _paths(split: str) -> tuple[str, ...]:
    return tuple(str(font.path()) for font in fonts(split))


@cache
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    # The basic layout is always there; Raqm, where installed, would place letters differently.
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
