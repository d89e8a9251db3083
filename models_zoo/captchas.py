"""Images of a few turned characters behind lines and noise, as captchas are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from models_zoo.fonts import fonts
from models_zoo.render import Picture
from models_zoo.seeds import generator

CHARACTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabdefghnqrt"
"""Digits and letters without those that look like others, as captchas leave them out: 0 and O, 1 and l, c and C."""
_LENGTHS = {"calibration": (4, 6), "selection": (5,), "report": (4, 5, 6)}


@dataclass(frozen=True)
class Captcha:
    """A picture and the characters on it."""

    picture: Picture
    text: str


def captcha(split: str, id: str) -> Captcha:
    """The captcha of an id: the fonts belong to the split, everything else to the id.

    Raises:
        SetupError: A font cannot be fetched.
    """
    rng = generator("captcha", id)
    paths = [str(font.path()) for font in fonts(split)]
    length = _LENGTHS[split][rng.integers(len(_LENGTHS[split]))]
    text = "".join(CHARACTERS[rng.integers(len(CHARACTERS))] for _ in range(length))
    # The basic layout is always there; Raqm, where installed, would place letters differently.
    font = ImageFont.truetype(
        paths[rng.integers(len(paths))], int(rng.integers(28, 38)), layout_engine=ImageFont.Layout.BASIC
    )
    return Captcha(_picture(text, font, rng), text)


def _picture(text: str, font: ImageFont.FreeTypeFont, rng: np.random.Generator) -> Picture:
    """Each character turned and shifted on its own, then lines across, specks, blur."""
    height = 56
    image = Image.new("RGB", (26 * len(text) + 30, height), _colour(rng, 190, 256))
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        draw.line(_ends(rng, image), fill=_colour(rng, 110, 190), width=int(rng.integers(1, 3)))
    at = rng.uniform(4, 10)
    for character in text:
        tile = Image.new("L", (48, height))
        ImageDraw.Draw(tile).text((24, 28 + rng.uniform(-4, 4)), character, fill=255, font=font, anchor="mm")
        tile = tile.rotate(rng.uniform(-30, 30), Image.Resampling.BILINEAR)
        image.paste(_colour(rng, 0, 120), (round(at) - 11, 0), tile)
        at += rng.uniform(21, 27)
    draw.line(_ends(rng, image), fill=_colour(rng, 20, 140), width=int(rng.integers(1, 3)))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.9))), np.float64)
    pixels = pixels + rng.standard_normal(pixels.shape[:2])[..., None] * rng.uniform(4, 25)
    pixels[rng.random(pixels.shape[:2]) < rng.uniform(0, 0.04)] = rng.uniform(0, 255)
    noisy: Picture = np.clip(pixels, 0, 255).astype(np.uint8)
    return noisy


def _colour(rng: np.random.Generator, low: int, high: int) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _ends(rng: np.random.Generator, image: Image.Image) -> tuple[float, float, float, float]:
    """A line from the left quarter to the right one."""
    width, height = image.size
    left, right = rng.uniform(0, width / 4), rng.uniform(width * 3 / 4, width)
    return left, rng.uniform(0, height), right, rng.uniform(0, height)
