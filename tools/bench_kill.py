"""Kills writers with SIGKILL before they commit, and runs what is left. Ends commands by SIGTERM.

    python tools/bench_kill.py --kills 200 --terms 100

Four cases: one file or external data, over the model that the weights are mapped from or to a new path. A killed
writer must leave a model that loads in onnxruntime and computes the old outputs or the new ones (at a new path: none,
or the new). A kill counts where the writer had created its first file and the model had not yet been replaced, as its
outputs show. Leftovers of a killed writer stay in the folder for the writers that follow; no data file may be left in
the end that the model does not refer to.

SIGTERM comes at a random moment of a whole command: slimming, with the weights in one file or in two, and timing, which
has child processes. Nothing may be left: no temporary file, no file beside the output, no process. The output is the
old model or the new one.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import helper, numpy_helper

from onnxslim.graph import load, save

SIZE = 1 << 17


def make(fill: float) -> onnx.ModelProto:
    """Y = x + w0 + ... + w3: 2 MiB of weights that sum up to 4 * ``fill``."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Add", [f"a{at}" if at else "x", f"w{at}"], [f"a{at + 1}" if at < 3 else "y"])
        for at in range(4)
    ]
    weights = [numpy_helper.from_array(np.full(SIZE, fill, np.float32), f"w{at}") for at in range(4)]
    graph = helper.make_graph(nodes, "g", [value("x", 1, [SIZE])], [value("y", 1, [SIZE])], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def compute(path: Path) -> float:
    """The one number that all outputs are; NaN where they differ."""
    outputs = ort.InferenceSession(path).run(None, {"x": np.zeros(SIZE, np.float32)})[0]
    return float(outputs[0]) if outputs.min() == outputs.max() else float("nan")


def announced(pipe: int) -> None:
    """Makes this process say W on ``pipe`` when it creates its first file, and C when it has replaced the model."""
    open_, replace = os.open, os.replace

    def opening(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        descriptor = open_(path, flags, *args, **kwargs)
        if flags & os.O_CREAT:
            os.write(pipe, b"W")
        return descriptor

    def replacing(*args: Any, **kwargs: Any) -> None:
        replace(*args, **kwargs)
        os.write(pipe, b"C")

    setattr(os, "open", opening)  # noqa: B010  (mypy would have the exact signature)
    setattr(os, "replace", replacing)  # noqa: B010


def spawn(work: Callable[[], None]) -> tuple[int, int]:
    """Forks a writer; returns its process id and the pipe that it announces on."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            announced(writer)
            work()
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    return child, reader


def trial(work: Callable[[], None], delay: float) -> str:
    """One killed writer: the letters that it had announced, and ``X`` where it ended by itself before the kill."""
    child, reader = spawn(work)
    said = os.read(reader, 1)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    while select.select([reader], [], [], 0)[0]:
        more = os.read(reader, 16)
        if not more:
            break
        said += more
    os.close(reader)
    if os.WIFEXITED(status):
        if os.WEXITSTATUS(status):
            raise RuntimeError("a writer failed by itself")
        return "X"
    return said.decode()


def window(work: Callable[[], None]) -> float:
    """Seconds from the first write to the commit of an undisturbed writer."""
    child, reader = spawn(work)
    started = 0.0
    ended = 0.0
    while letters := os.read(reader, 1):
        if letters == b"W" and not started:
            started = time.perf_counter()
        if letters == b"C":
            ended = time.perf_counter()
    os.waitpid(child, 0)
    os.close(reader)
    return ended - started


def _living(group: int) -> list[str]:
    """The processes of a group that live on, each with its state and command; ended ones that nobody reaped are none.

    They are given a second: the system takes a moment to end the children of a dead parent.
    """
    found: list[str] = []
    for _ in range(50):
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                name, rest = (place / "stat").read_text().rsplit(")", 1)
                command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it ended meanwhile
                continue
            state, _, its_group = rest.split()[:3]
            if int(its_group) == group and state not in "ZX":
                found.append(f"{state} {name.partition('(')[2]} {command[:80]}")
        if not found:
            break
        time.sleep(0.02)
    return found


def terminate(command: list[str], folder: Path, scratch: Path, delay: float) -> tuple[int, list[str]]:
    """Runs a command in a session of its own, ends it by SIGTERM after ``delay`` seconds, and says what is left."""
    environment = dict(os.environ) | {"TMPDIR": str(scratch)}
    quiet = subprocess.DEVNULL
    child = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, env=environment, start_new_session=True)
    try:
        child.wait(delay)
    except subprocess.TimeoutExpired:
        child.terminate()
    code = child.wait()
    left = [f"TMPDIR/{each.relative_to(scratch)}" for each in scratch.rglob("*")]
    left += [each.name for each in folder.iterdir() if each.name.startswith(".")]
    used = {entry.value for tensor in initializers(folder / "model.onnx") for entry in tensor.external_data}
    left += [each.name for each in folder.glob("*.data") if each.name not in used]
    if living := _living(child.pid):
        os.killpg(child.pid, signal.SIGKILL)
        left += [f"process {each}" for each in living]
    return code, left


def initializers(path: Path) -> list[onnx.TensorProto]:
    """Of a model; none where there is no file."""
    return list(onnx.load(path, load_external_data=False).graph.initializer) if path.exists() else []


def end_commands(count: int, folder: Path, rng: random.Random) -> tuple[collections.Counter[str], list[str]]:
    """Ends ``count`` commands by SIGTERM at random moments; returns the exit codes, and whatever was left."""
    place, scratch = folder / "terms", folder / "scratch"
    place.mkdir()
    scratch.mkdir()
    target, source = place / "model.onnx", folder / "1" / "source.onnx"
    program = os.path.join(os.path.dirname(sys.executable), "onnxslim")
    slim = [program, "slim", str(source), "-o", str(target)]
    commands = [[*slim, "--external-data"], [*slim, "--no-external-data"], [program, "bench", str(source)]]
    lengths = []
    for command in commands:
        started = time.perf_counter()
        terminate(command, place, scratch, 600.0)
        lengths.append(time.perf_counter() - started)
    codes: collections.Counter[str] = collections.Counter()
    found: list[str] = []
    for turn in range(count):
        at = turn % len(commands)
        code, left = terminate(commands[at], place, scratch, rng.uniform(0, 1.05 * lengths[at]))
        codes[str(code)] += 1
        if target.exists() and compute(target) != 4.0:
            left.append("a wrong model")
        found += [f"turn {turn} ({commands[at][1]}, exit code {code}): {each}" for each in left]
        for each in (*scratch.iterdir(), *(each for each in place.iterdir() if each.name.startswith("."))):
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    return codes, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="kills that must fall between first write and commit")
    parser.add_argument("--terms", type=int, default=100, help="commands that are ended by SIGTERM")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    table: dict[str, collections.Counter[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = []
        for fill in (1.0, 2.0):
            (folder / f"{fill:.0f}").mkdir()
            sources.append(folder / f"{fill:.0f}" / "source.onnx")
            save(load(make(fill)), sources[-1], external_data=True)
        cases = [(external, in_place) for external in (False, True) for in_place in (True, False)]
        for external, in_place in cases:
            label = f"{'external data' if external else 'one file'}, {'in place' if in_place else 'new path'}"
            counts = table[label] = collections.Counter()
            place = folder / label.replace(" ", "-")
            place.mkdir()
            target = place / "model.onnx"
            turn = 0
            length = 0.0
            while counts["inside"] < -(-options.kills // len(cases)):
                old, new = (4.0, 8.0) if turn % 2 else (8.0, 4.0)
                turn += 1
                if in_place:
                    save(load(sources[int(old // 4) - 1]), target, external_data=external)
                else:
                    target.unlink(missing_ok=True)

                def work(new: float = new) -> None:
                    model = load(target if in_place else sources[int(new // 4) - 1])  # noqa: B023
                    if in_place:  # noqa: B023
                        for value in model.graph.initializers.values():
                            assert value.const_value is not None
                            scaled = value.const_value.numpy() * np.float32(new / (12 - new))
                            value.const_value = ir.tensor(scaled, name=value.name)
                    save(model, target, external_data=external)  # noqa: B023

                if not length:
                    length = window(work)
                    counts["window_ms"] = round(1000 * length)
                    continue
                said = trial(work, rng.uniform(0, 1.05 * length))
                found = compute(target) if target.exists() else None
                if found not in ((old, new) if in_place else (None, new)):
                    counts["LOST OR WRONG"] += 1
                committed = "W" not in said or "C" in said or found == new
                counts["committed or ended" if committed else "inside"] += 1
            save(load(make(1.0)), target, external_data=external)  # sweeps what the last one left
            used = {entry.value for tensor in initializers(target) for entry in tensor.external_data}
            counts["ORPHANS"] = sum(each.name not in used for each in place.glob("*.data"))
            counts["left-over files"] = len(list(place.iterdir())) - 1
            shutil.rmtree(place)
            print(label, dict(counts), flush=True)
        codes, left = end_commands(options.terms, folder, rng)
        print("SIGTERM", dict(codes), "left:", left or "nothing", flush=True)
    inside = sum(counts["inside"] for counts in table.values())
    bad = sum(counts["LOST OR WRONG"] + counts["ORPHANS"] for counts in table.values())
    told = {"inside": inside, "lost_or_wrong_or_orphans": bad, "cases": table, "terms": codes, "left": left}
    print(json.dumps(told, indent=2))
    raise SystemExit(1 if bad or left else 0)


if __name__ == "__main__":
    main()
