"""Where samples come from: one function for every kind of source."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.errors import InputError, OnnxSlimError, did_you_mean, failed
from onnxslim.samples.arrays import ArrayFolder, Stacked
from onnxslim.samples.audio import Waves
from onnxslim.samples.check import PortLike, checked
from onnxslim.samples.functions import import_function, is_function_name
from onnxslim.samples.images import SUFFIXES, ImageOptions, Images, read_list
from onnxslim.samples.items import FORMS, DatasetSamples, LoaderSamples, as_array, as_label, as_sample, is_loader
from onnxslim.samples.labels import Labels, class_labels, labelled, read_labels
from onnxslim.samples.sample import Indexed, Sample, Samples

SampleSource = str | os.PathLike[str] | Callable[[], Any] | Iterable[Any]
LISTS = frozenset({".txt", ".lst"})
KINDS = {".npz files": frozenset({".npz"}), "images": SUFFIXES, ".wav files": frozenset({".wav"})}
"""Kinds of files that a folder may hold as samples, one of them; or else .npy."""


def load_samples(
    source: SampleSource,
    *,
    inputs: Sequence[PortLike] | None = None,
    image: ImageOptions | None = None,
    labels: str | os.PathLike[str] | None = None,
    sample_rate: int | None = None,
) -> Samples:
    """Samples that can be read again and again, each time in the same order; nothing is kept between two readings.

    The source is one of:

    - a folder of ``.npz``: one file a sample, keys the names of the inputs, ``__label__`` reserved; sorted by name;
    - a folder of ``.npy``: one file a sample, for a model of one input;
    - one ``.npz`` or ``.npy``: axis 0 counts the samples and stays as a batch of 1;
    - a folder of images (with those below it), one image, or a text file that lists images;
    - a folder of ``.wav`` files, or one: mono, integer PCM, for a model of one input that takes a waveform;
    - ``module:function``: called anew for each reading; yields `Sample`, dicts, arrays or tensors for a model of one
      input, tuples of them for one of several, or pairs of one of these with a label;
    - in Python such a function itself, or a list (anything that can be read more than once) of what it would yield; an
      array or tensor, whose axis 0 counts the samples as that of a ``.npy`` does, or a tuple of one with its labels; a
      data set (``len`` and an index); or a DataLoader, whose batches are cut into samples.

    Files that lie in two or more folders, none beside these, are labelled by them (`labels.class_labels`). An array
    without a name is for the only input of the model.

    Args:
        source: Path, ``module:function``, function or iterable.
        inputs: The model's inputs, as ``Session.inputs``. Where given, every sample is checked against them as it is
            read (`onnxslim.samples.check_samples`).
        image: Preprocessing of images.
        labels: A file with the samples' labels (`labels.read_labels`), which replace those that samples come with.
        sample_rate: Samples a second that every ``.wav`` file must have; None means that of the first.

    Raises:
        InputError: The source does not exist, is empty, mixes kinds, or cannot be read. What can only be seen in a
            sample is raised when that sample is read.
        SetupError: Images were given and Pillow is not installed (raised when the first one is read).
    """
    if isinstance(source, str | os.PathLike):
        samples = _open(os.fspath(source), inputs, image, sample_rate)
    else:
        samples = _given(source, inputs)
    if labels is not None:
        samples = labelled(samples, read_labels(labels))
    return samples if inputs is None else checked(samples, inputs)


def _given(source: Callable[[], Any] | Iterable[Any], inputs: Sequence[PortLike] | None) -> Samples:
    """Samples that the caller holds in memory or makes."""
    array = as_array(source)
    if array is not None:
        return FunctionSamples(lambda: (row[np.newaxis] for row in array), "samples", inputs)
    stacked = _stacked(source)
    if stacked is not None:
        x, y = stacked
        count = [as_label(label) for label in y]
        return labelled(_given(x, inputs), Labels("samples", in_order=count))
    if is_loader(source):
        return LoaderSamples(source, inputs)
    if isinstance(source, Indexed) and not isinstance(source, list | tuple | dict | str):
        if len(source) and not isinstance(source[0], Sample):
            return DatasetSamples(source, inputs)
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


def _stacked(source: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Inputs and labels, where ``source`` is a tuple of an array of inputs and one of labels.

    Raises:
        InputError: There are more of the one than of the other.
    """
    if not isinstance(source, tuple) or len(source) != 2:
        return None
    x, y = as_array(source[0]), as_array(source[1])
    if y is None and isinstance(source[1], list) and all(isinstance(each, int | float | str) for each in source[1]):
        y = np.asarray(source[1])
    if x is None or y is None or not y.ndim == 1 < x.ndim:
        return None
    if len(x) != len(y):
        raise InputError(
            f"(x, y) holds {len(x):,} inputs and {len(y):,} labels",
            where="samples",
            why="axis 0 of both counts the samples",
            mend="give as many labels as inputs, or a list for two samples",
        )
    return x, y


