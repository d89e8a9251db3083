"""The examples for CI: the shell lines of each run, in order, where their files lie."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from onnxslim.cli import main
from tests.documents import ROOT, shorten_latency

EXAMPLES = ROOT / "examples"


def lines_of(name: str) -> list[str]:
    """The command lines of onnxslim in an example, of a Makefile with its variables resolved."""
    if name == "Makefile":
        run = ["make", "--dry-run", "--always-make", "gate"]
        done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=EXAMPLES)
        text = done.stdout
    else:
        text = (EXAMPLES / name).read_text()
    return re.findall(r"^\s*(?:- |run: |entry: )?(onnxslim .*)$", text, re.MULTILINE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the project, its model and the compressed one."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(EXAMPLES / "mine.py", folder)
    return folder


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml", "Makefile", "pre-commit-config.yaml"])
def test_the_lines_of_an_example_run(name: str, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    monkeypatch.syspath_prepend(str(made))
    shorten_latency(monkeypatch)
    lines = lines_of(name)
    assert lines
    for line in lines:
        words = shlex.split(line)[1:]
        if words[0] == "compress":
            words += ["--time", "3s", "--no-bench"]  # what a search finds is tested elsewhere
        if words[0] in ("convert", "compress") and (made / words[words.index("-o") + 1]).exists():
            continue  # the examples share these lines
        assert main(words) == 0, line
    assert "verify" in lines[-1]


def test_a_broken_limit_ends_the_build(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    monkeypatch.syspath_prepend(str(made))
    assert (made / "small.onnx").exists(), "the tests before have made it"
    gate = shlex.split(lines_of("gitlab-ci.yml")[-1])[1:]
    assert main([*gate, "--max-size", "1kB"]) == 1


def test_the_examples_agree() -> None:
    def plain(name: str) -> list[str]:
        return [re.sub(r" --(time|report) \S+", "", line) for line in lines_of(name)]

    assert plain("github-actions.yml") == plain("gitlab-ci.yml") == plain("Makefile")
    assert plain("pre-commit-config.yaml") == plain("gitlab-ci.yml")[-1:]
