"""If, Loop, Scan and SequenceMap: bodies evaluated on what is known of every iteration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Expr, lower, maximum
from onnxslim.analysis.elements import INTEGERS
from onnxslim.analysis.facts import UNKNOWN, Fact
from onnxslim.analysis.inference import ControlRule, Inference
from onnxslim.analysis.operator import Operator, axis_of, tensor
from onnxslim.analysis.refutation import surviving_branch

MAX_ROUNDS: Final = 6


def _if(inference: Inference, op: Operator) -> Sequence[Fact]:
    since = inference.symbols.count
    branches = [inference.body(op.get(name), ()) for name in ("then_branch", "else_branch")]
    decided = op.elements(0)
    if decided in ([0], [1]):
        return branches[0 if decided == [1] else 1]
    survivor = surviving_branch(inference, op.node, branches)
    if survivor is not None:
        _decide(inference, op, 1 - survivor)
        return branches[survivor]
    joined = [inference.join(a, b) for a, b in zip(*branches, strict=True)]
    return inference.renew(joined, since)


def _decide(inference: Inference, op: Operator, truth: int) -> None:
    """Notes what the condition must be; one of an outer graph may be something else where the If is not reached."""
    condition, shape = op.node.inputs[0], op.fact(0).shape
    if condition is None or condition.graph is not op.node.graph or shape is None or any(dim != 1 for dim in shape):
        return
    inference.record(condition, Fact(ir.DataType.BOOL, shape, tensor([truth], [1] * len(shape))))


def _settle(
    inference: Inference,
    states: list[Fact],
    step: Callable[[list[Fact]], tuple[list[Fact], list[Fact]]],
) -> tuple[list[Fact], list[Fact]]:
    """Widens what is known of carried states until an iteration keeps it.

    ``step`` evaluates the body on states and returns the next states and its other outputs. Returns what holds of the
    states before and after every iteration, and the other outputs.
    """
    made: set[Dim] = set()
    for _ in range(MAX_ROUNDS):
        after, rest = step(states)
        widened = [_widen(inference, a, b, made) for a, b in zip(states, after, strict=True)]
        if all(old is new for old, new in zip(states, widened, strict=True)):
            return states, rest
        states = widened
    states = [UNKNOWN] * len(states)
    return states, step(states)[1]


def _widen(inference: Inference, state: Fact, after: Fact, made: set[Dim]) -> Fact:
    """The state itself where the next one is covered by it, else a weaker fact that covers both.

    A dim or element that an iteration changes becomes a symbol of its own, kept in ``made``: nothing else is equal to
    such a symbol, so it covers whatever an iteration makes of it.
    """

    def cover(old: Any, new: Any, data: bool) -> Any:
        if old == new or old in made:
            return old
        fresh = inference.unknown(state.dtype) if data else inference.symbols.dim()
        made.add(fresh)
        return fresh

    if state == UNKNOWN:
        return state
    if state.dtype != after.dtype:
        return UNKNOWN
    if state.shape is None:
        return state
    if after.shape is None or len(after.shape) != len(state.shape):
        return Fact(state.dtype)
    shape = tuple(cover(a, b, False) for a, b in zip(state.shape, after.shape, strict=True))
    value = state.value
    if value is not None:
        if after.value is None or after.value.shape != value.shape or state.dtype not in INTEGERS:
            value = None
        else:
            pairs = zip(value.flat, after.value.flat, strict=True)
            covered = tensor((cover(a, b, True) for a, b in pairs), value.shape)
            value = value if list(covered.flat) == list(value.flat) else covered
    return state if shape == state.shape and value is state.value else Fact(state.dtype, shape, value)


def _loop(inference: Inference, op: Operator) -> Sequence[Fact]:
    body: ir.Graph = op.get("body")
    start = inference.symbols.count
    carried = [op.fact(i) for i in range(2, len(op.inputs))]
    condition = op.fact(1) if op.has(1) else Fact(ir.DataType.BOOL, (), tensor([1], ()))
    number = Fact(ir.DataType.INT64, (), tensor([inference.symbols.dim()], ()))

    def step(states: list[Fact]) -> tuple[list[Fact], list[Fact]]:
        outputs = inference.body(body, [number, *states])
        return outputs[: len(states)], outputs[len(states) :]

    states, scanned = _settle(inference, [condition, *carried], step)
    always = states[0].value is not None and list(states[0].value.flat) == [1]
    limit = op.elements(0) if op.has(0) else None
    final, items = inference.renew(states[1:], start), inference.renew(scanned, start)
    trips: Dim = inference.symbols.dim()
    if always and limit is not None and len(limit) == 1 and isinstance(limit[0], int | Expr):
        trips = maximum(limit[0], 0)
    stacked = []
    for fact in items:
        shape = fact.shape
        if shape is not None and lower(trips) < 1:  # without an iteration onnxruntime writes 0 for dims that it lacks
            shape = op.fresh(len(shape))
        stacked.append(Fact(fact.dtype, None if shape is None else (trips, *shape)))
    return [*final, *stacked]


def _scan(inference: Inference, op: Operator) -> Sequence[Fact] | None:
    if op.version < 9:  # had a batch dimension of its own
        inference.forget(op.get("body"))
        return None
    body: ir.Graph = op.get("body")
    scans = op.get("num_scan_inputs")
    number = len(op.inputs) - scans
    axes = op.get("scan_input_axes") or [0] * scans
    start = inference.symbols.count
    items, length = [], None
    for i in range(scans):
        fact = op.fact(number + i)
        if fact.shape is None:
            items.append(Fact(fact.dtype))
            continue
        axis = axis_of(axes[i], len(fact.shape))
        size = fact.shape[axis]
        length = size if length is None or isinstance(size, int) else length
        items.append(Fact(fact.dtype, fact.shape[:axis] + fact.shape[axis + 1 :]))

    def step(states: list[Fact]) -> tuple[list[Fact], list[Fact]]:
        outputs = inference.body(body, [*states, *items])
        return outputs[:number], outputs[number:]

    states, scanned = _settle(inference, [op.fact(i) for i in range(number)], step)
    places = op.get("scan_output_axes") or [0] * len(scanned)
    size = inference.symbols.dim() if length is None else length
    stacked = []
    for fact, place in zip(inference.renew(scanned, start), places, strict=True):
        if fact.shape is None:
            stacked.append(Fact(fact.dtype))
            continue
        axis = axis_of(place, len(fact.shape) + 1)
        stacked.append(Fact(fact.dtype, (*fact.shape[:axis], size, *fact.shape[axis:])))
    return [*inference.renew(states, start), *stacked]


def _sequence_map(inference: Inference, op: Operator) -> Sequence[Fact] | None:
    body: ir.Graph = op.get("body")
    inference.body(body, [UNKNOWN] * len(body.inputs))
    return None


CONTROL_RULES: Final[dict[str, ControlRule]] = {
    "If": _if,
    "Loop": _loop,
    "Scan": _scan,
    "SequenceMap": _sequence_map,
}
