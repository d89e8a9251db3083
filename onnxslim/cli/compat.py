"""``onnxslim IN [OUT]``: the command line that PyPI's OnnxSlim has, for those who call it.

Its options that take several values are not click's, hence argparse.
"""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from onnxslim import __version__
from onnxslim.errors import InputError, did_you_mean


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing and leaving."""

    def error(self, message: str) -> NoReturn:
        mend = "onnxslim IN.onnx OUT.onnx; the verb slim has more options; onnxslim --help shows the rest"
        unknown = re.search(r"unrecognized arguments: (\S+)", message)
        if unknown is not None:
            known = [flag for action in self._actions for flag in action.option_strings]
            near = did_you_mean(unknown[1], known)
            mend = f"{near}; {mend}" if near.startswith("did") else mend
        raise InputError(message, mend=mend)


def parser() -> argparse.ArgumentParser:
    """The parser, without abbreviations: an option that is not known is an error."""
    made = _Parser(prog="onnxslim", allow_abbrev=False, description="Make an ONNX graph smaller.")
    made.add_argument("input_model", help="the model")
    made.add_argument(
        "output_model", nargs="?", help="where it goes, which may be the input; without it nothing is written"
    )
    made.add_argument("-v", "--version", action="version", version=__version__)
    return made


def run(arguments: list[str]) -> int:
    """Slims a model and prints what came of it.

    Raises:
        InputError: Wrong usage, or a model that cannot be read.
    """
    given = parser().parse_args(arguments)
    from onnxslim.api.slim import simplify
    from onnxslim.commands.options import refuse_stdout
    from onnxslim.commands.output import progress, show

    refuse_stdout(given.output_model)

    with progress() as say:
        result = simplify(given.input_model, given.output_model, in_place=True, progress=say)
    show(result.report, as_json=False, explain=False, quiet=False)
    return 0
