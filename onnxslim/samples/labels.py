"""Labels of samples that lie beside them: a folder for each class, or a table of names and labels."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from onnxslim.errors import InputError
from onnxslim.graph.regular import check_regular
from onnxslim.samples.sample import Indexed, Sample, Samples

NAME_COLUMNS = frozenset({"file", "filename", "file_name", "name", "path", "image", "id", "sample", "index"})
LABEL_COLUMNS = frozenset({"label", "labels", "class", "target", "y"})


def class_labels(files: Sequence[str]) -> list[int] | None:
    """A label for each file from the folder at the top that it lies in; None where folders are no classes.

    Folders are classes where every file lies in one and there are two or more; a folder that holds all others is none.
    A class is its folder's place among the sorted names, as torchvision's ImageFolder counts; where all names are whole
    numbers, it is that number.

    >>> class_labels(["cat/1.png", "dog/1.png", "cat/2.png"]), class_labels(["7/a.png", "10/b.png"])
    ([0, 1, 0], [7, 10])
    """
    folders = _class_folders(files)
    if not folders:
        return None
    numbers = _numbers(folders)
    return [numbers[name] for name in folders]


def class_names(files: Sequence[str]) -> dict[int, str]:
    """The folder of each label that `class_labels` gives, in the order of the labels; empty where it gives none.

    >>> class_names(["dog/1.png", "cat/2.png"]), class_names(["10/b.png", "7/a.png"])
    ({0: 'cat', 1: 'dog'}, {7: '7', 10: '10'})
    """
    return {number: name for name, number in sorted(_numbers(_class_folders(files)).items(), key=lambda each: each[1])}


def _class_folders(files: Sequence[str]) -> list[str]:
    """The folder that each file is in the class of; empty where folders are no classes."""
    parts = [PurePosixPath(name).parts for name in files]
    while len({part[0] for part in parts}) == 1 and all(len(part) > 1 for part in parts):
        parts = [part[1:] for part in parts]
    folders = [part[0] for part in parts]
    return [] if len(set(folders)) < 2 or any(len(part) < 2 for part in parts) else folders


def _numbers(folders: Sequence[str]) -> dict[str, int]:
    names = sorted(set(folders))
    plain = all(name.isascii() and name.isdecimal() for name in names)
    return {name: int(name) if plain else at for at, name in enumerate(names)}


@dataclass(frozen=True)
class Labels:
    """What a file says of samples: a label for each name, or one for each in their order."""

    path: str
    by_name: Mapping[str, Any] = field(default_factory=dict)
    in_order: Sequence[Any] = ()

    def of(self, sample: Sample, index: int) -> Any:
        """The label of a sample: by its id, by the name of its file with or without suffix, or by its place.

        Raises:
            InputError: There is none.
        """
        if self.in_order:
            if index < len(self.in_order):
                return self.in_order[index]
            why, mend = f"the file has {len(self.in_order)} labels", "give a label for each sample, in their order"
        else:
            name = PurePosixPath(sample.id)
            number = str(int(sample.id)) if sample.id.isdecimal() else sample.id
            for key in (sample.id, name.name, name.stem, number):
                if key in self.by_name:
                    return self.by_name[key]
            why, mend = "no row names it", f"add a row: {sample.id},LABEL"
        raise InputError(f"sample {sample.id!r} has no label", where=self.path, why=why, mend=mend)


def read_labels(path: str | os.PathLike[str]) -> Labels:
    """Labels from a table or an array.

    The file is one of:

    - text with a name and a label in each line, separated by a comma, a semicolon or a tab. Names are the samples' ids:
      paths in their folder, or names of files, with or without suffix; of stacked arrays the index. Where a line at the
      top names the columns, there may be more of them;
    - text with a label in each line, in the order of the samples;
    - ``.npy``: axis 0 counts the samples.

    Labels that are numbers become numbers.

    Raises:
        InputError: The file cannot be read, is no such table, or names a sample twice.
    """
    where = os.fspath(path)
    if where.lower().endswith(".npy"):
        from onnxslim.samples.arrays import read_npy

        array = read_npy(Path(path))
        if not array.ndim or not len(array):
            raise InputError("the file holds no labels", where=where, mend="save an array with a label for each sample")
        return Labels(where, in_order=[each.item() if each.ndim == 0 else np.array(each) for each in array])
    rows = _rows(where)
    names, labels = _columns(rows[0][1], where), [rows[0][1]]
    if names is None:
        names, labels = _columns_of_data(rows, where), []
    at_name, at_label = names
    by_name: dict[str, Any] = {}
    in_order = []
    for number, row in rows[len(labels) :]:
        if len(row) <= max(at_label, at_name or 0):
            raise InputError(
                "a row is too short", where=f"{where}, line {number}", mend="write NAME,LABEL in each line"
            )
        label = _value(row[at_label])
        if at_name is None:
            in_order.append(label)
        elif row[at_name] in by_name:
            raise InputError(f"{row[at_name]!r} has two labels", where=f"{where}, line {number}", mend="remove one")
        else:
            by_name[row[at_name]] = label
    if not by_name and not in_order:
        raise InputError("the file holds no labels", where=where, mend="write NAME,LABEL in each line")
    return Labels(where, _with_short_names(by_name), in_order)


def _rows(where: str) -> list[tuple[int, list[str]]]:
    """The lines that hold something, with their numbers, as cells."""
    try:
        check_regular(where, "the file of labels")
        with open(where, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            separator = next((each for each in "\t;," if each in first), ",")
            rows = [
                (reader.line_num, [cell.strip() for cell in row])
                for reader in [csv.reader(file, delimiter=separator)]
                for row in reader
                if any(cell.strip() for cell in row)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(
            "the labels cannot be read", where=where, why=why, mend="write NAME,LABEL in each line"
        ) from error
    if not rows:
        raise InputError("the file holds no labels", where=where, mend="write NAME,LABEL in each line")
    return rows


def _columns(header: Sequence[str], where: str) -> tuple[int | None, int] | None:
    """Where names and labels stand, by what the first line calls them; None where it is a row like the others."""
    cells = [cell.lower() for cell in header]
    labels = [at for at, cell in enumerate(cells) if cell in LABEL_COLUMNS]
    names = [at for at, cell in enumerate(cells) if cell in NAME_COLUMNS]
    if not labels:
        return None
    if len(labels) > 1 or len(names) > 1 or (not names and len(cells) > 2):
        raise InputError(
            "it is not plain which columns hold names and labels",
            where=where,
            why=f"the columns are {', '.join(header)}",
            mend="keep two of them, name and label",
        )
    return names[0] if names else None if len(cells) == 1 else 1 - labels[0], labels[0]


def _columns_of_data(rows: Sequence[tuple[int, list[str]]], where: str) -> tuple[int | None, int]:
    number, row = rows[0]
    if len(row) > 2:
        raise InputError(
            f"a row has {len(row)} columns", where=f"{where}, line {number}", mend="write NAME,LABEL in each line"
        )
    return (0, 1) if len(row) == 2 else (None, 0)


def _with_short_names(by_name: Mapping[str, Any]) -> dict[str, Any]:
    """Names of files too, where a table gives longer paths: those that only one path ends in."""
    short: dict[str, list[Any]] = {}
    for name, label in by_name.items():
        short.setdefault(name.replace("\\", "/").rpartition("/")[2], []).append(label)
    return {name: labels[0] for name, labels in short.items() if len(labels) == 1} | dict(by_name)


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


class Labelled:
    """Samples with the labels of a file, whatever labels they came with."""

    def __init__(self, samples: Samples, labels: Labels) -> None:
        self.samples, self.labels = samples, labels

    def __iter__(self) -> Iterator[Sample]:
        for index, sample in enumerate(self.samples):
            yield replace(sample, label=self.labels.of(sample, index))


class IndexedLabelled(Labelled):
    """The same of samples that can be read one by one."""

    samples: Any

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        sample: Sample = self.samples[index]
        return replace(sample, label=self.labels.of(sample, index))


def labelled(samples: Samples, labels: Labels) -> Samples:
    """A view of samples with these labels."""
    return IndexedLabelled(samples, labels) if isinstance(samples, Indexed) else Labelled(samples, labels)
