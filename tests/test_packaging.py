from __future__ import annotations

import importlib
import importlib.metadata
import os
import subprocess
import sys
import tomllib
from typing import Any

import pytest

import onnxslim
from tests.documents import ROOT

HEAVY = ("onnx", "onnx_ir", "onnxruntime", "sympy", "matplotlib", "numpy", "rich")


@pytest.fixture
def setup() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_folder_is_listed(setup: dict[str, Any]) -> None:
    found = set()
    for top, package in (("onnxslim", "onnxslim"), ("passes", "onnxslim.passes")):
        for folder, folders, files in os.walk(ROOT / top):  # does not follow the link
            folders[:] = [name for name in folders if name != "__pycache__"]
            if "__init__.py" in files:
                parts = os.path.relpath(folder, ROOT / top).split(os.sep)
                found.add(".".join([package, *(part for part in parts if part != ".")]))
            else:
                assert not [name for name in files if name.endswith(".py")], f"{folder} has modules but no __init__.py"
    assert set(setup["tool"]["setuptools"]["packages"]) == found


def test_the_version_is_one(setup: dict[str, Any]) -> None:
    assert setup["project"]["version"] == onnxslim.__version__ == importlib.metadata.version("onnxslim-compiler")
    assert f"[{onnxslim.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_both_commands_lead_to_the_same_entry_point() -> None:
    points = importlib.metadata.distribution("onnxslim-compiler").entry_points.select(group="console_scripts")
    assert {point.name: point.value for point in points} == dict.fromkeys(
        ("onnxslim", "onnxslimc"), "onnxslim.cli:main"
    )


def test_passes_refuse_another_name() -> None:
    done = subprocess.run([sys.executable, "-c", "import passes"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "import this package as onnxslim.passes" in done.stderr


def test_passes_are_a_committed_link() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-s", "onnxslim/passes"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert listed.startswith("120000 "), listed
    assert os.readlink(ROOT / "onnxslim" / "passes") == "../passes"
    assert importlib.import_module("onnxslim.passes").__name__ == "onnxslim.passes"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["passes", "--help"], ["doctor", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from onnxslim.cli import main; code = main(sys.argv[1:])\n"
        f"print([name for name in {HEAVY} if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"
    assert len(done.stdout.splitlines()) > 1
