"""The slimmers that are compared, each run as a whole process: what it costs.

Only the standard library is imported, and little of it: a child's peak memory starts at that of the process that
started it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
"""Where the code lies that is measured as ours."""
OURS, VERIFIED = "ours", "ours verified"
PEERS = ("onnxslim", "onnxsim", "onnxoptimizer", "onnxscript", "ort")

_ONNXSCRIPT = """
import sys, onnx_ir, onnxscript.optimizer
model = onnx_ir.load(sys.argv[1])
onnxscript.optimizer.optimize(model)
onnx_ir.save(model, sys.argv[2])
"""
_ORT = """
import sys, onnxruntime
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
options.optimized_model_filepath = sys.argv[2]
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
"""


@dataclass(frozen=True)
class Cost:
    """What one process took. ``error`` is empty where it wrote its output."""

    cpu_seconds: float
    wall_seconds: float
    peak_rss_bytes: int
    error: str

    def to_json(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self)


def commands(ours: str, peers: Path | None) -> dict[str, list[str]]:
    """Tool -> its command line, to which input and output are appended (`command_line`).

    Args:
        ours: The Python of this project's environment.
        peers: Folder of environments named after the packages that they hold; None for none of them.
    """
    made = {OURS: [ours, "-m", "onnxslim", "slim", "--no-verify"], VERIFIED: [ours, "-m", "onnxslim", "slim"]}
    if peers is None:
        return made
    python = {name: str(peers / name / "bin" / "python") for name in PEERS}
    return {
        **made,
        "onnxslim": [str(peers / "onnxslim" / "bin" / "onnxslim")],
        "onnxsim": [str(peers / "onnxsim" / "bin" / "onnxsim")],
        "onnxoptimizer": [python["onnxoptimizer"], "-m", "onnxoptimizer"],
        "onnxscript": [python["onnxscript"], "-c", _ONNXSCRIPT],
        "ort": [python["onnxscript"], "-c", _ORT],  # its environment holds onnxruntime too
    }


def command_line(tool: str, command: list[str], source: Path, target: Path) -> list[str]:
    """The whole command."""
    if tool in (OURS, VERIFIED):
        return [*command, str(source), "-o", str(target), "--quiet"]
    return [*command, str(source), str(target)]


def run(
    tool: str,
    command: list[str],
    target: Path,
    folder: Path,
    timeout: float,
    *,
    checkout: Path = CHECKOUT,
    variables: Mapping[str, str] | None = None,
    progress: Path | None = None,
    started: Callable[[int], object] = lambda _: None,
) -> Cost:
    """Runs one process to its end and takes its times (CPU: user and system, all threads) and peak memory.

    Args:
        tool: Whose command it is; a path that leads Python to ours is kept from the peers.
        command: The command.
        target: The file that it is to write.
        folder: Its working directory.
        timeout: Seconds of wall time after which it is killed.
        checkout: Whose code ours runs.
        variables: Of the environment, besides ours.
        progress: Where standard error goes; None: into the log, with standard output.
        started: Called with the id of the process, which leads a session of its own.
    """
    # Installed packages have their bytecode; a checkout is to have its own too, from the first run on.
    unwanted = ["PYTHONDONTWRITEBYTECODE", *([] if tool in (OURS, VERIFIED) else ["PYTHONPATH"])]
    environment = {key: value for key, value in os.environ.items() if key not in unwanted}
    if tool in (OURS, VERIFIED):
        environment["PYTHONPATH"] = str(checkout)  # not whatever is installed: the command runs in another folder
    environment |= variables or {}
    log = folder / "log.txt"
    said = progress or log
    with log.open("wb") as output, open(progress or os.devnull, "wb") as apart:
        errors = output if progress is None else apart
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=errors, start_new_session=True
        )
        began = time.monotonic()
        started(process.pid)
        killer = threading.Timer(timeout, os.killpg, (process.pid, signal.SIGKILL))
        killer.start()
        _, status, used = os.wait4(process.pid, 0)
        wall_seconds = time.monotonic() - began
        killer.cancel()
    code = process.returncode = os.waitstatus_to_exitcode(status)
    error = ""
    if wall_seconds >= timeout:
        error = f"killed after {timeout:.0f} s"
    elif code:
        lines = said.read_text(errors="replace").strip().splitlines()
        error = f"exit code {code}: {lines[-1][:300] if lines else ''}"
    elif not target.exists():
        error = "wrote nothing"
    return Cost(used.ru_utime + used.ru_stime, wall_seconds, used.ru_maxrss * 1024, error)
