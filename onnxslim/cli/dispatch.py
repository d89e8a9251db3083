"""Which of the two command lines answers, and what becomes of every error."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence

import click

from onnxslim.api.doctor import find_clash
from onnxslim.commands.table import VERBS, group
from onnxslim.errors import InputError, OnnxSlimError, SetupError, did_you_mean, out_of_memory

INTERRUPTED = 130
TERMINATED = 143
"""What a shell shows for a program that SIGTERM ended."""
CLOSED_PIPE = 141
"""What a shell shows for a program that SIGPIPE ended; 1 would say that a check failed."""
DEBUG = "ONNXSLIM_DEBUG"
"""Environment variable that shows the traceback of a bug, and of what a pass or a user's function failed with."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments without the program's name; None means the process's own.

    Returns:
        The exit code: 0 done, 1 a check failed, 2 usage or bad input, 3 environment, 130 interrupted, 141 where the
        reader of standard output has gone, 143 terminated.
    """
    try:
        with _terminable():
            return _main(argv)
    except _Terminated:
        print("onnxslim: terminated", file=sys.stderr)
        return TERMINATED


class _Terminated(BaseException):
    """SIGTERM has come. Like KeyboardInterrupt it passes every handler of errors, and whatever is open is put away."""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Turns SIGTERM into an exception, so that temporary files are removed and child processes ended.

    Only where nobody else handles it, and only for as long as the command runs.
    """
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def terminate(*_: object) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)  # once is enough: the second must not stop the tidying up
        raise _Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _main(argv: Sequence[str] | None) -> int:
    gc.set_threshold(200_000, 20, 20)  # models are many objects that live as long as this process: few are garbage
    arguments = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names in files need not suit the terminal's encoding
    try:
        code = _answer(arguments)
        sys.stdout.flush()  # here, where a closed pipe can still be answered
        return code
    except BrokenPipeError:
        # The reader has gone, e.g. `| head`. The interpreter flushes once more at exit, and that must go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE


def _answer(arguments: list[str]) -> int:
    """Runs what is asked for; every error becomes one message and its exit code."""
    try:
        return _run(arguments)
    except SystemExit as leave:  # argparse has printed the help or the version
        return int(leave.code or 0)
    except OnnxSlimError as error:
        if error.__cause__ is not None:
            _show_traceback(error)
        return _fail(error, arguments)
    except click.ClickException as error:
        return _fail(_usage(error), arguments)
    except (KeyboardInterrupt, click.Abort):
        print("onnxslim: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        _show_traceback(error)
        where = os.fsdecode(error.filename) if error.filename is not None else ""
        return _fail(SetupError("the system refused", where=where, why=error.strerror or str(error)), arguments)
    except Exception as error:  # the last resort: whatever else arrives here is our own bug
        _show_traceback(error)
        return _fail(out_of_memory(error) or _bug(error), arguments)


def _run(arguments: list[str]) -> int:
    first = arguments[0] if arguments else ""
    if first != "doctor":  # which reports the clash among the rest
        _check_clash()
    if not arguments:
        _invoke(["--help"])
        return InputError.exit_code
    if first in VERBS or first in ("-h", "--help"):
        return _invoke(arguments)
    if not first.startswith("-") and not os.path.exists(first) and not os.path.splitext(first)[1]:
        raise InputError(
            f"{first!r} is neither a verb nor a file", mend=f"{did_you_mean(first, VERBS)}; onnxslim --help lists them"
        )
    from onnxslim.compat import command_line

    return command_line.run(arguments)


def _invoke(arguments: list[str]) -> int:
    """Runs a verb. Not by ``group.main``, which answers a closed pipe with exit code 1: "a check failed"."""
    try:
        with group.make_context("onnxslim", arguments) as context:
            return int(group.invoke(context) or 0)
    except click.exceptions.Exit as leave:
        return int(leave.exit_code)


def _check_clash() -> None:
    clash = find_clash()
    if clash.state == "bad":
        raise SetupError(clash.fact, mend=clash.mend)


def _usage(error: click.ClickException) -> InputError:
    """The errors of click in this project's form."""
    context = getattr(error, "ctx", None)
    help_text = f"{context.command_path if context else 'onnxslim'} --help shows the usage"
    if isinstance(error, click.NoSuchOption):
        params = context.command.params if context else []
        known = [flag for param in params for flag in (*param.opts, *param.secondary_opts)]
        near = did_you_mean(error.option_name, known)
        mend = f"{near}; {help_text}" if near.startswith("did") else help_text
        return InputError(f"there is no option {error.option_name!r}", mend=mend)
    verb = context.info_name if context else ""
    if verb in VERBS and os.path.exists(verb):
        help_text += f"; the file {verb!r} is named as ./{verb}"
    return InputError(error.format_message().rstrip("."), mend=help_text)


def _fail(error: OnnxSlimError, arguments: list[str]) -> int:
    if "--json" in arguments:
        try:
            print(json.dumps(error.to_json(), indent=2), flush=True)
            return error.exit_code
        except BrokenPipeError:
            raise
        except OSError as refused:  # standard output takes nothing: say it where it can be read, and no third time
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(error, SetupError):
                click.echo(f"onnxslim: error: {error}", err=True)
            error = SetupError("the JSON cannot be written", why=refused.strerror or str(refused))
    click.secho("onnxslim: error: ", fg="red", bold=True, err=True, nl=False)
    click.echo(str(error), err=True)
    return error.exit_code


def _bug(error: Exception) -> OnnxSlimError:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return OnnxSlimError(
        "this is a bug of onnxslim",
        where=f"{os.path.basename(frame.filename)}:{frame.lineno}",
        why=f"{type(error).__name__}: {error}",
        mend=f"report it with the model and the traceback that {DEBUG}=1 shows",
    )


def _show_traceback(error: Exception) -> None:
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
