from __future__ import annotations

import dataclasses
import itertools
import os
import re
import runpy
import shlex
import shutil
import subprocess
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
from tests.converters.environments import python_of
from tests.documents import DIGITS, ROOT, blocks, commands, shorten_latency, write_digit_samples

COMMANDS = "docs/commands.md"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the documents take for granted: a model, samples, the recipe."""
    shutil.copy(DIGITS, tmp_path / "model.onnx")
    write_digit_samples(tmp_path / "samples")
    (tmp_path / "recipe.toml").write_text(blocks(COMMANDS, "toml")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    shorten_latency(monkeypatch)
    return tmp_path


@pytest.mark.parametrize(("document", "least"), [("README.md", 3), (COMMANDS, 10), ("docs/callers.md", 3)])
def test_the_commands_of_documents_run(
    document: str, least: int, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = commands(document)
    assert len(lines) >= least
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


def test_the_documented_python_runs(workplace: Path) -> None:
    (code,) = blocks(COMMANDS, "python")
    exec(compile(code, COMMANDS, "exec"), {})
    assert (workplace / "small.onnx").stat().st_size <= DIGITS.stat().st_size


def test_the_documented_recipe_is_one() -> None:
    assert [each.name for each in parse_recipe(blocks(COMMANDS, "toml")[0])] == [
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
    (shown,) = blocks("docs/report.md", "text")
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


def test_the_documents_list_every_verb() -> None:
    text = (ROOT / COMMANDS).read_text().partition("\n## ")[0]
    table = [line for line in text.splitlines() if line.startswith("| `")]
    assert [line.split("`")[1].split()[0] for line in table] == list(VERBS)


def _project(folder: Path, text: str) -> None:
    """The module that the README's snippets take for granted."""
    (folder / "my_project.py").write_text(text)


def test_the_readmes_pipeline_is_exported_in_six_lines(workplace: Path) -> None:
    _, code = blocks("README.md", "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 6
    _project(
        workplace,
        "import numpy as np\n"
        "from sklearn.datasets import load_iris\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "x, y = load_iris(return_X_y=True)\n"
        "validation_inputs = x.astype(np.float32)\n"
        "pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(validation_inputs, y)\n",
    )
    try:
        exec(compile(code, "README.md", "exec"), {})
    finally:
        sys.modules.pop("my_project", None)
    assert (workplace / "pipeline.onnx").exists()


def test_the_readmes_net_is_exported_in_twelve_lines() -> None:
    code, _ = blocks("README.md", "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 12


@pytest.mark.frameworks
def test_the_readmes_net_is_exported(tmp_path: Path) -> None:
    code, _ = blocks("README.md", "python")
    _project(
        tmp_path,
        "import torch\n"
        "from torch import nn\n"
        "from torch.utils.data import DataLoader, TensorDataset\n"
        "torch.manual_seed(0)\n"
        "images = torch.rand(400, 1, 8, 8)\n"
        "labels = (images[:, 0, :4].mean((1, 2)) > images[:, 0, 4:].mean((1, 2))).long()\n"
        "net = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(1152, 2))\n"
        "step = torch.optim.Adam(net.parameters(), 3e-3)\n"
        "for _ in range(60):\n"
        "    step.zero_grad(); nn.functional.cross_entropy(net(images), labels).backward(); step.step()\n"
        "validation = DataLoader(TensorDataset(images, labels), batch_size=16)\n",
    )
    (tmp_path / "run.py").write_text(code.replace('"smallest"', '"smallest", "time": 5.0'))
    python = python_of("torch")
    subprocess.run([python, "run.py"], cwd=tmp_path, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert (tmp_path / "small.onnx").exists()
    assert (tmp_path / "report.html").exists()


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
    "document",
    [
        "README.md",
        "CHANGELOG.md",
        "examples/README.md",
        *(f"docs/{name}.md" for name in ("README", "callers", "commands", "convert", "guarantees", "json", "report")),
        "docs/writing-a-pass.md",
    ],
)
def test_links_within_the_repository_exist(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target
