"""The child process: reads one request a line from standard input, answers one a line, both JSON; arrays go by file.

What the framework prints goes to standard error. Run as ``python main.py``.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from typing import Any

PACKAGE = "onnxslim_frameworks"
"""Name under which this package is imported in the child: its folder stays off the path."""


class FrameworkServer:
    """Answers requests.

    Args:
        importer: Imports a module of this package by name, or a file by its path.
    """

    def __init__(self, importer: Callable[[str], Any]) -> None:
        self._import = importer
        self._base = importer("base")
        self._model: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer, or ``error`` with what the user can do about it."""
        base = self._base
        try:
            return dict(getattr(self, "_" + request.pop("do"))(**request))
        except base.Refused as error:
            return {"error": {"what": error.what, "why": error.why, "mend": error.mend, "code": error.code}}
        except ModuleNotFoundError as error:
            return {
                "error": {
                    "what": f"the environment has no {error.name}",
                    "why": f"looked in that of {sys.executable}",
                    "mend": "",
                    "code": 3,
                    "missing": error.name,
                }
            }
        except (Exception, SystemExit) as error:
            return {"error": {"what": "", "why": base.last_line(error), "mend": "", "code": 2}}

    def _load(self, module: str, source: str, form: str, example: str, trust_code: bool) -> dict[str, Any]:
        arrays = read(example) if example else {}
        request = self._base.LoadRequest(source, form, arrays, trust_code=trust_code)
        if form == "module:object":
            request.loaded = self._base.import_object(source)
            kinds = self._import("kinds")
            kinds.resolve(request)
            module = module or kinds.module_of(request)
        self._model = self._import(module).load(request)
        return {
            "framework": self._model.framework,
            "narrows": self._model.narrows,
            "notes": self._model.notes,
            "rounds": hasattr(self._model, "rounding"),
        }

    def _example(self, into: str) -> dict[str, Any]:
        found = self._model.example()
        if found is not None:
            write(into, found)
        return {"known": found is not None}

    def _export(self, **options: Any) -> dict[str, Any]:
        options["dynamic"] = {
            name: {int(axis): size for axis, size in axes.items()} for name, axes in options["dynamic"].items()
        }
        made = self._model.export(self._base.ExportOptions(**options))
        return {"exporter": made.exporter, "notes": made.notes}

    def _run(self, feed: str, into: str) -> dict[str, Any]:
        found = self._model.run(read(feed))
        write(into, {str(place): array for place, (_, array) in enumerate(found)})
        return {"names": [name for name, _ in found]}

    def _rounding(self, feed: str) -> dict[str, Any]:
        return {"rounding": self._model.rounding(read(feed))}

    def _trace(self, feed: str, into: str) -> dict[str, Any]:
        steps = self._model.trace(read(feed))
        if steps is None:
            return {"steps": None}
        write(into, {str(place): step.output for place, step in enumerate(steps)})
        return {"steps": [{"name": each.name, "users": each.users, "value": each.value} for each in steps]}


def read(path: str) -> dict[str, Any]:
    """The arrays of a file."""
    import numpy as np

    with np.load(path, allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def write(path: str, arrays: dict[str, Any]) -> None:
    """Writes arrays; strings are kept as Unicode, for nothing is unpickled on the other side."""
    import numpy as np

    plain = {name: np.asarray(each) for name, each in arrays.items()}
    plain = {name: each.astype(str) if each.dtype == object else each for name, each in plain.items()}
    with open(path, "wb") as file:
        np.savez(file, **plain)  # type: ignore[arg-type]


def _importer() -> Callable[[str], Any]:
    here = os.path.dirname(os.path.abspath(__file__))
    spec = importlib.util.spec_from_file_location(
        PACKAGE, os.path.join(here, "__init__.py"), submodule_search_locations=[here]
    )
    assert spec is not None and spec.loader is not None  # noqa: PT018 - it stands beside this file
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)

    def find(name: str) -> Any:
        if not name.endswith(".py"):
            return importlib.import_module(f"{PACKAGE}.{name}")
        # A third party's converter: its file.
        spec = importlib.util.spec_from_file_location(f"{PACKAGE}.third_party", name)
        assert spec is not None and spec.loader is not None  # noqa: PT018 - the file is there
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return find


def main() -> None:
    """Serves until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a framework prints is not taken for an answer
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [each for each in sys.path if os.path.abspath(each or ".") != here]
    server = FrameworkServer(_importer())
    for line in sys.stdin:
        made = server.answer(json.loads(line))
        answers.write(json.dumps(made) + "\n")
        answers.flush()
    with contextlib.suppress(OSError):
        answers.close()


if __name__ == "__main__":
    main()
