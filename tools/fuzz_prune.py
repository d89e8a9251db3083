"""Removes random channels from random networks and compares what is left with four oracles (tests/fuzz/prune_check.py).

    python -m tools.fuzz_prune --graphs 2000 --seed 0 --jobs 2 [--json] [--save DIR] [--only BLOCK ...]

Printed: how many graphs had each block, and counterexamples with the seed that gives them again. The exit code is 1
where there are any.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path

import onnx

from tests.fuzz.nets import generate
from tests.fuzz.prune_check import check

CHUNK = 25
"""Graphs that a worker takes at once."""


@dataclass(frozen=True)
class Found:
    """One counterexample."""

    seed: int
    kind: str
    detail: str
    blocks: dict[str, int]


@dataclass
class Outcome:
    """What came of a run of seeds.

    Attributes:
        graphs: That were checked.
        skipped: That onnxruntime does not run.
        pruned: From which channels were removed.
        told: Whose outputs depend on what was removed.
        removed: Channels, in all.
        permuted: Groups, in all.
        blocks: Block -> pruned graphs that have it.
        opsets: Version -> pruned graphs.
        found: Counterexamples.
    """

    graphs: int = 0
    skipped: int = 0
    pruned: int = 0
    told: int = 0
    removed: int = 0
    permuted: int = 0
    blocks: Counter[str] = field(default_factory=Counter)
    opsets: Counter[int] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


def run(seeds: Sequence[int], only: Sequence[str] = ()) -> Outcome:
    """Checks the networks of ``seeds`` one after the other."""
    outcome = Outcome()
    for seed in seeds:
        case = generate(seed, only=only)
        finding = check(case.model, case.feeds, seed)
        outcome.graphs += 1
        outcome.skipped += finding.kind == "skipped"
        outcome.removed += finding.removed
        outcome.permuted += finding.permuted
        outcome.told += finding.told
        if finding.removed:
            outcome.pruned += 1
            outcome.blocks.update(case.built.keys())
            outcome.opsets[case.model.opset_import[0].version] += 1
        if finding.wrong:
            outcome.found.append(Found(seed, finding.kind, finding.detail, dict(case.built)))
    return outcome


def campaign(first: int, count: int, jobs: int, only: Sequence[str] = ()) -> Outcome:
    """Checks ``count`` networks in ``jobs`` processes; the outcome does not depend on their number."""
    portions = [range(start, min(start + CHUNK, first + count)) for start in range(first, first + count, CHUNK)]
    with ProcessPoolExecutor(jobs) as pool:
        return sum(pool.map(run, portions, [only] * len(portions)), Outcome())


def report(outcome: Outcome) -> str:
    """The table of blocks and the counterexamples."""
    lines = [
        f"{outcome.graphs} graphs, {outcome.skipped} that onnxruntime does not run",
        f"{outcome.pruned} pruned, {outcome.told} of them with outputs that depend on what was removed",
        f"{outcome.removed} channels removed, {outcome.permuted} groups permuted",
        f"opsets: {dict(sorted(outcome.opsets.items()))}",
        "",
        "graphs  block",
    ]
    lines += [f"{count:6d}  {name}" for name, count in sorted(outcome.blocks.items(), key=lambda x: (-x[1], x[0]))]
    for each in outcome.found:
        lines += ["", f"seed {each.seed}: {each.kind}: {each.detail}", f"blocks: {each.blocks}"]
    lines += ["", f"{len(outcome.found)} counterexamples"]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="the first seed; graph i has seed + i")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", action="append", default=[], help="only this block; may be repeated")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", type=Path, help="a folder for the models of counterexamples")
    options = parser.parse_args()
    outcome = campaign(options.seed, options.graphs, options.jobs, options.only)
    if options.save and outcome.found:
        options.save.mkdir(parents=True, exist_ok=True)
        for each in outcome.found:
            onnx.save(generate(each.seed, only=options.only).model, options.save / f"{each.seed}.onnx")
    if options.json:
        found = [each.__dict__ for each in outcome.found]
        print(json.dumps({**outcome.__dict__, "found": found}, indent=1))
    else:
        print(report(outcome))
    return 1 if outcome.found else 0


if __name__ == "__main__":
    sys.exit(main())
