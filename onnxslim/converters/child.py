"""A framework in a process of its own: a crash, a hang or a hostile file there is an error here and no more."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from onnxslim.converters.detect import Detected
from onnxslim.converters.kinds import OBJECT
from onnxslim.errors import CheckFailed, InputError, OnnxSlimError, SetupError
from onnxslim.execution import Feed

SECONDS = 1800.0
"""That one request may take: exporters of large models are slow."""
MAIN = Path(__file__).parent / "frameworks" / "main.py"


@dataclass(frozen=True, slots=True)
class TracedStep:
    """One operation of the framework.

    Attributes:
        name: As the framework names it.
        output: What it computed.
        users: Places of the steps that read it.
        value: Name that the exporter is likely to have given the output.
    """

    name: str
    output: np.ndarray
    users: tuple[int, ...]
    value: str


class ChildFramework:
    """A model in its framework, in another process; a context manager.

    Args:
        detected: The source.
        python: The interpreter of the framework's environment; None for this one.
        trust_code: Whether code that the source brings may run.

    Raises:
        SetupError: There is no such interpreter.
    """

    def __init__(self, detected: Detected, python: str | None = None, *, trust_code: bool = False) -> None:
        self._trust_code = trust_code
        self.detected = detected
        self.python = interpreter(python)
        self.framework = ""
        self.narrows = False
        self._rounds = False
        self.notes: list[str] = []
        self._folder = tempfile.mkdtemp(prefix="onnxslim-convert-")
        self._said: IO[bytes] = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed with this object
        self._files = 0
        try:
            self._process = subprocess.Popen(
                [self.python, str(MAIN)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                text=True,
                encoding="utf-8",
                start_new_session=os.name == "posix",
                env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"},
            )
        except OSError as error:
            self._said.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise SetupError(
                "the interpreter cannot be started", where=self.python, why=error.strerror or ""
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process and whatever it has started, and removes its files."""
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._said.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- what a framework does -------------------------------------------------------------------------------------

    def load(self, example: Mapping[str, np.ndarray] | None = None) -> None:
        """Loads the model.

        Args:
            example: Arrays of one sample, where the user gave samples.

        Raises:
            InputError: The source is no model that the framework can read.
            SetupError: A package is missing, or the process crashed.
        """
        converter = self.detected.converter
        made = self._ask(
            "load",
            "the model cannot be loaded",
            module="" if converter is None else converter.module,
            source=self.detected.source if self.detected.form.name == OBJECT else os.path.abspath(self.detected.source),
            form=self.detected.form.name,
            example=self._written(example) if example else "",
            trust_code=self._trust_code,
        )
        self.framework, self.narrows, self.notes = made["framework"], made["narrows"], list(made["notes"])
        self._rounds = bool(made["rounds"])

    def example(self) -> Feed | None:
        """Inputs that the model takes; None where the framework knows none."""
        into = self._file()
        if not self._ask("example", "the model has no example", into=into)["known"]:
            return None
        return _read(into)

    def export(
        self,
        path: str,
        *,
        opset: int | None = None,
        dynamic: Mapping[str, Mapping[int, str]] | None = None,
        exporter: str | None = None,
    ) -> tuple[str, list[str]]:
        """Writes the ONNX file.

        Returns:
            Name of the exporter, and notes.

        Raises:
            CheckFailed: The exporter failed.
        """
        made = self._ask(
            "export",
            "the model cannot be exported",
            failure=CheckFailed,
            path=path,
            opset=opset,
            dynamic={name: dict(axes) for name, axes in (dynamic or {}).items()},
            exporter=exporter,
        )
        return made["exporter"], list(made["notes"])

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The framework's outputs, by name where they have one.

        Raises:
            InputError: The framework fails on the feed.
        """
        into = self._file()
        names = self._ask("run", f"{self.framework} fails on an input", feed=self._written(feed), into=into)["names"]
        arrays = _read(into)
        return [(name, arrays[str(place)]) for place, name in enumerate(names)]

    def rounding(self, feed: Feed) -> list[float] | None:
        """By how much each output may differ by the framework's own account; None where it computes in floats."""
        if not self._rounds:
            return None
        found: list[float] | None = self._ask(
            "rounding", f"{self.framework} fails on an input", feed=self._written(feed)
        )["rounding"]
        return found

    def trace(self, feed: Feed) -> list[TracedStep] | None:
        """Every operation of the framework; None where it does not let us look."""
        into = self._file()
        steps = self._ask("trace", "the model cannot be looked into", feed=self._written(feed), into=into)["steps"]
        if steps is None:
            return None
        arrays = _read(into)
        return [
            TracedStep(each["name"], arrays[str(place)], tuple(each["users"]), each["value"])
            for place, each in enumerate(steps)
        ]

    # -- the pipe --------------------------------------------------------------------------------------------------

    def _ask(self, do: str, what: str, *, failure: type[OnnxSlimError] = InputError, **request: Any) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(SECONDS, process.kill)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        finally:
            late = not timer.is_alive()
            timer.cancel()
        if not line:
            raise self._ended(what, late=late)
        answer: dict[str, Any] = json.loads(line)
        if (error := answer.get("error")) is None:
            return answer
        if error["code"] == SetupError.exit_code:
            raise SetupError(
                error["what"], where=self.python, why=error["why"], mend=error["mend"] or self._install(error)
            )
        raise failure(
            what if not error["what"] else f"{what}: {error['what']}",
            where=self.detected.source,
            why=error["why"],
            mend=error["mend"],
        )

    def _install(self, error: Mapping[str, Any]) -> str:
        converter = self.detected.converter
        wanted = " ".join(converter.packages) if converter is not None else error.get("missing", "it")
        return f"{self.python} -m pip install {wanted}, or name the environment that has it with --python"

    def _ended(self, what: str, *, late: bool) -> OnnxSlimError:
        self._process.kill()
        code = self._process.wait()
        how = f"it took more than {SECONDS:.0f} s" if late else f"its process ended with exit code {code}"
        if code < 0 and not late:
            how = f"its process crashed ({signal.Signals(-code).name})"
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip().splitlines()
        last = f": {said[-1][:300]}" if said else ""
        return SetupError(what, where=self.detected.source, why=f"{how}{last}")

    def _file(self) -> str:
        self._files += 1
        return os.path.join(self._folder, f"{self._files}.npz")

    def _written(self, arrays: Mapping[str, np.ndarray]) -> str:
        path = self._file()
        plain = {name: np.asarray(each) for name, each in arrays.items()}
        plain = {name: each.astype(str) if each.dtype == object else each for name, each in plain.items()}
        with open(path, "wb") as file:
            np.savez(file, **plain)  # type: ignore[arg-type]
        return path


def _read(path: str) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as data:
        found = {name: data[name] for name in data.files}
    os.remove(path)
    return {name: each.astype(object) if each.dtype.kind == "U" else each for name, each in found.items()}


def interpreter(python: str | None) -> str:
    """The path of an interpreter, of a venv's where its folder is given; this one's for None.

    Raises:
        SetupError: There is none.
    """
    if python is None:
        return sys.executable
    found = shutil.which(python)
    if found is None and os.path.isdir(python):
        found = shutil.which(os.path.join(python, "bin" if os.name == "posix" else "Scripts", "python"))
    if found is None:
        raise SetupError(
            "there is no such interpreter", where=f"--python {python}", mend="name a python, or the folder of a venv"
        )
    return found
