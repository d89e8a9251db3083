"""Builds sdist -> wheel, installs the wheel in an environment of its own elsewhere, and runs a pass from it.

The new environment sees this one's dependencies through a .pth file, so nothing is downloaded but the build backend.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models_zoo" / "data" / "digits_cnn.onnx"
DISTRIBUTION = "onnxslim_compiler"
KINDS = (".py", ".html", ".css", ".js")
"""Of files that the wheel holds: modules, and what a report page is made of."""


def main() -> int:
    """Exit code 0 when the wheel works, 1 with the reason otherwise."""
    with tempfile.TemporaryDirectory(prefix="onnxslim-wheel-") as folder:
        try:
            check(Path(folder))
        except subprocess.CalledProcessError as error:
            print(f"failed: {' '.join(map(str, error.cmd))}\n{error.stdout or ''}{error.stderr or ''}", file=sys.stderr)
            return 1
        except AssertionError as error:
            print(f"failed: {error}", file=sys.stderr)
            return 1
    print("the wheel has every package, installs elsewhere and slims a model")
    return 0


def check(work: Path) -> None:
    """Builds, looks into and runs the wheel.

    Raises:
        CalledProcessError: A command failed; its output is in the error.
        AssertionError: The wheel lacks a module, or what it installs does not do its work.
    """
    wheel = build(work)
    compare(wheel)
    bin_folder = install(wheel, work)
    elsewhere = work / "elsewhere"  # the checkout must not be what is imported
    elsewhere.mkdir()
    shutil.copy(MODEL, elsewhere / "in.onnx")
    where = run(bin_folder / "python", "-c", "import onnxslim.passes.slim as p; print(p.__file__)", cwd=elsewhere)
    assert where.startswith(str(work)), f"onnxslim.passes comes from {where.strip()}, not from the wheel"
    said = run(bin_folder / "onnxslim", "slim", "in.onnx", "-o", "out.onnx", "--json", cwd=elsewhere)
    report = json.loads(said)
    assert (elsewhere / "out.onnx").stat().st_size > 0, "slim wrote nothing"
    assert report["parity"] is None or report["parity"]["passed"], "the slimmed model differs"
    assert [step["name"] for step in report["steps"]], "no pass ran"
    run(bin_folder / "onnxslimc", "doctor", cwd=elsewhere)


def build(work: Path) -> Path:
    """The sdist from a copy of what git tracks, then the wheel from the sdist; returns the wheel."""
    source = work / "source"
    listed = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    for name in filter(None, listed):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():  # a file deleted but not yet committed is still listed
            shutil.copy(ROOT / name, target, follow_symlinks=False)
    run(sys.executable, "-m", "build", "--outdir", work / "dist", source, cwd=work)
    (wheel,) = (work / "dist").glob("*.whl")
    return wheel


def compare(wheel: Path) -> None:
    """Asserts that the wheel holds exactly the modules and data of the two source folders, and nothing twice."""
    tracked = run("git", "ls-files", "onnxslim", "passes", cwd=ROOT).splitlines()
    modules = {f"onnxslim/{name}" if name.startswith("passes/") else name for name in tracked if name.endswith(KINDS)}
    modules.add("onnxslim/py.typed")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.startswith(f"{DISTRIBUTION}-")}
    assert held == modules, f"missing {sorted(modules - held)}, surplus {sorted(held - modules)}"


def install(wheel: Path, work: Path) -> Path:
    """Installs the wheel into a new environment beside this one's dependencies; returns its folder of programs."""
    home = work / "venv"
    venv.create(home, with_pip=False)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(home), "platbase": str(home)}))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", home / "bin" / "python")
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=work)
    # Appended to the path, so the wheel's files come first. The checkout's editable install is a .pth of that folder,
    # and a .pth within a folder named by a .pth is not followed.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def run(*command: str | Path, cwd: Path) -> str:
    """Runs a command to its end and returns what it printed; nothing of the checkout is on its path."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
