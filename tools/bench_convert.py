"""Converts models of frameworks, compares their outputs, slims what came of them, and prints a table.

    make frameworks
    python -m tools.bench_convert --out R.json
    python -m tools.bench_convert --out R.json --only sklearn torch

Every function of the modules in `tools.convert_sources` is a source; it runs in the environment of its framework, in
``.frameworks`` or the folder that ``ONNXSLIM_FRAMEWORKS`` names. PyTorch's are exported by both exporters. Results are
added to those that the file holds.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxslim
from onnxslim.api.slim import simplify
from onnxslim.errors import OnnxSlimError
from tools.convert_sources.files import FILES

HERE = Path(__file__).parent / "convert_sources"
FRAMEWORKS = Path(os.environ.get("ONNXSLIM_FRAMEWORKS", Path(__file__).parents[1] / ".frameworks"))
WAYS: dict[str, tuple[dict[str, Any], ...]] = {"torch": ({"exporter": "dynamo"}, {"exporter": "torchscript"})}
"""Environment -> the options of each conversion."""
Row = dict[str, Any]


def sources() -> Iterator[tuple[str, str]]:
    """Environment and ``module:function`` of every source, without importing what makes it."""
    for path in sorted(HERE.glob("*_models.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield path.stem.removesuffix("_models"), f"tools.convert_sources.{path.stem}:{node.name}"


def written(environment: str, name: str, folder: Path) -> str:
    """The path of a source that is a file or folder, made in its environment."""
    made = folder / "source"
    made.mkdir()
    python = str(FRAMEWORKS / environment / "bin" / "python")
    words = [python, "-m", "tools.convert_sources.files", name, str(made)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=HERE.parents[1])
    if done.returncode:
        raise SystemExit(f"{name} cannot be made: {done.stderr[-1000:]}")
    return done.stdout.strip().splitlines()[-1]


def converted(environment: str, source: str, options: Row, folder: Path) -> Row:
    """One conversion and what slimming makes of it, or the message of what failed."""
    target, slim = folder / "model.onnx", folder / "slim.onnx"
    started = time.perf_counter()
    python = str(FRAMEWORKS / environment / "bin" / "python")
    try:
        report = onnxslim.convert(source, target, python=python, **options).report
        row: Row = {
            "framework": report.framework,
            "exporter": report.exporter,
            "parity": str(report.parity),
            "worst": report.parity.worst,
            "feeds": report.parity.feeds,
            "notes": list(report.notes),
            "bytes": report.size,
        }
        made = simplify(str(target), slim)
        row |= {"slim": made.report.decision, "slim_bytes": slim.stat().st_size, "slim_parity": str(made.report.parity)}
    except OnnxSlimError as error:
        row = {"error": str(error), "exit_code": error.exit_code, "written": target.exists()}
    return row | {"seconds": time.perf_counter() - started}


def markdown(results: dict[str, Row]) -> str:
    """One line for each source."""
    lines = ["| source | converted by | verified | bytes, slimmed |", "|---|---|---|---|"]
    for name, row in results.items():
        if "error" in row:
            lines.append(f"| {name} | no | {row['error'][:300].replace('|', '/')} | |")
        else:
            sizes = f"{row['bytes']:,} -> {row['slim_bytes']:,} ({row['slim']})"
            lines.append(f"| {name} | {row['framework']}, {row['exporter']} | {row['parity']} | {sizes} |")
    done = sum("error" not in row for row in results.values())
    lines.append(f"\n{done} of {len(results)} converted and verified.")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON with the results")
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="sources whose name holds one of these")
    parser.add_argument("--again", action="store_true", help="also what the file holds already")
    options = parser.parse_args(argv)
    results: dict[str, Row] = json.loads(options.out.read_text()) if options.out.exists() else {}
    files = [(environment, f"file:{name}") for name, environment in FILES.items()]
    for environment, source in [*sources(), *files]:
        for way in WAYS.get(environment, ({},)) if not source.startswith("file:") else ({},):
            name = " ".join([environment, source.partition(":")[2], *map(str, way.values())])
            if not any(text in name for text in options.only) or (name in results and not options.again):
                continue
            with tempfile.TemporaryDirectory() as place:
                folder, given, more = Path(place), source, {}
                if source.startswith("file:"):
                    given = written(environment, source.partition(":")[2], folder)
                    more = {"trust_code": True}
                results[name] = converted(environment, given, way | more, folder)
            options.out.write_text(json.dumps(results, indent=1))
            print(f"{name}: {results[name].get('error') or results[name]['parity']}", flush=True)
    print(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
