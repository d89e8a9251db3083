"""``module:function`` found and imported, with the working folder on the path as other tools have it."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from onnxslim.errors import InputError, did_you_mean, failed

_SPEC = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def is_function_name(text: str) -> bool:
    """Whether ``text`` has the form ``package.module:function``."""
    return _SPEC.fullmatch(text) is not None


def import_function(spec: str, *, what: str) -> Callable[..., Any]:
    """The function that ``module:function`` names.

    Args:
        spec: The name.
        what: What it is wanted for, for the messages: ``"metric"``, ``"source of samples"``.

    Raises:
        InputError: The name is malformed, the module cannot be imported, or has no such callable.
        OutOfMemory: The memory ran out while the module was imported.
    """
    if not is_function_name(spec):
        raise InputError(f"{spec!r} names no function", where=what, mend="write it as module:function")
    name, _, attribute = spec.partition(":")
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        own = name == missing or name.startswith(f"{missing}.")
        if own and name.endswith(".py"):
            raise InputError(
                f"{name!r} is a file, not a module", where=f"{what} {spec}", mend=f"write {name[:-3]}:{attribute}"
            ) from error
        raise InputError(
            f"there is no module {missing!r}" if own else f"module {name!r} needs {missing!r}, which is not installed",
            where=f"{what} {spec}",
            mend=f"put {missing}.py into {folder} or install it" if own else f"install {missing}",
        ) from error
    except (Exception, SystemExit) as error:  # a user's module may fail in any way
        raise failed(
            f"module {name!r} failed when it was imported",
            error,
            where=f"{what} {spec}",
            mend="import it in Python alone to see where",
        ) from error
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
    found = getattr(module, attribute, None)
    if not callable(found):
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        state = "is no function" if hasattr(module, attribute) else "does not exist"
        raise InputError(
            f"{attribute!r} {state} in module {name!r}", where=f"{what} {spec}", mend=did_you_mean(attribute, functions)
        )
    return found  # type: ignore[no-any-return]
