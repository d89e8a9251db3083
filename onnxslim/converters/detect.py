"""Which converter a source is for: by its form, never by reading what it holds."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from dataclasses import dataclass

from onnxslim.converters.kinds import OBJECT, Converter, Form, converter_of, converters
from onnxslim.errors import InputError
from onnxslim.samples.functions import is_function_name

ONNX = (".onnx", ".ort", ".onnxtxt", ".textproto")


@dataclass(frozen=True, slots=True)
class Detected:
    """A source and its converter.

    Attributes:
        source: Path, or ``module:object``.
        converter: None where the object that is imported decides.
        form: How it is stored.
    """

    source: str
    converter: Converter | None
    form: Form


def is_foreign(source: object) -> bool:
    """Whether a verb's model is no ONNX file but what a converter takes: seen by its name and by what is in a folder.

    >>> is_foreign("model.onnx"), is_foreign("models.mine:build"), is_foreign("model.pt2")
    (False, True, True)
    """
    if not isinstance(source, str | os.PathLike):
        return False
    text = os.fspath(source)
    if os.path.isfile(text) and _form(text) is None:
        return False
    return _form(text) is not None or (is_function_name(text) and not os.path.exists(text))


def detect(source: str | os.PathLike[str], kind: str | None = None) -> Detected:
    """The converter for a source.

    Args:
        source: Path of a file or folder, or ``module:object``.
        kind: The converter's name; None to go by the form.

    Raises:
        InputError: There is no such file, or no converter takes it.
    """
    text = os.fspath(source)
    named = None if kind is None else converter_of(kind)
    if is_function_name(text) and not os.path.exists(text):
        return Detected(text, named, Form(OBJECT))
    if not os.path.exists(text):
        raise InputError("there is no such model", where=text, mend="name a file or folder, or module:object")
    if text.lower().endswith(ONNX):
        raise InputError("it is an ONNX file already", where=text, mend="leave convert out: every verb reads it")
    found = _form(text) if named is None else _form_in(text, named, named.named_forms)
    if found is None:
        shown = ", ".join(str(form) for each in converters().values() for form in each.forms)
        raise InputError(
            "no converter takes it" if named is None else f"{named.kind} models do not come in this form",
            where=text,
            mend=f"the forms are {shown} and module:object"
            if named is None
            else f"use {', '.join(map(str, (*named.forms, *named.named_forms))) or OBJECT}",
        )
    return Detected(text, *found)


def _form(path: str) -> tuple[Converter, Form] | None:
    return next((found for each in converters().values() if (found := _form_in(path, each)) is not None), None)


def _form_in(path: str, converter: Converter, more: Sequence[Form] = ()) -> tuple[Converter, Form] | None:
    for form in (*converter.forms, *more):
        if form.folder:
            if os.path.isdir(path) and fnmatch.filter(os.listdir(path), form.name):
                return converter, form
        elif path.lower().endswith(form.name) and not os.path.isdir(path):
            return converter, form
    return None
