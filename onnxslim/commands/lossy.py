"""What the verbs share that change what a model computes: samples and a metric in, a report out."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onnxslim.commands import options
from onnxslim.commands.output import show
from onnxslim.commands.samples import take_samples
from onnxslim.commands.watching import watching

if TYPE_CHECKING:
    from onnxslim.api.result import Result


INTERRUPTED = 130
"""Exit code where the user ended a search before it came to its end; the best result so far was written."""


def carry_out(
    run: Callable[..., Result], arguments: dict[str, Any], *passes: str, search: bool = False, **more: Any
) -> int:
    """Runs a verb of the API and prints its report.

    Args:
        run: The verb.
        arguments: Of the command; those that are none of the verb are taken out.
        passes: Whose options are the verb's own.
        search: Whether the verb searches: its progress is of use beside JSON too.
        more: What is passed on besides.

    Returns:
        The exit code.
    """
    model, output, in_place = (arguments.pop(name) for name in ("model", "output", "in_place"))
    as_json, explain, quiet = (arguments.pop(name) for name in ("as_json", "explain", "quiet"))
    given: dict[str, Any] = {}
    for each in passes:
        given |= options.take_pass_options(arguments, each)
    options.drop_unset(arguments, "min_sqnr", "max_drop")
    target = options.output_path(model, output, in_place)
    samples = take_samples(arguments, model)
    with watching(quiet or (as_json and not search)) as watcher:
        if search:
            more["watch"] = watcher.see
        # What a user's metric prints is no JSON.
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            result = run(
                model, target, samples=samples, in_place=in_place, progress=watcher.say, **arguments, **given, **more
            )
    show(result.report, as_json=as_json, explain=explain, quiet=quiet)
    front = result.report.front
    return INTERRUPTED if front is not None and front.interrupted else 0
