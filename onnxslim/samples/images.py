"""Samples from image files: decoding, resizing, normalisation. Pillow is imported when the first image is read."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from onnxslim.errors import InputError, SetupError, did_you_mean
from onnxslim.graph.regular import check_regular
from onnxslim.samples.check import PortLike
from onnxslim.samples.sample import Sample

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})

Layout = Literal["NCHW", "NHWC"]
Channels = Literal["RGB", "BGR", "GRAY"]
Resize = Literal["stretch", "fit", "crop"]
Filter = Literal["nearest", "bilinear", "bicubic"]


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """How pixels become an input: ``(pixel * scale - mean) / std``, pixels being 0 to 255.

    What is None is read off the model's input: its sizes, its layout (which axis has 1 or 3), its channels.

    Args:
        size: Width and height in pixels.
        mean: Subtracted after scaling; one value, or one for each channel in the order of ``channels``.
        std: Divided by; as ``mean``.
        scale: Factor on the pixels; None means 1/255 for a float input, 1 for an integer one.
        layout: Order of the axes.
        channels: Order of the channels.
        resize: ``stretch`` ignores the aspect ratio; ``fit`` keeps it and pads right and below with ``pad``; ``crop``
            keeps it and cuts the centre.
        filter: Interpolation.
        pad: Pixel value (0 to 255) of the padding of ``fit``.
        input: Name of the input; None means the only one.
    """

    size: tuple[int, int] | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float | None = None
    layout: Layout | None = None
    channels: Channels | None = None
    resize: Resize = "stretch"
    filter: Filter = "bilinear"
    pad: int = 0
    input: str | None = None

    def __post_init__(self) -> None:
        for option, value, known in (
            ("layout", self.layout, Layout),
            ("channels", self.channels, Channels),
            ("resize", self.resize, Resize),
            ("filter", self.filter, Filter),
        ):
            if value is not None and value not in get_args(known):
                raise InputError(f"unknown image {option} {value!r}", mend=did_you_mean(str(value), get_args(known)))
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise InputError(f"image size {self.size} is no width and height", mend="give two positive integers")
        if self.scale is not None and not (np.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"image scale {self.scale} cannot be used", mend="give a factor over 0, such as 1/255")
        if not 0 <= self.pad <= 255:
            raise InputError(f"image pad {self.pad} is no pixel value", mend="use 0 to 255")
        count = 1 if self.channels == "GRAY" else 3
        for option, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in ({1, count} if self.channels else {1, 3}):
                raise InputError(f"image {option} has {len(values)} values", mend=f"give 1 or {count}")
            if not np.isfinite(values).all() or (option == "std" and 0 in values):
                raise InputError(f"image {option} {values} cannot be used", why="a value is 0, NaN or Inf")


class Images:
    """Image files, one sample each; ids are the paths as given, relative to ``root``."""

    def __init__(
        self,
        root: Path,
        files: Sequence[tuple[str, Any]],
        options: ImageOptions,
        inputs: Sequence[PortLike] | None,
    ) -> None:
        self.root, self.files = root, files
        self.options, self.name, self.dtype = _resolve(options, inputs)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        name, label = self.files[index]
        return Sample(name, {self.name: preprocess(self.root / name, self.options, self.dtype)}, label)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))


def preprocess(path: Path, options: ImageOptions, dtype: np.dtype[Any]) -> np.ndarray:
    """One image as ``dtype[1, C, H, W]`` or ``[1, H, W, C]``; ``options`` must be complete but for ``scale``.

    Raises:
        InputError: The file is no image, or cannot be read.
        SetupError: Pillow is not installed.
    """
    pil = _pillow()
    assert options.size is not None
    try:
        check_regular(path, "the image")
        with pil.open(path) as opened:
            image = opened.convert("L" if options.channels == "GRAY" else "RGB")
        pixels = np.asarray(_resized(image, options, pil))
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, pil.DecompressionBombError) as error:
        raise InputError("the image cannot be read", where=str(path), why=str(error)) from error
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if options.channels == "BGR":
        pixels = pixels[..., ::-1]
    if dtype.kind != "f":
        result = pixels.astype(dtype)
    else:
        scale = 1 / 255 if options.scale is None else options.scale
        values = (pixels * scale - np.array(options.mean)) / np.array(options.std)
        result = values.astype(dtype)
    if options.layout == "NCHW":
        result = result.transpose(2, 0, 1)
    return np.ascontiguousarray(result[np.newaxis])


def read_list(path: Path) -> list[tuple[str, Any]]:
    """Paths and labels of a text file: one image a line, relative to the file, a label after a tab where there is one.

    Empty lines and lines that begin with ``#`` are skipped. A label that is an integer becomes one.

    Raises:
        InputError: The file is no text, lists nothing, or lists a file that does not exist.
    """
    try:
        check_regular(path, "the list of images")
        lines = path.read_text(encoding="utf-8").splitlines()
    except InputError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("the list of images cannot be read", where=str(path), why=str(error)) from error
    entries: list[tuple[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, label = (part.strip() for part in line.partition("\t"))
        if not (path.parent / name).is_file():
            raise InputError(f"the list names {name!r}, which does not exist", where=f"{path}, line {number}")
        entries.append((name, int(label) if label.lstrip("-").isdecimal() else label or None))
    if not entries:
        raise InputError("the list of images is empty", where=str(path))
    return entries


def _resolve(options: ImageOptions, inputs: Sequence[PortLike] | None) -> tuple[ImageOptions, str, np.dtype[Any]]:
    """Options without gaps, the input's name and its dtype."""
    port = _port(options, inputs)
    name = options.input or (port.name if port else "")
    shape = port.shape if port else ()
    dtype = port.dtype if port and port.dtype is not None else np.dtype(np.float32)
    if shape and len(shape) != 4:
        raise InputError(
            f"input {name!r} takes {len(shape)} axes, images have 4", mend="prepare the samples as .npz files"
        )
    axis = {"NCHW": 1, "NHWC": 3, None: 3 if shape and shape[3] in (1, 3) and shape[1] not in (1, 3) else 1}
    channel = axis[options.layout]
    layout: Layout = "NCHW" if channel == 1 else "NHWC"
    channels: Channels = options.channels or ("GRAY" if shape and shape[channel] == 1 else "RGB")
    size = options.size
    if size is None:
        height, width = (shape[2], shape[3]) if channel == 1 and shape else shape[1:3] or (None, None)
        if not isinstance(height, int) or not isinstance(width, int):
            raise InputError(
                "the size of the images is not known", why="the model leaves it open", mend="give the image size WxH"
            )
        size = (width, height)
    plain = options.mean == (0.0,) and options.std == (1.0,) and options.scale in (None, 1.0)
    if dtype.kind not in "fiu" or (dtype.kind in "iu" and not plain):
        raise InputError(
            f"input {name!r} is {dtype}", why="normalised images are floats", mend="leave out mean, std and scale"
        )
    return replace(options, layout=layout, channels=channels, size=size), name, dtype


