from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import click
import pytest

import onnxslim
from onnxslim.cli import dispatch, main
from onnxslim.commands.table import VERBS
from onnxslim.graph.atomic import scratch_folder
from tests.documents import DIGITS

Output = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(DIGITS, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A verb that raises what the test puts into the list."""
    errors: list[BaseException] = []

    @click.command()
    @click.option("--json", is_flag=True)
    def doctor(json: bool) -> int:
        raise errors[0]

    monkeypatch.setattr("onnxslim.commands.doctor.doctor", doctor)
    return errors


def test_version_and_help(capsys: Output) -> None:
    assert main(["-v"]) == 0
    assert capsys.readouterr().out == f"{onnxslim.__version__}\n"
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {verb} " in out for verb in VERBS)


def test_no_arguments_are_a_usage_error_that_shows_the_help(capsys: Output) -> None:
    assert main([]) == 2
    assert "Verbs:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "mend"),
    [
        (["slmi", "model.onnx"], "did you mean 'slim'"),
        (["inspect", "model.onnx", "--jsno"], "did you mean '--json'"),
        (["model.onnx", "out.onnx", "--verson"], "did you mean '--version'"),
        (["verify", "model.onnx"], "onnxslim verify --help"),
        (["slim", "model.onnx"], "-o OUT.onnx"),
        (["compress", "model.onnx", "--samples", "x"], "-o OUT.onnx"),
        (["compress", "model.onnx", "-o", "x.onnx"], "--samples"),
        (["bench", "model.onnx", "--threads", "0"], "onnxslim bench --help"),
        (["quantize", "model.onnx", "--samples", "x", "-o", "y", "--memory", "much"], "1GiB"),
        (["passes", "quantise"], "did you mean 'quantize'"),
        (["slim", "model.onnx", "-o", "out.onnx", "--fold-up-to", "-1"], "give a whole number from 0 up"),
        (["model.onnx", "out.onnx", "--size-threshold", "-1"], "give 0 or more bytes"),
        (["model.onnx", "out.onnx", "--strip"], "fix: onnxslim slim IN.onnx -o OUT.onnx --strip\n"),
        (["model.onnx", "-o", "out.onnx"], "fix: onnxslim slim IN.onnx -o OUT.onnx\n"),
        (["quantize", "model.onnx", "-o", "out.onnx", "--samples", "x", "--scale", "0"], "give a factor over 0"),
        (["slim", "nothing.onnx", "-o", "out.onnx"], "nothing.onnx"),
        (["nothing.onnx", "out.onnx"], "nothing.onnx"),
    ],
)
def test_bad_usage_is_one_message_and_code_2(here: Path, capsys: Output, arguments: list[str], mend: str) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("onnxslim: error: ")
    assert said.err.count("\n") == 1
    assert mend in said.err
    assert sorted(os.listdir(here)) == ["model.onnx"]


def test_an_error_as_json_is_an_object_on_stdout(here: Path, capsys: Output) -> None:
    assert main(["inspect", "nothing.onnx", "--json"]) == 2
    said = capsys.readouterr()
    assert said.err == ""
    error = json.loads(said.out)
    assert error["exit_code"] == 2
    assert "nothing.onnx" in error["where"] + error["error"]


def test_a_file_named_like_a_verb_needs_a_path(here: Path, capsys: Output) -> None:
    os.rename("model.onnx", "inspect")
    assert main(["inspect"]) == 2
    assert "./inspect" in capsys.readouterr().err
    assert main(["./inspect", "out.onnx"]) == 0
    assert (here / "out.onnx").exists()
    assert main(["inspect", "inspect", "--json"]) == 0


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (onnxslim.CheckFailed("the outputs differ"), 1, "the outputs differ"),
        (onnxslim.SetupError("no provider"), 3, "no provider"),
        (OSError(28, "No space left on device", "out.onnx"), 3, "the system refused (out.onnx): No space left"),
        (MemoryError(), 3, "memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("by zero"), 1, "this is a bug of onnxslim"),
    ],
)
def test_every_error_has_its_code(
    raising: list[BaseException], capsys: Output, error: BaseException, code: int, text: str
) -> None:
    raising.append(error)
    assert main(["doctor"]) == code
    said = capsys.readouterr().err
    assert text in said
    assert "Traceback" not in said


def test_a_bug_shows_its_traceback_on_demand(
    raising: list[BaseException], capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising.append(ZeroDivisionError("by zero"))
    monkeypatch.setenv(dispatch.DEBUG, "1")
    assert main(["doctor", "--json"]) == 1
    said = capsys.readouterr()
    assert "Traceback" in said.err
    assert "ZeroDivisionError: by zero" in json.loads(said.out)["why"]


def test_what_a_pass_crashed_with_is_shown_on_request(
    raising: list[BaseException], capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed = onnxslim.CheckFailed("the pass 'slim' crashed")
    crashed.__cause__ = ZeroDivisionError("by zero")
    for wanted in ("", "1"):
        raising[:] = [crashed]
        monkeypatch.setenv(dispatch.DEBUG, wanted)
        assert main(["doctor"]) == 1
        assert ("ZeroDivisionError: by zero" in capsys.readouterr().err) == bool(wanted)


def test_a_clash_with_the_other_distribution_stops_all_but_doctor(
    here: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = here / "site" / "onnxslim-0.1.98.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxslim\nVersion: 0.1.98\n")
    monkeypatch.syspath_prepend(str(info.parent))
    assert metadata.version("onnxslim") == "0.1.98"
    assert main(["inspect", "model.onnx"]) == 3
    assert "pip uninstall onnxslim" in capsys.readouterr().err
    assert main(["doctor", "--json"]) == 3
    findings = {each["subject"]: each for each in json.loads(capsys.readouterr().out)["findings"]}
    assert findings["clash"]["state"] == "bad"
    assert "0.1.98" in findings["clash"]["fact"]


@pytest.mark.parametrize("arguments", [["passes"], ["inspect", "nothing.onnx", "--json"]])
def test_a_closed_pipe_is_silent(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "onnxslim", *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["passes", "--json"], ["inspect", "nothing.onnx", "--json"], ["passes"]])
def test_a_standard_output_that_takes_nothing_is_one_message(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "onnxslim", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 3
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_names_that_the_terminal_cannot_show_are_no_obstacle(here: Path) -> None:
    name = os.fsdecode(b"m\xff\xe4\xbd\xa0.onnx")  # not UTF-8
    os.rename("model.onnx", name)
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}

    def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "onnxslim", "inspect", *arguments]
        done = subprocess.run(command, capture_output=True, env=environment)
        assert done.stderr == b""
        return done.returncode, done.stdout.decode("ascii")

    code, text = run(name)
    assert (code, "BatchNormalization" in text) == (0, True)
    code, text = run(name, "--json")
    assert (code, json.loads(text)["model"]["path"]) == (0, name)
    code, text = run(name + "x", "--json")
    assert (code, json.loads(text)["where"]) == (2, name + "x")


@pytest.mark.parametrize(
    "program", [[sys.executable, "-m", "onnxslim"], [str(Path(sys.executable).parent / "onnxslim")]]
)
def test_the_installed_command_slims(here: Path, program: list[str]) -> None:
    done = subprocess.run([*program, "model.onnx", "out.onnx"], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(line.startswith("onnxslim: ") for line in done.stderr.splitlines())
    assert "parity: passed" in done.stdout
    assert 0 < (here / "out.onnx").stat().st_size <= DIGITS.stat().st_size


def test_sigterm_ends_a_command_as_an_interrupt_does(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, tmp_path: Path
) -> None:
    held = []

    @click.command()
    def doctor() -> int:
        with scratch_folder() as folder:
            held.append(folder)
            signal.raise_signal(signal.SIGTERM)
        raise AssertionError("it went on")

    monkeypatch.setattr("onnxslim.commands.doctor.doctor", doctor)
    assert main(["doctor"]) == 143
    assert "onnxslim: terminated" in capsys.readouterr().err
    assert not os.path.exists(held[0])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_interrupt_of_the_imports_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(dispatch, "main", interrupted)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "onnxslim: interrupted\n"
