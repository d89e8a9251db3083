"""``--samples`` and how its images become inputs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from onnxslim.commands.options import Decorator, chain, finite
from onnxslim.errors import InputError

if TYPE_CHECKING:
    from onnxslim.execution import Session
    from onnxslim.samples import Samples

IMAGE_OPTIONS = ("size", "mean", "std", "scale", "layout", "channels", "resize", "filter", "pad")


def numbers(text: str) -> tuple[float, ...]:
    """Comma-separated numbers.

    >>> numbers("0.485,0.456")
    (0.485, 0.456)

    Raises:
        click.BadParameter: One of them is none.
    """
    return tuple(finite(part) for part in text.split(","))


def dimensions(text: str) -> tuple[int, int]:
    """Width and height in pixels, or one number for a square.

    >>> dimensions("320x48"), dimensions("224")
    ((320, 48), (224, 224))

    Raises:
        click.BadParameter: It is no size.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a size; write it like 320x48")
    return int(match[1]), int(match[2] or match[1])


def samples_options(*, required: bool = False) -> Decorator:
    """``--samples`` and the preprocessing of images."""
    return chain(
        click.option(
            "--samples",
            required=required,
            metavar="SOURCE",
            help="Folder of .npz, .npy, .wav or images (a folder in it is a class), one .npz or .npy, a .txt that "
            "lists images, or module:function",
        ),
        click.option("--size", type=dimensions, metavar="WxH", help="Images: size in pixels  [default: the model's]"),
        click.option(
            "--mean",
            type=numbers,
            metavar="A,B,C",
            help="Images: subtracted after scaling, one or one a channel  [default: 0]",
        ),
        click.option(
            "--std", type=numbers, metavar="A,B,C", help="Images: divided by, one or one a channel  [default: 1]"
        ),
        click.option(
            "--scale",
            type=finite,
            metavar="FACTOR",
            help="Images: factor on pixels of 0 to 255  [default: 1/255; 1 for an integer input]",
        ),
        click.option(
            "--layout", type=click.Choice(["NCHW", "NHWC"]), help="Images: order of the axes  [default: the model's]"
        ),
        click.option(
            "--channels",
            type=click.Choice(["RGB", "BGR", "GRAY"]),
            help="Images: order of the channels  [default: RGB; GRAY for a model of 1]",
        ),
        click.option(
            "--resize",
            type=click.Choice(["stretch", "fit", "crop"]),
            help="Images: how the size is reached  [default: stretch]",
        ),
        click.option(
            "--filter",
            type=click.Choice(["nearest", "bilinear", "bicubic"]),
            help="Images: interpolation  [default: bilinear]",
        ),
        click.option(
            "--pad",
            type=click.IntRange(0, 255),
            help="Images: pixel value of the padding of --resize fit  [default: 0]",
        ),
        click.option(
            "--sample-rate",
            type=click.IntRange(min=1),
            metavar="HZ",
            help="Sound: refuse files of another rate  [default: that of the first file]",
        ),
    )


def take_samples(arguments: dict[str, Any], model: str) -> Samples | str | None:
    """Removes the options of ``samples_options`` from a command's arguments and returns what they ask for.

    Args:
        arguments: The command's keyword arguments.
        model: The model that the samples are for; its inputs say what an image option leaves open.

    Raises:
        InputError: Image options without samples, or what `load_samples` refuses.
    """
    source: str | None = arguments.pop("samples")
    image = {name: value for name in IMAGE_OPTIONS if (value := arguments.pop(name)) is not None}
    rate: int | None = arguments.pop("sample_rate")
    if not image and rate is None:
        return source
    if source is None:
        where = f"--{next(iter(image))}" if image else "--sample-rate"
        raise InputError("options of samples say nothing without samples", where=where, mend="add --samples")
    from onnxslim.samples import load_samples
    from onnxslim.samples.images import ImageOptions

    options = ImageOptions(**image) if image else None
    return load_samples(source, inputs=_session(arguments, model).inputs, image=options, sample_rate=rate)


def _session(arguments: dict[str, Any], model: str) -> Session:
    from onnxslim.api.source import open_source
    from onnxslim.execution import open_session

    return open_session(open_source(model, **how_to_load(arguments)).model, threads=arguments["threads"])


def how_to_load(arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of a command's arguments that say how ``onnxslim.load`` reads a model."""
    return {name: arguments[name] for name in ("trust_data_dir", "freeze_initializers")}
