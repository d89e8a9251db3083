"""Random valid models with their inputs: a seed gives the same case everywhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from onnxslim.execution.feeds import Feed
from tests.fuzz import arithmetic, control, layout, linear, regions, shapes
from tests.fuzz.builder import ASSIGNMENTS, SYMBOLS, Builder

FAMILIES: dict[str, tuple[Callable[[Builder], None], ...]] = {
    "arithmetic": arithmetic.PATTERNS,
    "control": control.PATTERNS,
    "layout": layout.PATTERNS,
    "linear": linear.PATTERNS,
    "regions": regions.PATTERNS,
    "shapes": shapes.PATTERNS,
}
WEIGHTS = {"arithmetic": 6, "control": 3, "layout": 6, "linear": 5, "regions": 4, "shapes": 4}
OPSETS = (11, 12, 13, 13, 14, 15, 16, 17, 17, 18, 18, 19, 20, 20, 21, 21, 22, 23)


@dataclass(frozen=True, eq=False)
class Case:
    """A model and one feed for each assignment of the symbolic dimensions."""

    model: onnx.ModelProto
    feeds: list[Feed]


def generate(seed: int, families: Sequence[str] = (), opset: int | None = None) -> Case:
    """The case of ``seed``.

    Args:
        seed: What is drawn.
        families: Only patterns of these; all by default.
        opset: Instead of a random one.
    """
    rng = random.Random(seed)
    b = Builder(rng, opset or rng.choice(OPSETS))
    _add_inputs(b)
    chosen = tuple(families) or tuple(WEIGHTS)
    for _ in range(rng.choice([3, 4, 5, 6, 7])):
        family = rng.choices(chosen, [WEIGHTS[name] for name in chosen])[0]
        control.fill(b, FAMILIES[family], 1)
    if not b.nodes:
        b.op("Neg", b.pick("float32"))
    _choose_outputs(b)
    for tensor in b.initializers:
        if tensor.data_type == onnx.TensorProto.FLOAT and b.maybe(0.02):
            b.overridable.add(tensor.name)
    b.overridable -= {x.name for x in b.outputs}
    imports = [helper.make_opsetid("", b.opset)]
    if b.functions:
        imports.append(helper.make_opsetid("local", 1))
    version = 8 if b.functions else rng.choice([7, 8, 8, 9, 10])
    graph = b.graph()
    model = helper.make_model(graph, opset_imports=imports, functions=b.functions, ir_version=version)
    if rng.random() < 0.5:
        _name_nodes(model)
    return Case(model, [feed(model, at, seed) for at in range(ASSIGNMENTS)])


def _name_nodes(model: onnx.ModelProto) -> None:
    """As exporters do; without names, what a rewrite adds would be noticed more than it is in practice."""
    graphs = [model.graph]
    number = 0
    while graphs:
        for node in graphs.pop().node:
            node.name = f"/layer.{number}/{node.op_type}"
            number += 1
            graphs.extend(a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH)


def _add_inputs(b: Builder) -> None:
    """One or two inputs of floats, and perhaps of something else."""
    sizes: list[str | int] = ["N", "M", "K", 1, 2, 3, 4, 5, 6]
    if b.maybe(0.05):
        sizes.append(0)
    ranks = (2, 2, 3, 3, 4, 4, 1, 0)
    b.input("float32", [b.rng.choice(sizes) for _ in range(b.rng.choice(ranks))])
    if b.maybe(0.4):
        first = b.inputs[0][1]
        dims = first if b.maybe(0.6) else [b.rng.choice(sizes) for _ in range(b.rng.choice(ranks))]
        b.input(b.rng.choice(["float32", "float32", "float64", "float16"]), dims)
    if b.maybe(0.35):
        dtype = b.rng.choice(["int64", "int64", "int32", "bool", "uint8"])
        b.input(dtype, [b.rng.choice(sizes) for _ in range(b.rng.choice((1, 2, 2, 3, 0)))])


def _choose_outputs(b: Builder) -> None:
    """Most ends, at times something in the middle of a pattern, an input, or a constant."""
    used = {name for node in b.nodes for name in node.input}
    outputs = {x.name: x for x in b.outputs}
    computed = [x for x in b.pool if not any(x is y for y, _ in b.inputs)]
    ends = [x for x in computed if x.name not in used]
    inner = [x for x in computed if x.name in used]
    for x in ends:
        if b.maybe(0.9):
            outputs[x.name] = x
    for x in inner:
        if b.maybe(0.07):
            outputs[x.name] = x
    if not outputs:
        x = (ends or computed or b.pool)[-1]
        outputs[x.name] = x
    b.outputs = list(outputs.values())
    b.rng.shuffle(b.outputs)


def feed(model: onnx.ModelProto, assignment: int, seed: int) -> Feed:
    """Random inputs of the declared shapes; initializers that may be overridden are, at one of the assignments."""
    generator = np.random.default_rng([seed, assignment])
    constants = {tensor.name for tensor in model.graph.initializer}
    result: Feed = {}
    array: np.ndarray
    for value in model.graph.input:
        if value.name in constants and assignment != 1:
            continue
        kind = value.type.tensor_type
        shape = [d.dim_value if d.HasField("dim_value") else SYMBOLS[d.dim_param][assignment] for d in kind.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if dtype.kind == "b":
            array = np.asarray(generator.integers(0, 2, shape))
        elif dtype.kind in "iu":
            array = generator.integers(0 if dtype.kind == "u" else -3, 4, shape)
        else:
            array = generator.normal(0, 1.5, shape)
        result[value.name] = np.asarray(array).astype(dtype)
    return result
