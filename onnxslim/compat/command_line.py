"""``onnxslim IN [OUT]``: the command line that PyPI's OnnxSlim has, for those who call it.

Its options that take several values are not click's, hence argparse. Every option is also known with underscores, as
older versions of OnnxSlim had it.
"""

from __future__ import annotations

import argparse
import re
from typing import Any, NoReturn

from onnxslim.errors import InputError, did_you_mean
from onnxslim.version import __version__

_FLAGS = {
    "no_shape_infer": "no effect: inferred shapes are never written",
    "save_as_external_data": "put the weights into a file beside the model",
    "model_check": "fail where outputs cannot be compared; they are compared anyway",
    "inspect": "show the models, and nothing else",
    "dump_to_disk": "with --inspect: write NAME_model_info.csv into the current folder",
    "verbose": "log each step to stderr",
    "no_constant_folding": argparse.SUPPRESS,
}
_LISTS = {
    "skip_optimizations": ("NAME", "optimizations or passes to leave out, e.g. constant_folding"),
    "skip_fusion_patterns": ("NAME", "patterns or rules to leave out, e.g. FusionGemm"),
    "input_shapes": ("NAME:SHAPE", "other shapes of inputs, e.g. x:1,3,224,224; -1 leaves an axis dynamic"),
    "inputs": ("NAME[:DTYPE]", "values that become the inputs; DTYPE is fp16, fp32, int32, int64 or bool"),
    "outputs": ("NAME[:DTYPE]", "values that become the outputs"),
    "model_check_inputs": ("NAME:SHAPE|FILE.npy", "what to compare outputs on"),
}
_SILENT = ("no_shape_infer", "inspect", "verbose")
"""What does not concern ``slim_result``."""


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing and leaving."""

    def error(self, message: str) -> NoReturn:
        mend = "onnxslim IN.onnx OUT.onnx; the verb slim has more options; onnxslim --help shows the rest"
        unknown = re.search(r"unrecognized arguments: (\S+)", message)
        if unknown is not None:
            flag = unknown[1].partition("=")[0]
            known = [flag for action in self._actions for flag in action.option_strings]
            near = did_you_mean(unknown[1], known)
            if flag in _slim_flags():
                mend = "onnxslim slim IN.onnx -o OUT.onnx" + (
                    f" {unknown[1]}" if flag not in ("-o", "--output") else ""
                )
            elif near.startswith("did"):
                mend = f"{near}; {mend}"
        raise InputError(message, mend=mend)


def _slim_flags() -> frozenset[str]:
    """The options of the verb ``slim``, which is no part of OnnxSlim."""
    from onnxslim.commands.slim import slim

    return frozenset(flag for each in slim.params for flag in (*each.opts, *each.secondary_opts))


def parser(*, several: bool = False) -> argparse.ArgumentParser:
    """The parser, without abbreviations: an option that is not known is an error.

    Args:
        several: Whether it takes any number of models, as with ``--inspect``.
    """
    made = _Parser(prog="onnxslim", allow_abbrev=False, description="Make an ONNX graph smaller.")
    if several:
        made.add_argument("input_model", nargs="+", help="the models")
    else:
        made.add_argument("input_model", help="the model")
        made.add_argument(
            "output_model", nargs="?", help="where it goes, which may be the input; without it nothing is written"
        )
    for name, text in _FLAGS.items():
        made.add_argument(*_spellings(name), action="store_true", help=text)
    for name, (metavar, text) in _LISTS.items():
        made.add_argument(*_spellings(name), nargs="+", metavar=metavar, help=text)
    made.add_argument(
        *_spellings("size_threshold"), type=int, metavar="BYTES", help="do not fold what takes more bytes"
    )
    made.add_argument("--dtype", choices=["fp16", "fp32"], help="convert weights, inputs and outputs")
    made.add_argument("--no-verify", action="store_true", help="do not compare outputs")
    made.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")
    made.add_argument("-v", "--version", action="version", version=__version__)
    return made


def _spellings(name: str) -> list[str]:
    return list(dict.fromkeys(["--" + name.replace("_", "-"), "--" + name]))


def run(arguments: list[str]) -> int:
    """Slims a model and prints what came of it, or shows models.

    Raises:
        InputError: Wrong usage, or a model that cannot be read.
        CheckFailed: A check failed; nothing is written.
    """
    given = vars(parser(several="--inspect" in arguments).parse_args(arguments))
    as_json, verify = given.pop("json"), not given.pop("no_verify")
    if given["dump_to_disk"] and not given["inspect"]:
        raise InputError("--dump-to-disk writes what --inspect shows", mend="add --inspect")
    return _inspect(given, as_json) if given["inspect"] else _slim(given, as_json, verify)


def _inspect(given: dict[str, Any], as_json: bool) -> int:
    from onnxslim.compat.console import show_models

    if not as_json:
        show_models(given["input_model"], dump_to_disk=given["dump_to_disk"])
        return 0
    if given["dump_to_disk"]:
        raise InputError("--json prints nothing else than JSON, and --dump-to-disk tells of its file", mend="give one")
    from onnxslim.api.inspect import inspect
    from onnxslim.commands.output import print_json
    from onnxslim.report import envelope

    print_json(envelope("inspect", models=[inspect(each) for each in given["input_model"]]))
    return 0


def _slim(given: dict[str, Any], as_json: bool, verify: bool) -> int:
    from onnxslim.commands.options import refuse_stdout
    from onnxslim.commands.output import progress, show
    from onnxslim.compat.console import init_logging
    from onnxslim.compat.slim import slim_result

    model, output = given.pop("input_model"), given.pop("output_model")
    refuse_stdout(output)
    logger = init_logging(given["verbose"])
    also_skip = ["constant_folding"] if given.pop("no_constant_folding") else []
    external = True if given.pop("save_as_external_data") else None
    del given["dump_to_disk"]
    for name in _SILENT:
        given.pop(name)
    with progress(as_json) as say:

        def tell(text: str) -> None:
            say(text)
            logger.debug(text)

        result = slim_result(
            model,
            output,
            in_place=True,
            verify=verify,
            also_skip=also_skip,
            external_data=external,
            time_sessions=verify,
            progress=tell,
            **given,
        )
    show(result.report, as_json=as_json, explain=False, quiet=False)
    return 0
