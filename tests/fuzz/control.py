"""Control flow and functions around patterns of the other kinds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import helper

from tests.fuzz import arithmetic, layout, linear, regions, shapes
from tests.fuzz.builder import ASSIGNMENTS, Builder, CannotAdd, Tensor

Pattern = Callable[[Builder], None]

INSIDE: tuple[Pattern, ...] = (
    *arithmetic.PATTERNS,
    *layout.PATTERNS,
    *shapes.PATTERNS,
    *linear.PATTERNS,
    *regions.PATTERNS,
)


def fill(b: Builder, patterns: Sequence[Pattern], count: int) -> None:
    """Adds ``count`` patterns; what does not fit, or no longer does in the middle, is left as it is."""
    for _ in range(count):
        before = len(b.outputs)
        try:
            b.rng.choice(patterns)(b)
        except CannotAdd:
            continue
        if b.parent is not None:
            del b.outputs[before:]


def condition(b: Builder) -> Tensor:
    """A scalar boolean: constant, folding to one, known by rank or static sizes, or computed."""
    match b.rng.randrange(5):
        case 0:
            return b.const(np.array(b.maybe()))
        case 1:
            return b.op("Not", b.const(np.array(b.maybe())))
        case 2:
            x = b.pick("float32", least=1)
            rank = b.op("Gather", b.op("Shape", b.op("Shape", x)), b.const(np.array(0, np.int64)))
            return b.op("Equal", rank, b.const(np.array(b.rng.choice([x.rank, 9]), np.int64)))
        case 3:
            x = b.pick("float32", least=1)
            size = b.op("Gather", b.op("Shape", x), b.const(np.array(b.rng.randrange(x.rank), np.int64)))
            return b.op(b.rng.choice(["Equal", "Greater"]), size, b.const(np.array(b.rng.choice([1, 2, 4]), np.int64)))
        case _:
            found = [x for x in b.visible() if x.exact and not x.constant and x.dtype in ("float32", "float64")]
            if not found:
                raise CannotAdd("nothing exact")
            x = b.rng.choice(found)
            if any(0 in dim for dim in x.dims):
                raise CannotAdd("empty")
            return b.op("Greater", b.op("ReduceMax", x, keepdims=0), b.const(np.array(0.2, x.dtype)))


def branch(b: Builder, x: Tensor) -> tuple[Builder, Tensor]:
    """A subgraph that gives something of the type and shape of ``x``, from captured values."""
    inner = b.child()
    fill(inner, INSIDE, b.rng.choice([0, 1, 1, 2]))
    same = [y for y in inner.pool if y.dtype == x.dtype and y.dims == x.dims and not y.constant]
    if same and b.maybe(0.8):
        y = b.rng.choice(same)
    else:
        made = b.rng.choice(["Neg", "Abs", "Identity"])
        y = inner.op(made, x)
    if b.maybe(0.3):
        y = inner.op("Identity", y)
    inner.outputs = [y]
    return inner, y


def choose(b: Builder) -> None:
    """An If with captures."""
    test, x = condition(b), b.pick("float32", "float32", "float64", "int64")
    one, y = branch(b, x)
    other, z = branch(b, x)
    result = Tensor(b.fresh(), x.dtype, x.dims)
    node = helper.make_node(
        "If", [test.name], [result.name], then_branch=one.graph(b.fresh("g")), else_branch=other.graph(b.fresh("g"))
    )
    assert y.dtype == z.dtype
    b.add_node(node, [result])
    if b.maybe():
        b.op("Neg", result)


def repeat(b: Builder) -> None:
    """A Loop that carries a value and captures others; some of its body does not change."""
    x = b.pick("float32", "float64")
    times = b.rng.choice([0, 1, 2, 3])
    inner = b.child()
    index = Tensor(b.fresh("i"), "int64", (), exact=True)
    proceed = Tensor(b.fresh("i"), "bool", (), exact=True)
    carried = Tensor(b.fresh("i"), x.dtype, x.dims)
    inner.inputs = [(index, []), (proceed, [])]
    inner.pool = [index, carried]
    fill(inner, INSIDE, b.rng.choice([1, 1, 2]))
    still = inner.op("Identity", proceed) if b.maybe(0.8) else inner.const(np.array(True))
    same = [y for y in inner.pool if y.dtype == x.dtype and y.dims == x.dims and not y.constant]
    invariant = inner.op("Tanh", x)
    y = inner.op("Tanh", inner.op("Add", b.rng.choice(same), invariant))
    scan = b.maybe(0.3)
    outputs = [still, y, *([inner.op("Neg", y)] if scan else [])]
    graph = helper.make_graph(
        inner.nodes,
        b.fresh("g"),
        [inner.info(t) for t in (index, proceed, carried)],
        [inner.info(t) for t in outputs],
        initializer=inner.initializers,
    )
    result = [Tensor(b.fresh(), x.dtype, x.dims)]
    if scan:
        result.append(Tensor(b.fresh(), x.dtype, ((times,) * ASSIGNMENTS, *x.dims)))
    trips, start = b.const(np.array(times, np.int64)), b.const(np.array(b.maybe(0.9)))
    if scan and start.values is not None and not start.values[0]:
        raise CannotAdd("the scan is empty")
    node = helper.make_node("Loop", [trips.name, start.name, x.name], [r.name for r in result], body=graph)
    b.add_node(node, result)


def call(b: Builder) -> None:
    """A function, called once or twice."""
    x = b.pick("float32")
    inner = Builder(b.rng, b.opset, counter=b.counter)
    formal = Tensor(b.fresh("f"), x.dtype, x.dims)
    inner.pool = [formal]
    inner.only_nodes = True
    fill(inner, [*arithmetic.PATTERNS, *layout.PATTERNS, *shapes.PATTERNS], b.rng.choice([1, 2, 2]))
    same = [y for y in inner.pool if y is not formal and not y.constant and y.dtype == "float32"]
    if not same or inner.inputs or inner.initializers:
        raise CannotAdd("nothing in the function")
    y = b.rng.choice(same)
    name = b.fresh("Fn")
    b.functions.append(
        helper.make_function("local", name, [formal.name], [y.name], inner.nodes, [helper.make_opsetid("", b.opset)])
    )
    for _ in range(b.rng.choice([1, 1, 2])):
        result = Tensor(b.fresh(), y.dtype, y.dims)
        b.add_node(helper.make_node(name, [x.name], [result.name], domain="local"), [result])


PATTERNS: tuple[Pattern, ...] = (choose, choose, repeat, repeat, call, call)
