"""Which packages an environment has."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable

from onnxslim.converters.child import interpreter
from onnxslim.errors import SetupError

_ASK = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in json.load(sys.stdin):
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def installed(python: str | None, names: Iterable[str]) -> dict[str, str]:
    """Distribution -> its version, of those that are there.

    Raises:
        SetupError: There is no such interpreter, or it fails.
    """
    path = interpreter(python)
    done = subprocess.run(
        [path, "-c", _ASK], input=json.dumps(sorted(set(names))), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SetupError("the interpreter cannot tell its packages", where=path, why=done.stderr.strip()[-300:])
    found: dict[str, str] = json.loads(done.stdout)
    return found
