from __future__ import annotations

import dataclasses
import itertools
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from onnxslim.cli import main
from onnxslim.commands.table import VERBS
from onnxslim.graph import parse
from onnxslim.pipeline import Context, Store, parse_recipe
from onnxslim.report import ModelFacts, Report
from onnxslim.samples import Sample
from tests.documents import DIGITS, ROOT, blocks, commands, shorten_latency, write_digit_samples


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the documents take for granted: a model, samples, the recipe."""
    shutil.copy(DIGITS, tmp_path / "model.onnx")
    write_digit_samples(tmp_path / "samples")
    (tmp_path / "recipe.toml").write_text(blocks("README.md", "toml")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    shorten_latency(monkeypatch)
    return tmp_path


def test_the_readmes_commands_run(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = commands("README.md")
    assert len(lines) >= 10
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "onnxslim"
        if arguments[0] == "compress" and "--recipe" not in arguments:
            arguments += ["--time", "2s"]  # what it searches is tested elsewhere
        code = main(arguments)
        said = capfd.readouterr()
        assert code == 0, line
        assert all(each.startswith("onnxslim: ") for each in said.err.splitlines()), line
        assert "error" not in said.err, line
        assert said.out.strip(), line


def test_the_readmes_python_runs(workplace: Path) -> None:
    (code,) = blocks("README.md", "python")
    exec(compile(code, "README.md", "exec"), {})
    assert (workplace / "small.onnx").stat().st_size <= DIGITS.stat().st_size


def test_the_readmes_recipe_is_one() -> None:
    assert [each.name for each in parse_recipe(blocks("README.md", "toml")[0])] == [
        "slim",
        "quantize",
        "store",
        "encode",
    ]


def test_the_documented_keys_are_those_of_the_results() -> None:
    keys = re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "json.md").read_text(), re.MULTILINE)
    fields = [field.name for cls in (Report, ModelFacts) for field in dataclasses.fields(cls)]
    assert keys == ["schema", *fields]


def test_the_sample_report_has_the_lines_of_a_real_one(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = "compress model.onnx -o small.onnx --samples samples --metric agreement --time 5s"
    assert main(arguments.split()) == 0
    (shown,) = blocks("README.md", "text")
    real = capfd.readouterr().out

    def labels(text: str) -> list[str]:
        starts = (re.match(r"[a-zA-Z][\w /()-]*?(?=:|  )", line) for line in text.splitlines())
        return [start[0].split(" (")[0].split(" top1")[0].split(" agreement")[0] for start in starts if start]

    assert len(labels(shown)) > 10
    # What the measured times decide, and the second latency of a machine with several CPUs.
    optional = {"tried and dropped", "why", "skipped", "parameters", "MACs", "kept", "int8 marks"}

    def kept(text: str) -> list[str]:
        return [label for label, _ in itertools.groupby(labels(text)) if label not in optional]

    assert kept(real) == kept(shown)


def test_the_readme_lists_every_verb() -> None:
    text = (ROOT / "README.md").read_text().partition("## Commands")[2].partition("\n## ")[0]
    table = [line for line in text.splitlines() if line.startswith("| `")]
    assert [line.split("`")[1].split()[0] for line in table] == list(VERBS)


MODEL = '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }'


def test_the_example_pass_runs_as_written(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition, use, measuring, joining, test = blocks("docs/writing-a-pass.md", "python")
    (workplace / "double_relu.py").write_text(definition)
    (workplace / "use.py").write_text(use)
    (workplace / "check.py").write_text(test)
    (workplace / "measure.py").write_text(f"{definition}\n\n{measuring}")
    try:
        runpy.run_path(str(workplace / "use.py"))
        runpy.run_path(str(workplace / "check.py"))["test_the_second_relu_goes"]()
        clips = runpy.run_path(str(workplace / "measure.py"))["ClipInputs"]
        samples = [Sample("a", {"x": np.array([1.0, -3.0], np.float32)})]
        result = clips().run(parse(MODEL), Context(samples=samples, store=Store(workplace / "clips.plan")))
        assert [action.detail for action in result.actions] == ["to 3"]
        (workplace / "joining.py").write_text(joining)
        offers = runpy.run_path(str(workplace / "joining.py"))["offers"]
        assert [each.label for each in offers(None, None, None, ())] == ["8 bits", "6 bits", "4 bits"]
    finally:
        sys.modules.pop("double_relu", None)


@pytest.mark.parametrize(
    "document", ["README.md", "CHANGELOG.md", "docs/README.md", "docs/json.md", "docs/writing-a-pass.md"]
)
def test_links_within_the_repository_exist(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target
