"""Where samples come from: one function for every kind of source."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.calibration.arrays import NpzFolder, Stacked
from onnxslim.calibration.check import PortLike, checked
from onnxslim.calibration.functions import import_function, is_function_name, told
from onnxslim.calibration.images import SUFFIXES, ImageOptions, Images, read_list
from onnxslim.calibration.sample import Indexed, Sample, Samples
from onnxslim.errors import InputError, OnnxSlimError, did_you_mean

SampleSource = str | os.PathLike[str] | Callable[[], Any] | Iterable[Any]
LISTS = frozenset({".txt", ".lst"})


def load_samples(
    source: SampleSource, *, inputs: Sequence[PortLike] | None = None, image: ImageOptions | None = None
) -> Samples:
    """Samples that can be read again and again, each time in the same order; nothing is kept between two readings.

    The source is one of:

    - a folder of ``.npz``: one file a sample, keys the names of the inputs, ``__label__`` reserved; sorted by name;
    - one ``.npz`` or ``.npy``: axis 0 counts the samples and stays as a batch of 1;
    - a folder of images (with those below it), one image, or a text file that lists images;
    - ``module:function``: called anew for each reading; yields `Sample`, dicts, or arrays for a model of one input;
    - in Python such a function itself, or a list (anything that can be read more than once) of what it would yield, or
      an array, whose axis 0 counts the samples as that of a ``.npy`` does.

    An array without a name is for the only input of the model.

    Args:
        source: Path, ``module:function``, function or iterable.
        inputs: The model's inputs, as ``Session.inputs``. Where given, every sample is checked against them as it is
            read (`onnxslim.calibration.check_samples`).
        image: Preprocessing of images.

    Raises:
        InputError: The source does not exist, is empty, mixes kinds, or cannot be read. What can only be seen in a
            sample is raised when that sample is read.
        SetupError: Images were given and Pillow is not installed (raised when the first one is read).
    """
    if isinstance(source, str | os.PathLike):
        samples = _open(os.fspath(source), inputs, image)
    else:
        samples = _given(source, inputs)
    return samples if inputs is None else checked(samples, inputs)


def _given(source: Callable[[], Any] | Iterable[Any], inputs: Sequence[PortLike] | None) -> Samples:
    """Samples that the caller holds in memory or makes."""
    if isinstance(source, np.ndarray):
        return FunctionSamples(lambda: (row[np.newaxis] for row in source), "samples", inputs)
    if isinstance(source, Indexed) and not isinstance(source, list | tuple | dict):
        return source
    if callable(source):
        return FunctionSamples(source, getattr(source, "__qualname__", "samples"), inputs)
    if isinstance(source, dict) or not isinstance(source, Iterable):
        raise InputError(f"a {type(source).__name__} is no source of samples", mend="give a list of them, or a path")
    if iter(source) is source:
        raise InputError(
            "the samples can be read only once",
            why=f"a {type(source).__name__} is empty after the first reading, and there are several",
            mend="give a list, or the function that makes the generator",
        )
    return FunctionSamples(lambda: source, "samples", inputs)


def _open(source: str, inputs: Sequence[PortLike] | None, image: ImageOptions | None) -> Samples:
    path = Path(source)
    if not path.exists():
        if is_function_name(source):
            return FunctionSamples(import_function(source, what="source of samples"), source, inputs)
        raise _missing(path, source)
    if path.is_dir():
        return _folder(path, inputs, image)
    suffix = path.suffix.lower()
    if suffix in (".npz", ".npy"):
        return Stacked(path, inputs)
    if suffix in LISTS:
        return Images(path.parent, _distinct(read_list(path), path), image or ImageOptions(), inputs)
    if suffix in SUFFIXES:
        return Images(path.parent, [(path.name, None)], image or ImageOptions(), inputs)
    raise InputError("the file is no source of samples", where=source, why=f"suffix {suffix!r}", mend=_KINDS)


_KINDS = "use a folder of .npz or of images, one .npz or .npy, a .txt that lists images, or module:function"


class FunctionSamples:
    """What ``module:function`` yields; the function is called anew for each reading."""

    def __init__(self, function: Callable[[], Any], spec: str, inputs: Sequence[PortLike] | None) -> None:
        self.function, self.spec, self.inputs = function, spec, inputs

    def __iter__(self) -> Iterator[Sample]:
        count = 0
        try:
            items = iter(self.function())
            for item in items:
                yield self._sample(item, count)
                count += 1
        except OnnxSlimError:
            raise
        except Exception as error:  # a user's function may fail in any way
            raise InputError(
                f"the function failed at sample {count}",
                where=self.spec,
                why=told(error),
                mend="it must return an iterable of Samples, dicts from input name to array, or arrays",
            ) from error
        if count == 0:
            raise InputError("there are no samples", where=self.spec, mend="yield at least one")

    def _sample(self, item: Any, index: int) -> Sample:
        if isinstance(item, Sample):
            return item
        name = f"{index:06d}"
        if isinstance(item, dict):
            return Sample(name, item)
        if isinstance(item, np.ndarray):
            if self.inputs is not None and len(self.inputs) == 1:
                return Sample(name, {self.inputs[0].name: item})
            state = "not known here" if self.inputs is None else f"{len(self.inputs)}"
            raise InputError(
                "the function yields bare arrays",
                where=self.spec,
                why=f"they suit a model of one input; the number of inputs is {state}",
                mend="yield dicts from input name to array",
            )
        raise InputError(
            f"the function yields a {type(item).__name__}",
            where=self.spec,
            mend="yield onnxslim.calibration.Sample, dicts from input name to array, or arrays",
        )


def _folder(root: Path, inputs: Sequence[PortLike] | None, image: ImageOptions | None) -> Samples:
    files = sorted(_files(root))
    arrays = [name for name in files if name.lower().endswith(".npz")]
    images = [name for name in files if Path(name).suffix.lower() in SUFFIXES]
    if arrays and images:
        raise InputError(
            "the folder mixes .npz files and images",
            where=str(root),
            why=f"e.g. {arrays[0]!r} and {images[0]!r}",
            mend="keep one kind in one folder",
        )
    if arrays:
        return NpzFolder(root, arrays, inputs)
    if images:
        return Images(root, [(name, None) for name in images], image or ImageOptions(), inputs)
    single = any(name.lower().endswith(".npy") for name in files)
    found = sorted({Path(name).suffix or Path(name).name for name in files})
    raise InputError(
        "the folder holds no samples",
        where=str(root),
        why=f"it holds only {', '.join(found[:5])}" if found else "it is empty",
        mend="name one .npy, or save each sample with numpy.savez(path, input_name=array)" if single else _KINDS,
    )


def _files(root: Path) -> Iterator[str]:
    """Files in and below ``root`` as relative POSIX paths; hidden ones are left out, links to folders not followed."""
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _distinct(entries: list[tuple[str, Any]], path: Path) -> list[tuple[str, Any]]:
    seen = set()
    for name, _ in entries:
        if name in seen:
            raise InputError(f"the list names {name!r} twice", where=str(path), mend="remove one")
        seen.add(name)
    return entries


def _missing(path: Path, source: str) -> InputError:
    if path.parent.is_dir():
        siblings = [entry.name for entry in path.parent.iterdir() if not entry.name.startswith(".")][:1000]
        near = did_you_mean(path.name, siblings)
        return InputError(
            "there is no such source of samples", where=source, mend=near if near.startswith("did") else _KINDS
        )
    return InputError("there is no such source of samples", where=source, mend=_KINDS)
