"""The ways to compress a model that are compared, each run as a whole process on the same samples.

Only the standard library is imported, for the reason that `tools.slim_runs` gives.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tools.quantize_runs import ENVIRONMENTS, quantize
from tools.slim_runs import OURS, run

Row = dict[str, Any]
GOALS = ("balanced", "smallest", "fastest")
SEARCHES = {f"ours-{goal}": goal for goal in GOALS}
"""Name -> goal of ``compress``."""


def recipe(*passes: str, **options: float | str) -> str:
    """The text of a recipe, each option with the pass that it names: ``prune_macs=0.5``."""
    parts = []
    for name in passes:
        own = {key.partition("_")[2]: value for key, value in options.items() if key.startswith(f"{name}_")}
        parts.append(
            "\n".join([f'[[pass]]\nname = "{name}"', *(f"{key} = {json.dumps(value)}" for key, value in own.items())])
        )
    return "\n\n".join(parts) + "\n"


VERBS = {
    "ours-quantize": ("quantize",),
    "ours-quantize-ort": ("quantize", "--ops", "onnxruntime"),
    "ours-prune": ("prune", "--macs", "0.5"),
}
"""Name -> a verb and its options."""
_INT8 = ("quantize", "store", "encode")
RECIPES = {
    "ours-prune8-int8": recipe("slim", "prune", *_INT8, prune_macs=0.8, encode_encoding="folded"),
    "ours-prune5-int8": recipe("slim", "prune", *_INT8, prune_macs=0.5, encode_encoding="folded"),
    "ours-recipe": recipe("slim", *_INT8, encode_encoding="folded"),
}
"""Name -> a recipe for ``compress``; the last is what the verb did by itself before it searched, and few values packed
as ``quantize`` packs them."""
SINGLES = (*VERBS, *RECIPES)
PEERS = {
    "ort-all": "ort",
    "ort-core": "ort",
    "onnxsim-auto": "onnxsim",
    "onnxsim-prune": "onnxsim",
    "nncf-control": "nncf",
    "quark": "quark",
}
"""Tool -> its environment. Both of onnxruntime are U8/S8 per channel after its own preparation."""
assert all(tool in ENVIRONMENTS[name] for tool, name in PEERS.items())
TOOLS = (*SEARCHES, *SINGLES, *PEERS)
DEFINED = "tools.compress_samples"
"""The module of ours's samples and metric."""
GIVEN = "ONNXSLIM_BENCH_SAMPLES"
"""Environment variable that it reads: the file of the samples."""
BEST = re.compile(r"best\D*\d")
"""What a line of progress says once there is a valid result."""
OFTEN = 0.1
"""Seconds between two looks at the journal and the progress of a run."""


def command(tool: str, python: str, source: Path, target: Path, options: Row) -> list[str]:
    """The command line of one of ours.

    Args:
        tool: One of `SEARCHES` or `SINGLES`.
        python: The Python of this project's environment.
        source: The model.
        target: Where the result goes; a recipe and the folder of the search go beside it.
        options: ``max_drop``, and for a search ``time``, ``work`` (a folder, None for one beside the result) and
            ``more`` options.
    """
    given = ["--samples", f"{DEFINED}:samples", "--metric", f"{DEFINED}:metric", "--max-drop", str(options["max_drop"])]
    paths, beside = [str(source), "-o", str(target)], target.parent
    if tool in SEARCHES:
        search = [
            "--goal",
            SEARCHES[tool],
            "--time",
            options["time"],
            "--work",
            str(options["work"] or beside / "work"),
        ]
        words = ["compress", *paths, *given, *search, *options["more"]]
    elif tool in RECIPES:
        (beside / "recipe.toml").write_text(RECIPES[tool])
        words = ["compress", *paths, *given, "--recipe", str(beside / "recipe.toml")]
    else:
        verb, *rest = VERBS[tool]
        words = [verb, *paths, *given, *rest]
    return [python, "-m", "onnxslim", *words, "--json"]


