"""Which samples belong to which model of a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from onnxslim.errors import InputError
from onnxslim.samples.sources import SampleSource


def samples_of(models: Sequence[PurePath], source: SampleSource) -> tuple[Mapping[PurePath, SampleSource], str]:
    """The source of samples of each model.

    A source that is a folder may hold samples of each model under the model's name without its suffix: as a folder or
    as one file, at the model's own place in sub-folders or, where no other model has the name, at the top. Then every
    model has its own. Else all models share the source.

    Args:
        models: Paths within their folder.
        source: What the user named.

    Returns:
        The sources, and which kind it is, in words.

    Raises:
        InputError: Some models have samples of their own and others have none, or a model has two.
    """
    shared = dict.fromkeys(models, source)
    if not isinstance(source, str | os.PathLike) or not os.path.isdir(source):
        return shared, f"{_named(source)} for all models"
    folder, stems = Path(source), Counter(each.stem for each in models)
    own: dict[PurePath, SampleSource] = {}
    for model in models:
        places = {folder / model.parent} | ({folder} if stems[model.stem] == 1 else set())
        found = [path for place in sorted(places) if place.is_dir() for path in _under(place, model.stem)]
        if len(found) > 1:
            raise InputError(
                "two sources of samples have the model's name",
                where=str(model),
                why=" and ".join(map(str, found)),
                mend="keep one of them",
            )
        if found:
            own[model] = str(found[0])
    if not own:
        return shared, f"{_named(source)} for all models"
    if missing := [each for each in models if each not in own]:
        raise InputError(
            f"{len(own)} models have samples of their own, and {len(missing)} have none",
            where=str(missing[0]),
            why=f"{next(iter(own.values()))} is named as a model is",
            mend=f"add {folder / missing[0].with_suffix('')}, or name one source that is for all models",
        )
    return own, f"{_named(source)} holds some for each model"


def _under(place: Path, stem: str) -> list[Path]:
    """What has the name, with or without a suffix."""
    found = [each for each in place.iterdir() if each.name == stem or (each.is_file() and each.stem == stem)]
    return sorted(each for each in found if each.suffix != ".onnx")


def _named(source: SampleSource) -> str:
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return getattr(source, "__qualname__", type(source).__name__)
