"""Paddle: an inference model (.pdmodel or .json, with .pdiparams) by paddle2onnx."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import paddle
import paddle2onnx

from .base import Exported, ExportOptions, Feed, LoadRequest, Operation, Refused, by_name, last_line

BATCH = 2


class PaddleModel:
    """See `onnxslim.converters.frameworks.base.FrameworkModel`.

    Args:
        prefix: Path of the files without their suffix.
        graph: Path of the file with the graph.
        known: Arrays of a sample.
    """

    narrows = False

    def __init__(self, prefix: str, graph: str, known: Feed) -> None:
        self.prefix, self.graph, self.notes = prefix, graph, list[str]()
        self.framework = f"Paddle {paddle.__version__}"
        paddle.enable_static()
        self.executor = paddle.static.Executor(paddle.CPUPlace())
        self.program, self.names, self.targets = paddle.static.load_inference_model(prefix, self.executor)
        self._known = by_name(known, self.names)

    def example(self) -> Feed | None:
        """A sample, or random inputs where only the batch is free."""
        if self._known:
            return self._known
        generator, found = np.random.default_rng(0), {}
        for name in self.names:
            variable = self._variable(name)
            sizes = [BATCH if axis == 0 and size < 0 else int(size) for axis, size in enumerate(variable.shape)]
            if min(sizes, default=1) < 0:
                raise Refused(f"a size of input {name!r} is not known", mend="give --samples")
            integers = "int" in str(variable.dtype)
            array = generator.integers(2, size=sizes) if integers else generator.normal(size=sizes)
            found[name] = np.asarray(array, np.int64 if integers else np.float32)
        return found

    def _variable(self, name: str) -> Any:
        block = self.program.global_block()
        if hasattr(block, "var") and not hasattr(block, "ops_"):
            try:
                return block.var(name)
            except (AttributeError, ValueError, TypeError):
                pass
        for operation in block.ops:
            if operation.name() == "pd_op.data" and operation.attrs().get("name") == name:
                return operation.result(0)
        raise Refused(f"the input {name!r} cannot be found in the program", mend="give --samples")

    def export(self, options: ExportOptions) -> Exported:
        """By paddle2onnx; axes without a size stay so."""
        more: dict[str, Any] = {} if options.opset is None else {"opset_version": options.opset}
        try:
            paddle2onnx.export(self.graph, f"{self.prefix}.pdiparams", options.path, **more)
        except Exception as error:
            raise Refused("paddle2onnx cannot convert the model", why=last_line(error)) from error
        if not os.path.exists(options.path):
            raise Refused("paddle2onnx wrote no file", why="its message is on standard error")
        return Exported(f"paddle2onnx {paddle2onnx.__version__}")

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The outputs in the order of the program."""
        given = {name: np.asarray(feed[name]) for name in self.names}
        found = self.executor.run(self.program, feed=given, fetch_list=self.targets)
        return [("", np.asarray(each)) for each in found]

    def trace(self, feed: Feed) -> list[Operation] | None:
        """Nothing: an inference program does not show its steps."""
        return None


def load(request: LoadRequest) -> PaddleModel:
    """The model that a file or folder belongs to.

    Raises:
        Refused: The graph or the weights are missing, or it is an object: paddle.jit.save makes the files.
    """
    if request.form == "module:object":
        raise Refused("a Paddle layer is converted from its files", mend="paddle.jit.save it, and name the .pdmodel")
    path = request.source
    if os.path.isdir(path):
        path = os.path.join(path, request.form)
    prefix = os.path.splitext(path)[0]
    graphs = [prefix + suffix for suffix in (".json", ".pdmodel") if os.path.exists(prefix + suffix)]
    if not graphs or not os.path.exists(prefix + ".pdiparams"):
        raise Refused("the model is two files, and one is missing", why=f"{prefix}.json or .pdmodel, and .pdiparams")
    return PaddleModel(prefix, graphs[0], request.example)