def _port(options: ImageOptions, inputs: Sequence[PortLike] | None) -> PortLike | None:
    if inputs is None:
        if options.input is None:
            raise InputError("the input that takes the images is not known", mend="name it")
        return None
    names = [port.name for port in inputs]
    if len(inputs) != 1:
        raise InputError(
            f"the model has {len(inputs)} inputs ({', '.join(names)}), images fill only one",
            mend="prepare the samples as .npz files",
        )
    if options.input is not None and options.input != names[0]:
        raise InputError(f"the model has no input {options.input!r}", mend=did_you_mean(options.input, names))
    return inputs[0]


def _resized(image: Any, options: ImageOptions, pil: Any) -> Any:
    assert options.size is not None
    width, height = options.size
    method = pil.Resampling[options.filter.upper()]
    if options.resize == "stretch":
        return image.resize((width, height), method)
    ratios = width / image.width, height / image.height
    ratio = min(ratios) if options.resize == "fit" else max(ratios)
    scaled = image.resize((max(1, round(image.width * ratio)), max(1, round(image.height * ratio))), method)
    if options.resize == "fit":
        canvas = pil.new(image.mode, (width, height), options.pad if image.mode == "L" else (options.pad,) * 3)
        canvas.paste(scaled, (0, 0))
        return canvas
    left, top = (scaled.width - width) // 2, (scaled.height - height) // 2
    return scaled.crop((left, top, left + width, top + height))


def _pillow() -> Any:
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise SetupError(
            "images need Pillow", why=str(error), mend="pip install 'onnxslim-compiler[images]'"
        ) from error
