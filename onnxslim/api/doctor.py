"""What of the environment helps or hinders: versions, CPU, clashes, and whether a model runs."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from typing import Literal

from onnxslim.errors import OnnxSlimError

OURS = "onnxslim-compiler"
THEIRS = "onnxslim"
"""PyPI's OnnxSlim: another project with the same import name."""
MIN_PYTHON = (3, 11)
MIN_FREE = 1 << 30
"""Bytes in the temporary folder below which large models may not be checked or timed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``warn`` costs speed or comfort, ``bad`` means that results cannot be had or trusted."""

    subject: str
    state: Literal["ok", "warn", "bad"]
    fact: str
    mend: str = ""


def doctor() -> list[Finding]:
    """Looks at everything that a result depends on. Nothing is changed, and nothing is sent anywhere."""
    return [
        _python(),
        *_packages(),
        find_clash(),
        _cpu(),
        _threads(),
        Finding("telemetry", "ok", "onnxruntime's is turned off wherever onnxslim runs it; onnxslim has none"),
        _space(),
        _tiny_model(),
    ]


def find_clash() -> Finding:
    """Whether PyPI's OnnxSlim is installed too: both own the folder ``onnxslim``, and pip mixes their files."""
    try:
        other = distribution(THEIRS).version
    except PackageNotFoundError:
        return Finding("clash", "ok", "PyPI's onnxslim is not installed beside this project")
    return Finding(
        "clash",
        "bad",
        f"PyPI's {THEIRS} {other} is installed too, and the files of both are mixed",
        f"pip uninstall {THEIRS}, then pip install --force-reinstall --no-deps {OURS}",
    )


def _python() -> Finding:
    found = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.version_info < MIN_PYTHON:
        return Finding("python", "bad", found, f"use Python {'.'.join(map(str, MIN_PYTHON))} or later")
    return Finding("python", "ok", found)


def _packages() -> list[Finding]:
    """The base dependencies, against the lower bounds that the distribution declares."""
    findings = [Finding("onnxslim", "ok", version(OURS))]
    for requirement in requires(OURS) or []:
        match = re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement)
        if match is None:  # of an extra, or without a bound
            continue
        name, bound = match[1], match[2]
        try:
            found = version(name)
        except PackageNotFoundError:
            findings.append(Finding(name, "bad", "not installed", f"pip install '{requirement}'"))
            continue
        if _numbers(found) < _numbers(bound):
            findings.append(Finding(name, "bad", f"{found} is older than {bound}", f"pip install '{requirement}'"))
        else:
            findings.append(Finding(name, "ok", found))
    return findings


def _numbers(text: str) -> tuple[int, ...]:
    """The release part of a version, without trailing zeros: ``1.20.0rc1`` -> (1, 20).

    >>> _numbers("1.21") <= _numbers("1.21.0.dev3"), _numbers("1.9") < _numbers("1.21")
    (True, True)
    """
    match = re.match(r"\d+(?:\.\d+)*", text)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _cpu() -> Finding:
    from onnxslim.execution import host_target

    target = host_target()
    fact = f"{platform.machine()}, target {target.name}: {target.notes}"
    if target.name == "x86-avx2":
        return Finding("cpu", "warn", fact, "measure int8 models on the machine that they are for")
    return Finding("cpu", "ok", fact)


def _threads() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if usable < 2:
        return Finding("threads", "warn", "1 CPU: whatever else runs disturbs latencies", "measure on 2 or more CPUs")
    return Finding("threads", "ok", f"{usable} CPUs usable; sessions use 1 thread unless --threads says otherwise")


def _space() -> Finding:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    fact = f"{free / 1e9:.1f} GB free in {folder}"
    if free < MIN_FREE:
        return Finding("space", "warn", fact, "free some, or set TMPDIR to a folder with more")
    return Finding("space", "ok", fact)


def _tiny_model() -> Finding:
    """Loads and runs a model of one node, and compares what comes out."""
    try:
        import numpy as np

        from onnxslim.execution import open_session
        from onnxslim.graph import parse

        text = '<ir_version: 8, opset_import: ["" : 13]> tiny (float[2] x) => (float[2] y) { y = Add(x, x) }'
        found = open_session(parse(text)).run({"x": np.array([1, -2], np.float32)})["y"]
    except (ImportError, OnnxSlimError) as error:
        return Finding("run", "bad", f"a model of one node does not run: {error}", f"reinstall {OURS} and onnxruntime")
    if found.tolist() != [2.0, -4.0]:
        return Finding("run", "bad", f"1 + 1, -2 - 2 came out as {found.tolist()}", "reinstall onnxruntime")
    return Finding("run", "ok", "a model of one node loads and gives the right numbers")
