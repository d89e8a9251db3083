"""Which module knows an object: by the libraries that its classes come from."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from typing import Any

from .base import LoadRequest, Refused

OBJECTS = {
    "torch": "pytorch",
    "lightgbm": "boosting",
    "xgboost": "boosting",
    "catboost": "boosting",
    "sklearn": "scikit",
    "imblearn": "scikit",
    "keras": "keras_models",
    "tf_keras": "keras_models",
    "tensorflow": "saved_models",
    "jax": "jax_functions",
    "jaxlib": "jax_functions",
    "flax": "jax_functions",
    "equinox": "jax_functions",
    "paddle": "paddle_models",
}
"""Library -> module of this package. The first one that an object's classes name counts."""


def libraries(found: object) -> set[str]:
    """Top-level packages of all classes of an object."""
    return {each.__module__.partition(".")[0] for each in type(found).__mro__}


def resolve(request: LoadRequest) -> None:
    """Takes apart what ``module:object`` named: a function is called, and a tuple is a model and its example inputs."""
    found = request.loaded
    if callable(found) and not libraries(found) & OBJECTS.keys():
        found = found()
    if isinstance(found, tuple) and found:
        request.arguments = found[1] if len(found) == 2 else found[1:]
        found = found[0]
    request.loaded = found


def module_of(request: LoadRequest) -> str:
    """The module for an object that was imported.

    Raises:
        Refused: No module knows it.
    """
    owners = list(_owners(request.loaded))
    for owner in owners:
        known = libraries(owner)
        for library, module in OBJECTS.items():
            if library in known:
                return module
    if callable(owners[-1]):  # a plain function, whose module has imported what it is of
        loaded = [library for library in ("tensorflow", "jax") if library in sys.modules]
        named = [library for library in loaded if library in _imported(owners[-1])] or loaded
        if len(named) == 1:
            return OBJECTS[named[0]]
    raise Refused(
        f"{request.source} is a {type(request.loaded).__name__}, which no converter knows",
        why="a model, or a function that returns (model, example inputs), is wanted",
        mend="name its framework with --from if it is one of {}".format(", ".join(dict.fromkeys(OBJECTS))),
    )


def _owners(found: Any) -> Iterator[Any]:
    """An object, and what it is a method of or a partial application of."""
    yield found
    if isinstance(found, functools.partial):
        yield from _owners(found.func)
    elif hasattr(found, "__self__"):
        yield from _owners(found.__self__)


def _imported(function: Any) -> set[str]:
    """Top-level packages that a function's module has imported under some name."""
    values = getattr(function, "__globals__", {}).values()
    names = {getattr(each, "__name__" if hasattr(each, "__path__") else "__module__", None) for each in values}
    return {str(name).partition(".")[0] for name in names}
