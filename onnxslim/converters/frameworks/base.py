"""What every framework's module answers with, and the little that they share.

The code runs in Python 3.10 and later, in an environment where onnxslim is not installed.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

Feed = dict[str, np.ndarray]
Axes = Mapping[str, Mapping[int, str]]
"""Name of an input -> axis -> name of its size."""
COLOR = re.compile(r"\x1b\[[0-9;]*m")
"""What turns a terminal's colors on and off."""


class Refused(Exception):
    """The user can do something about it.

    Args:
        what: What went wrong.
        why: The reason.
        mend: What to do.
        code: Exit code: 2 for bad input, 3 for the environment.
    """

    def __init__(self, what: str, *, why: str = "", mend: str = "", code: int = 2) -> None:
        super().__init__(what)
        self.what, self.why, self.mend, self.code = what, why, mend, code


@dataclass
class LoadRequest:
    """What is to be loaded.

    Attributes:
        source: A path, or ``module:object``.
        form: Which of its converter's forms the source has.
        example: Arrays of one sample by input name, where the user gave samples; a name that is a number is a place.
        loaded: The object itself, where the caller has it in this process.
        arguments: Its example arguments, as the framework takes them.
        trust_code: Whether code that the source brings may run.
    """

    source: str
    form: str = ""
    example: Feed = field(default_factory=dict)
    loaded: Any = None
    arguments: Any = None
    trust_code: bool = False


@dataclass
class ExportOptions:
    """How to export.

    Attributes:
        path: The ONNX file to write.
        opset: Of the default domain; None for what the exporter chooses.
        dynamic: Axes whose size may change.
        exporter: One of the framework's several exporters by name; None for the best one.
    """

    path: str
    opset: int | None = None
    dynamic: Axes = field(default_factory=dict)
    exporter: str | None = None


@dataclass
class Exported:
    """What an export was.

    Attributes:
        exporter: The function and its version.
        notes: What a reader should know.
    """

    exporter: str
    notes: list[str] = field(default_factory=list)


@dataclass
class Operation:
    """One operation of the framework, in the order of computation.

    Attributes:
        name: As the framework names it, with the place in the user's source if it is known.
        output: What it computed.
        users: Places of the steps that read it.
        value: Name that an exporter is likely to give the output.
    """

    name: str
    output: np.ndarray
    users: list[int] = field(default_factory=list)
    value: str = ""


class FrameworkModel(Protocol):
    """A model in its framework. One that rounds also has ``rounding``: see `TFLiteModel.rounding`.

    Attributes:
        framework: Name and version: ``PyTorch 2.13.0``.
        narrows: Whether the exporter computes in float32 what the framework computes in float64, by its documentation.
        notes: What a reader should know of how it was loaded.
    """

    framework: str
    narrows: bool
    notes: list[str]

    def example(self) -> Feed | None:
        """Inputs that the model takes, by the names that the export gives them; None where nobody knows any."""

    def export(self, options: ExportOptions) -> Exported:
        """Writes the ONNX file with the framework's own exporter."""

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The framework's outputs by name, in the order of the export's. A name may be empty."""

    def trace(self, feed: Feed) -> list[Operation] | None:
        """Every operation; None where the framework does not let us look."""


def import_object(spec: str) -> Any:
    """What ``module:object`` names; the working folder is on the path, as other tools have it.

    Raises:
        Refused: The module cannot be imported, or has no such object.
    """
    name, _, attribute = spec.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        own = error.name is not None and (name == error.name or name.startswith(error.name + "."))
        raise Refused(
            f"there is no module {name!r}" if own else f"module {name!r} needs {error.name!r}, which is not installed",
            why=f"it was looked for in {os.getcwd()} and in the environment of {sys.executable}",
            mend="run from the folder that holds it" if own else "install it there, or name another --python",
            code=2 if own else 3,
        ) from error
    except (Exception, SystemExit) as error:
        raise Refused(f"module {name!r} failed when it was imported", why=last_line(error)) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            known = (
                ", ".join(key for key in vars(found) if not key.startswith("_")) if hasattr(found, "__dict__") else ""
            )
            raise Refused(f"module {name!r} has no {attribute!r}", mend=f"it has {known}" if known else "")
        found = getattr(found, part)
    return found


def last_line(error: BaseException) -> str:
    """The last line of a traceback, and where the error was raised."""
    lines = traceback.format_exception_only(type(error), error)
    notes = [line for note in getattr(error, "__notes__", ()) for line in str(note).split("\n")]  # JAX adds such
    lines = lines[: len(lines) - len(notes)] or lines
    text = " ".join(COLOR.sub("", lines[-1]).split())[:600]
    frames = traceback.extract_tb(error.__traceback__)
    return f"{text} ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else text


def by_name(feed: Feed, names: Sequence[str]) -> Feed:
    """A feed whose names may be places, by the names of the inputs.

    >>> by_name({"0": np.zeros(1)}, ["x"]).keys()
    dict_keys(['x'])

    Raises:
        Refused: A name is none of an input.
    """
    found = {}
    for name, array in feed.items():
        if name not in names and not (name.isdigit() and int(name) < len(names)):
            raise Refused(f"the samples have {name!r}, and the model has no such input", mend="use " + ", ".join(names))
        found[name if name in names else names[int(name)]] = array
    return found


def random_example(specs: Sequence[tuple[str, Sequence[int | None], np.dtype[Any]]], axes: int = 1) -> Feed:
    """Small random inputs.

    Args:
        specs: Name, sizes and dtype of each input.
        axes: How many axes in front may be of unknown size, and are 1.

    Raises:
        Refused: Another axis has no size, or a dtype has no random values.
    """
    generator = np.random.default_rng(0)
    found = {}
    for name, sizes, dtype in specs:
        unknown = [axis for axis, size in enumerate(sizes) if size is None and axis >= axes]
        if unknown:
            raise Refused(
                f"axis {unknown[0]} of input {name!r} has no size, so no inputs can be made up",
                mend="give --samples",
            )
        shape = [1 if size is None else size for size in sizes]
        if dtype.kind == "f":
            found[name] = generator.random(shape).astype(dtype)
        elif dtype.kind in "iu":
            # Small ones, for they may be places in a table. Of 8 bits they are quantized numbers.
            limits = np.iinfo(dtype) if dtype.itemsize == 1 else None
            low, high = (0, 8) if limits is None else (limits.min, limits.max + 1)
            found[name] = generator.integers(low, high, shape).astype(dtype)
        elif dtype.kind == "b":
            found[name] = generator.random(shape) > 0.5
        else:
            raise Refused(f"input {name!r} is of {dtype}, so no inputs can be made up", mend="give --samples")
    return found
