"""A saved program of PaddlePaddle: run and looked into by ``paddle.inference``, exported by paddle2onnx."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
import paddle.inference

from .base import Exported, ExportOptions, Feed, Operation, Refused, last_line

TRACED = 1 << 30
"""Bytes of inner values that a trace keeps, about."""
PROGRAMS = (".json", ".pdmodel")
WEIGHTS = ".pdiparams"
DTYPES = {
    "FLOAT32": "float32",
    "FLOAT64": "float64",
    "FLOAT16": "float16",
    "INT32": "int32",
    "INT64": "int64",
    "INT8": "int8",
    "UINT8": "uint8",
    "BOOL": "bool",
}


class Program:
    """A saved program in ``paddle.inference``.

    Args:
        path: Of the .json or .pdmodel file.
        weights: Of the .pdiparams file.
    """

    def __init__(self, path: str, weights: str) -> None:
        self.path, self.weights = path, weights
        self._predictor = self._opened()
        self.names: list[str] = self._predictor.get_input_names()

    def _opened(self) -> Any:
        config = paddle.inference.Config(self.path, self.weights)
        config.disable_gpu()
        config.disable_mkldnn()
        config.switch_ir_optim(False)  # no fusions: as near to the definition as can be
        config.disable_glog_info()
        return paddle.inference.create_predictor(config)

    def run(self, feed: Feed, predictor: Any = None) -> list[tuple[str, np.ndarray]]:
        """The outputs by name."""
        predictor = predictor or self._predictor
        for name in self.names:
            handle = predictor.get_input_handle(name)
            handle.reshape(feed[name].shape)
            handle.copy_from_cpu(np.ascontiguousarray(feed[name]))
        predictor.run()
        return [(name, predictor.get_output_handle(name).copy_to_cpu()) for name in predictor.get_output_names()]

    def dtypes(self) -> dict[str, np.dtype[Any]]:
        """Of the inputs.

        Raises:
            Refused: numpy has no such type.
        """
        found = {}
        for name in self.names:
            kind = str(self._predictor.get_input_handle(name).type()).rpartition(".")[2]
            if kind not in DTYPES:
                raise Refused(f"input {name!r} is of {kind}, which numpy has not")
            found[name] = np.dtype(DTYPES[kind])
        return found

    def trace(self, feed: Feed) -> list[Operation]:
        """Every operation, with what it wrote last."""
        predictor = self._opened()
        steps: list[Operation] = []
        held = 0

        def note(operation: str, variable: str, tensor: Any) -> None:
            nonlocal held
            array = tensor.copy_to_cpu()
            held += array.nbytes
            if held <= TRACED and array.dtype.kind in "fiub":
                steps.append(Operation(operation.partition(".")[2] or operation, array, value=variable))

        predictor.register_output_hook(note)
        self.run(feed, predictor)
        for place, step in enumerate(steps[:-1]):
            step.users.append(place + 1)  # Paddle tells not who reads what; the order is that of computation
        return steps

    def export(self, options: ExportOptions) -> Exported:
        """By ``paddle2onnx.export``.

        Raises:
            Refused: It failed, as it writes to standard output.
        """
        import paddle2onnx

        if options.exporter not in (None, "paddle2onnx"):
            raise Refused(f"Paddle has no exporter {options.exporter!r}", mend="use paddle2onnx")
        # Its own optimizing tool would install packages into the user's environment.
        more: dict[str, Any] = {"optimize_tool": None, "verbose": False, "auto_upgrade_opset": options.opset is None}
        takes = inspect.signature(paddle2onnx.export).parameters
        more = {name: value for name, value in more.items() if name in takes}
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):
                paddle2onnx.export(self.path, self.weights, options.path, opset_version=options.opset or OPSET, **more)
        except Exception as error:
            lines = [line for line in said.getvalue().splitlines() if "Fail" in line or "rror" in line]
            raise Refused(
                "paddle2onnx failed", why=" ".join((lines[0] if lines else last_line(error)).split())[:600]
            ) from error
        if not os.path.exists(options.path):
            raise Refused("paddle2onnx wrote nothing", why=" ".join(said.getvalue().split())[-300:])
        return Exported(f"paddle2onnx.export {_version()}")


OPSET = 17
"""What is asked for where the user asks for none; paddle2onnx' own default is 7, from which it goes up as needed."""


def opened_program(prefix: str) -> Program:
    """The saved program of a prefix.

    Raises:
        Refused: The program or its weights are missing.
    """
    path = next((prefix + suffix for suffix in PROGRAMS if os.path.exists(prefix + suffix)), None)
    if path is None:
        raise Refused("the program is missing", why="neither {} is there".format(" nor ".join(PROGRAMS)))
    weights = prefix + WEIGHTS
    if not os.path.exists(weights):
        raise Refused("the weights are missing", why=f"there is no {os.path.basename(weights)}")
    return Program(path, weights)


def declared_shapes(prefix: str) -> dict[str, list[int | None]]:
    """The sizes that a program declares of its inputs."""
    with _static():
        executor = paddle.static.Executor(paddle.CPUPlace())
        old = os.path.exists(prefix + ".pdmodel") and not os.path.exists(prefix + ".json")
        with paddle.pir_utils.OldIrGuard() if old else contextlib.nullcontext():
            program, names, _ = paddle.static.load_inference_model(prefix, executor)
        if old:
            found = {name: program.global_block().var(name).shape for name in names}
        else:
            feeds = [each for each in program.global_block().ops if each.name() in ("pd_op.data", "pd_op.feed")]
            found = {each.attrs()["name"]: each.results()[0].shape for each in feeds}
    return {name: [None if size < 0 else int(size) for size in shape] for name, shape in found.items()}


@contextlib.contextmanager
def _static() -> Iterator[None]:
    dynamic = paddle.in_dynamic_mode()
    paddle.enable_static()
    try:
        yield
    finally:
        if dynamic:
            paddle.disable_static()


def _version() -> str:
    from importlib.metadata import version

    return version("paddle2onnx")
