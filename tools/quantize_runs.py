"""The quantizers that are compared, each run as a whole process on the same samples.

Only the standard library is imported, for the reason that `tools.slim_runs` gives.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tools.slim_runs import CHECKOUT, OURS, run

ENVIRONMENTS = {
    "ort": ("ort-default", "ort-all", "ort-core", "ort-dynamic"),
    "onnxsim": ("onnxsim", "onnxsim-full", "onnxsim-auto", "onnxsim-prune"),
    "nncf": ("nncf", "nncf-control"),
    "quark": ("quark",),
    "aimet": ("aimet",),
}
"""Environment -> the tools that run in it, as `tools.quantize_peers` knows them."""
PACKAGES = {"ort": "onnxruntime", "onnxsim": "onnxsim", "nncf": "nncf", "quark": "amd-quark", "aimet": "aimet-onnx"}
"""Environment -> the package that it is for."""
OURS_ORT, BEFORE = "ours-ort", "ours-before"
STATES = (OURS, OURS_ORT, BEFORE)
"""Ours for every runtime, ours with the operators of onnxruntime alone, and ours of another checkout."""
TOOLS = (*STATES, *(tool for tools in ENVIRONMENTS.values() for tool in tools))


def pythons(ours: str, peers: dict[str, str], before: Path | None = None) -> dict[str, str]:
    """Tool -> the Python that it runs in; only tools whose environment is there.

    Args:
        ours: The Python of this project's environment.
        peers: Environment -> its Python.
        before: Another checkout of this project, which runs in its own environment where it has one in ``.venv``.
    """
    made = {OURS: ours, OURS_ORT: ours}
    if before is not None:
        own = before / ".venv" / "bin" / "python"
        made[BEFORE] = str(own) if own.is_file() else ours
    return made | {tool: python for name, python in peers.items() for tool in ENVIRONMENTS[name]}


def peer_version(name: str, python: str) -> str:
    """The version of the package that an environment is for, and of its onnxruntime."""
    code = "import sys; from importlib.metadata import version; print(*(f'{n} {version(n)}' for n in sys.argv[1:]))"
    names = dict.fromkeys([PACKAGES[name], "onnxruntime"])
    done = subprocess.run([python, "-c", code, *names], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def quantize(
    tool: str,
    python: str,
    source: Path,
    samples: Path,
    folder: Path,
    timeout: float,
    before: Path | None = None,
) -> dict[str, Any]:
    """Runs one tool: its cost, its error where it wrote nothing, and of ours what its report decides.

    Args:
        tool: One of `TOOLS`.
        python: The Python that it runs in.
        source: The model.
        samples: Folder of ``.npz``.
        folder: Empty; holds the result as ``model.onnx``.
        timeout: Seconds after which it is killed.
        before: The checkout of ``ours-before``.
    """
    target, checkout = folder / "model.onnx", CHECKOUT
    if tool in STATES:
        command = [python, "-m", "onnxslim", "quantize", str(source), "-o", str(target)]
        command += ["--samples", str(samples), "--json"]
        command += ["--ops", "onnxruntime"] if tool == OURS_ORT else []
        if tool == BEFORE:
            assert before is not None
            checkout = before.resolve()
    else:
        # -P: a module of this folder must not be imported in place of a package of the same name.
        script = str(CHECKOUT / "tools" / "quantize_peers.py")
        command = [python, "-P", script, tool, str(source), str(samples), str(target)]
    cost = run(OURS if tool in STATES else tool, command, target, folder, timeout, checkout=checkout)
    made = cost.to_json()
    if cost.error:
        made["error"] = f"refused: {cost.error}"
    elif tool in STATES:
        made["report"] = brief((folder / "log.txt").read_text())
    return made


def brief(log: str) -> dict[str, Any]:
    """Of our report what the tables tell; warnings may stand before it."""
    report = json.loads(log[log.index("{\n") :])
    counts = {step["name"]: len(step["result"]["actions"]) for step in report["steps"]}
    return {
        "decision": report["decision"],
        "reason": report["reason"],
        "notes": report["notes"],
        "calibrated": report["calibrated"],
        "actions": counts,
        "macs": report.get("macs", {}),
    }
