"""Slims random graphs without verification and checks what slimming promises of each.

    python -m tools.fuzz_slim --graphs 10000 --seed 0 --jobs 2 [--json] [--save DIR]

Every graph must validate, load, compute the same at three assignments of its symbolic dimensions, keep its interface,
not grow, and give the same bytes when it is slimmed again. Printed: how often each rule fired, and counterexamples,
minimised, as text. The exit code is 1 where there are any.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import onnx

from tests.fuzz.check import Finding, check
from tests.fuzz.generate import Case, generate
from tests.fuzz.shrink import describe, shrink

CHUNK = 50
"""Graphs that a worker takes at once."""


@dataclass(frozen=True)
class Found:
    """One counterexample."""

    seed: int
    kind: str
    detail: str
    rules: tuple[str, ...]
    nodes: int
    text: str


@dataclass(frozen=True)
class Outcome:
    """What came of a run of seeds."""

    fired: Counter[str]
    skipped: int
    graphs: int
    found: list[Found]
    broken: list[int]
    """Seeds whose result is right as written, but which onnxruntime's own optimizations break."""


def run(seeds: Sequence[int], families: Sequence[str] = (), minimise: bool = True) -> Outcome:
    """Checks the graphs of ``seeds`` one after the other."""
    fired: Counter[str] = Counter()
    skipped = 0
    found: list[Found] = []
    broken: list[int] = []
    for seed in seeds:
        case = generate(seed, families)
        finding = check(case.model, case.feeds)
        fired.update(finding.fired)
        skipped += finding.kind == "skipped"
        if finding.kind == "onnxruntime":
            broken.append(seed)
        if finding.wrong:
            found.append(_minimised(seed, case, finding) if minimise else _found(seed, case, finding))
    return Outcome(fired, skipped, len(seeds), found, broken)


def _minimised(seed: int, case: Case, finding: Finding) -> Found:
    def fails(candidate: Case) -> bool:
        try:
            return check(candidate.model, candidate.feeds).kind == finding.kind
        except Exception:  # a candidate may be no model at all; what matters is that it is not the same failure
            return False

    small = shrink(case, fails)
    return _found(seed, small, check(small.model, small.feeds))


def _found(seed: int, case: Case, finding: Finding) -> Found:
    nodes = len(case.model.graph.node)
    return Found(seed, finding.kind, finding.detail, tuple(sorted(finding.fired)), nodes, describe(case))


def chunks(first: int, count: int) -> Iterator[range]:
    """The seeds from ``first`` on, in portions."""
    for start in range(first, first + count, CHUNK):
        yield range(start, min(start + CHUNK, first + count))


def campaign(first: int, count: int, jobs: int, families: Sequence[str] = ()) -> Outcome:
    """Checks ``count`` graphs in ``jobs`` processes; the outcome does not depend on their number."""
    fired: Counter[str] = Counter()
    skipped = graphs = 0
    found: list[Found] = []
    broken: list[int] = []
    for part in _survivors(list(chunks(first, count)), jobs, families):
        fired.update(part.fired)
        found.extend(part.found)
        broken.extend(part.broken)
        skipped += part.skipped
        graphs += part.graphs
    return Outcome(fired, skipped, graphs, found, broken)


def _survivors(portions: list[range], jobs: int, families: Sequence[str]) -> Iterator[Outcome]:
    """The outcome of each portion. A process that dies is a counterexample, told by the seed that it died on."""
    doubtful: list[range] = []
    with ProcessPoolExecutor(jobs) as pool:
        pending = [(portion, pool.submit(run, portion, families)) for portion in portions]
        for portion, future in pending:
            try:
                yield future.result()
            except BrokenProcessPool:  # it, or one that ran beside it
                doubtful.append(portion)
    for portion in doubtful:
        try:
            with ProcessPoolExecutor(1) as pool:
                yield pool.submit(run, portion, families).result()
        except BrokenProcessPool:
            if len(portion) > 1:
                yield from _survivors([range(seed, seed + 1) for seed in portion], 1, families)
            else:
                died = Found(portion[0], "died", "the process that checked it was ended", (), 0, "")
                yield Outcome(Counter(), 0, 1, [died], [])


def report(outcome: Outcome) -> str:
    """The table of rules and the counterexamples."""
    lines = [f"{outcome.graphs} graphs, {outcome.skipped} that onnxruntime does not run"]
    lines += [f"right as written, broken by onnxruntime's optimizations: seeds {outcome.broken}", "", "rule  fired"]
    lines += [f"{rule}  {count}" for rule, count in sorted(outcome.fired.items(), key=lambda item: (-item[1], item[0]))]
    for each in outcome.found:
        lines += ["", f"seed {each.seed}: {each.kind}: {each.detail}", f"rules: {', '.join(each.rules)}", each.text]
    lines += ["", f"{len(outcome.found)} counterexamples"]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="the first seed; graph i has seed + i")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--family", action="append", default=[], help="only patterns of this family; may be repeated")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", type=Path, help="a folder for counterexamples: text and model")
    options = parser.parse_args()
    outcome = campaign(options.seed, options.graphs, options.jobs, options.family)
    if options.save and outcome.found:
        options.save.mkdir(parents=True, exist_ok=True)
        for each in outcome.found:
            header = f"seed {each.seed}\n{each.kind}: {each.detail}\nrules: {', '.join(each.rules)}\n\n"
            (options.save / f"{each.seed}.md").write_text(header + each.text)
            onnx.save(generate(each.seed, options.family).model, options.save / f"{each.seed}.onnx")
    if options.json:
        found = [each.__dict__ for each in outcome.found]
        record: dict[str, object] = {
            "graphs": outcome.graphs,
            "skipped": outcome.skipped,
            "fired": dict(sorted(outcome.fired.items())),
        }
        record["broken_by_onnxruntime"] = outcome.broken
        print(json.dumps({**record, "counterexamples": found}, indent=1))
    else:
        print(report(outcome))
    return 1 if outcome.found else 0


if __name__ == "__main__":
    sys.exit(main())
