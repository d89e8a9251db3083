"""Which module knows an object: by the libraries that its classes come from."""

from __future__ import annotations

import sys

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
    "tensorflow": "keras_models",
    "jax": "jax_functions",
    "jaxlib": "jax_functions",
    "flax": "jax_functions",
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
    known = libraries(request.loaded)
    for library, module in OBJECTS.items():
        if library in known:
            return module
    if callable(request.loaded) and "jax" in sys.modules:
        return "jax_functions"  # a plain function, which the source's module has written with it
    raise Refused(
        f"{request.source} is a {type(request.loaded).__name__}, which no converter knows",
        why="a model, or a function that returns (model, example inputs), is wanted",
        mend="name its framework with --from if it is one of {}".format(", ".join(dict.fromkeys(OBJECTS))),
    )