def _open(source: str, inputs: Sequence[PortLike] | None, image: ImageOptions | None, rate: int | None) -> Samples:
    path = Path(source)
    if not path.exists():
        if is_function_name(source):
            return FunctionSamples(import_function(source, what="source of samples"), source, inputs)
        raise _missing(path, source)
    if path.is_dir():
        return _folder(path, inputs, image, rate)
    suffix = path.suffix.lower()
    if suffix in (".npz", ".npy"):
        return Stacked(path, inputs)
    if suffix in LISTS:
        return Images(path.parent, _distinct(read_list(path), path), image or ImageOptions(), inputs)
    if suffix in SUFFIXES:
        return Images(path.parent, [(path.name, None)], image or ImageOptions(), inputs)
    if suffix == ".wav":
        return Waves(path.parent, [path.name], None, inputs, rate)
    raise InputError("the file is no source of samples", where=source, why=f"suffix {suffix!r}", mend=_KINDS)


_KINDS = "use a folder of .npz, .npy, .wav or images, one .npz or .npy, a .txt that lists images, or module:function"


class FunctionSamples:
    """What ``module:function`` yields; the function is called anew for each reading."""

    def __init__(self, function: Callable[[], Any], spec: str, inputs: Sequence[PortLike] | None) -> None:
        self.function, self.spec, self.inputs = function, spec, inputs

    def __iter__(self) -> Iterator[Sample]:
        count = 0
        try:
            items = iter(self.function())
            for item in items:
                yield as_sample(item, count, self.inputs, self.spec)
                count += 1
        except OnnxSlimError:
            raise
        except (Exception, SystemExit) as error:  # a user's function may fail in any way
            raise failed(
                f"the function failed at sample {count}",
                error,
                where=self.spec,
                mend=f"it must return an iterable of {FORMS}",
            ) from error
        if count == 0:
            raise InputError("there are no samples", where=self.spec, mend="yield at least one")


def _folder(root: Path, inputs: Sequence[PortLike] | None, image: ImageOptions | None, rate: int | None) -> Samples:
    files = sorted(_files(root))
    kinds = {
        kind: [name for name in files if Path(name).suffix.lower() in suffixes] for kind, suffixes in KINDS.items()
    }
    found = [kind for kind, names in kinds.items() if names]
    if len(found) > 1:
        first, second = (kinds[kind][0] for kind in found[:2])
        raise InputError(
            f"the folder mixes {found[0]} and {found[1]}",
            where=str(root),
            why=f"e.g. {first!r} and {second!r}",
            mend="keep one kind in one folder",
        )
    kind = found[0] if found else "arrays"
    names = kinds[kind] if found else [name for name in files if name.lower().endswith(".npy")]
    labels = class_labels(names) if names else None
    if names and kind == "images":
        return Images(
            root,
            list(zip(names, labels if labels is not None else [None] * len(names), strict=True)),
            image or ImageOptions(),
            inputs,
        )
    if names and kind == ".wav files":
        return Waves(root, names, labels, inputs, rate)
    if names:
        samples = ArrayFolder(root, names, inputs)
        return samples if labels is None else labelled(samples, Labels(str(root), in_order=labels))
    suffixes = sorted({Path(name).suffix or Path(name).name for name in files})
    raise InputError(
        "the folder holds no samples",
        where=str(root),
        why=f"it holds only {', '.join(suffixes[:5])}" if suffixes else "it is empty",
        mend=_KINDS,
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