def compress(tool: str, python: str, source: Path, root: Path, folder: Path, options: Row) -> Row:
    """Runs one tool: its cost, its error where it wrote nothing, and of ours what its report tells.

    Args:
        tool: One of `TOOLS`.
        python: The Python that it runs in.
        source: The model.
        root: Where the samples lie, as `tools.quantize_judge` writes them.
        folder: Empty; holds the result as ``model.onnx``.
        options: As of `command` without ``work``, ``timeout`` in seconds, whether all goals ``share`` a journal, and
            ``time_later``, that those have which find one.
    """
    if tool in PEERS:
        return quantize(tool, python, source, root / "peers", folder, options["timeout"])
    target, progress = folder / "model.onnx", folder / "progress.txt"
    variables = {GIVEN: str(root / "given.pickle")}
    work = root / "work" if options["share"] else None
    later = work is not None and work.exists() and options["time_later"]
    words = command(tool, python, source, target, {**options, "work": work, "time": later or options["time"]})
    with Watch(work or folder / "work", progress) as watch:
        cost = run(OURS, words, target, folder, options["timeout"], variables=variables, progress=progress)
    made = cost.to_json()
    made["command"] = " ".join(["onnxslim", *words[3:]]).replace(f"{folder}/", "")
    if tool in SEARCHES:
        made |= {"first_seconds": watch.first, "journal": dict(watch.counts)}
    text = (folder / "log.txt").read_text()
    if "{" in text:
        made["report"] = brief(json.loads(text[text.index("{") :]))
    if cost.error:
        made["error"] = f"refused: {cost.error}"
    return made


def brief(report: Row) -> Row:
    """Of our report what the tables tell."""
    kept = {key: report.get(key) for key in ("decision", "reason", "notes", "error", "front")}
    kept["actions"] = {step["name"]: len(step["result"]["actions"]) for step in report.get("steps", [])}
    return kept


def journal(work: Path) -> Iterator[Row]:
    """The entries of all journals in a folder; a last line that was not finished is none."""
    for path in sorted(work.rglob("*.jsonl")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            try:
                yield json.loads(line)
            except ValueError:  # a killed writer: the line before the one that a resumed run began
                continue


def valid(entry: Row) -> bool:
    """Whether an entry of a journal is a whole model that may be the result."""
    payload = entry.get("payload", {})
    return entry.get("kind") == "trial" and payload["bytes"] > 0 and not payload["reason"]


class Watch:
    """Watches a search from outside: when it had its first valid result, and how fast its journal grows.

    Attributes:
        first: Seconds until the journal or the progress told of a valid result; None: neither did.
        counts: Kind -> entries of the journal.
        spans: Kind -> the seconds at which its first and its last entry were seen, and how many followed the first.
    """

    def __init__(self, work: Path, progress: Path) -> None:
        self.work, self.progress = work, progress
        self.first: float | None = None
        self.counts: Counter[str] = Counter()
        self.spans: dict[str, tuple[float, float, int]] = {}
        self._size = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._ended.wait(OFTEN):
            self._look()

    def _look(self) -> None:
        now = time.monotonic() - self._began
        size = sum(path.stat().st_size for path in [*self.work.rglob("*.jsonl"), self.progress] if path.exists())
        if size == self._size:
            return
        self._size = size
        entries = list(journal(self.work))
        said = self.progress.read_text(errors="replace") if self.progress.exists() else ""
        if self.first is None and (any(map(valid, entries)) or BEST.search(said)):
            self.first = now
        counts = Counter(str(entry.get("kind")) for entry in entries)
        for kind, count in counts.items():
            if count != self.counts[kind]:
                began, _, already = self.spans.get(kind, (now, now, count))
                self.spans[kind] = (began, now, already)
        self.counts = counts

    def rate(self, kind: str) -> float | None:
        """Entries of a kind a minute, from the first that was seen to the last; None where that is one moment."""
        began, ended, already = self.spans.get(kind, (0.0, 0.0, 0))
        return 60 * (self.counts[kind] - already) / (ended - began) if ended > began else None
