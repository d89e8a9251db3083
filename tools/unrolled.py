"""A text recognizer as exporters write it: convolutions, and a bidirectional LSTM that is unrolled over the width.

Each of its four weights is read by as many Gemms as there are steps; both directions read the same activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


def unrolled(
    *, steps: int = 20, channels: int = 512, height: int = 8, hidden: int = 100, classes: int = 37, seed: int = 0
) -> onnx.ModelProto:
    """A recognizer of images ``float[1, 3, 4 * height, 4 * steps]``; its output is ``float[steps, 1, classes]``.

    Args:
        steps: Columns that the LSTM reads, one after another.
        channels: Of the last convolution; each step reads ``channels * height`` numbers.
        height: Rows that are left of an image.
        hidden: States of each direction.
        classes: Of the output.
        seed: Of the weights. They are of low rank, as weights are that were trained: channels can stand for others.
    """
    generator = np.random.default_rng(seed)
    constants: dict[str, npt.NDArray[np.generic]] = {}
    nodes: list[onnx.NodeProto] = []

    def weight(name: str, *shape: int) -> str:
        rows, columns = shape[0], int(np.prod(shape[1:]))
        rank = max(2, min(rows, columns) // 2)
        low = generator.normal(size=(rows, rank)) @ generator.normal(size=(rank, columns)) / np.sqrt(rank * columns)
        constants[name] = (low + generator.normal(0, 0.1 / np.sqrt(columns), low.shape)).reshape(shape).astype("f4")
        return name

    def bias(name: str, size: int) -> str:
        constants[name] = generator.normal(0, 0.1, size).astype(np.float32)
        return name

    def add(operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, list(inputs), list(outputs), **attributes))
        return outputs[0]

    x, size = "image", 3
    for place, (width, stride) in enumerate(((channels // 4, 2), (channels // 2, 2), (channels, 1))):
        taken = [x, weight(f"conv{place}", width, size, 3, 3), bias(f"conv{place}_bias", width)]
        made = add("Conv", taken, [f"c{place}"], pads=[1, 1, 1, 1], strides=[stride, stride])
        x, size = add("Relu", [made], [f"a{place}"]), width
    constants["flat"], constants["zero"] = np.array([0, -1], np.int64), np.array([0], np.int64)
    constants["zeros"] = np.zeros((1, hidden), np.float32)
    columns = []
    for step in range(steps):
        constants[f"step{step}"] = np.array(step, np.int64)
        column = add("Gather", [x, f"step{step}"], [f"column{step}"], axis=3)
        columns.append(add("Reshape", [column, "flat"], [f"x{step}"]))
    found: dict[tuple[str, int], str] = {}
    for side in ("forward", "backward"):
        reads = weight(f"{side}_ih", 4 * hidden, channels * height), bias(f"{side}_ih_bias", 4 * hidden)
        again = weight(f"{side}_hh", 4 * hidden, hidden), bias(f"{side}_hh_bias", 4 * hidden)
        state = cell = "zeros"
        for step in range(steps) if side == "forward" else reversed(range(steps)):
            name = f"{side}{step}"
            one = add("Gemm", [columns[step], *reads], [f"{name}_x"], transB=1)
            other = add("Gemm", [state, *again], [f"{name}_h"], transB=1)
            gates = [f"{name}_{gate}" for gate in "ifgo"]
            add("Split", [add("Add", [one, other], [f"{name}_sum"])], gates, axis=1)
            i, f, o = (add("Sigmoid", [gate], [f"{gate}s"]) for gate in (gates[0], gates[1], gates[3]))
            new = add("Mul", [i, add("Tanh", [gates[2]], [f"{name}_t"])], [f"{name}_new"])
            cell = add("Add", [new, add("Mul", [f, cell], [f"{name}_old"])], [f"{name}_cell"])
            state = add("Mul", [o, add("Tanh", [cell], [f"{name}_tc"])], [f"{name}_state"])
            found[side, step] = state
    rows = []
    for step in range(steps):
        both = add("Concat", [found["forward", step], found["backward", step]], [f"both{step}"], axis=1)
        rows.append(add("Unsqueeze", [both, "zero"], [f"row{step}"]))
    states = add("Concat", rows, ["states"], axis=0)
    add("MatMul", [states, weight("head", 2 * hidden, classes)], ["logits"])
    graph = helper.make_graph(
        nodes,
        "unrolled",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 4 * height, 4 * steps])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [steps, 1, classes])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def images(count: int, *, steps: int = 20, height: int = 8, seed: int = 1) -> list[npt.NDArray[np.float32]]:
    """Smooth random images for `unrolled`."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        small = generator.normal(size=(1, 3, height, steps))
        image = np.kron(small, np.ones((4, 4))) + 0.2 * generator.normal(size=(1, 3, 4 * height, 4 * steps))
        made.append(image.astype(np.float32))
    return made
