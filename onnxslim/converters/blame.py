"""The first operation of a framework whose output no value of its ONNX file has."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.converters.child import TracedStep
from onnxslim.evaluation.compare import OWN_FACTOR, OWN_SHARE, dtype_scale, numeric
from onnxslim.execution import Feed, OnnxRuntime
from onnxslim.graph import load
from onnxslim.graph.edit import constant_tensor

SHARES = (OWN_SHARE, OWN_SHARE / 10, 0.0)
"""Errors that are no difference, as a share of the largest magnitude: gross mistakes are looked for first, for sums in
another order differ a little everywhere."""
MEMORY = 1 << 30
"""Bytes of inner values that are compared, about."""


@dataclass(frozen=True, slots=True)
class Blamed:
    """Where two computations part.

    Attributes:
        step: The operation of the framework.
        before: The last one in front of it that agrees; empty where none does.
        node: The node of the file that should compute it, where it is known by name.
    """

    step: str
    before: str
    node: str

    def __str__(self) -> str:
        node = f", {self.node} in the file" if self.node else ""
        before = f"{self.before} before it agrees" if self.before else "nothing before it could be compared"
        return f"the first operation that differs is {self.step}{node}; {before}"


def first_difference(steps: Sequence[TracedStep], path: str, feed: Feed) -> Blamed | None:
    """The first step whose output differs, with all that is computed from it.

    A step that an exporter has fused has no value of its own in the file, but what is computed from it does.

    Args:
        steps: In the order of computation.
        path: The file.
        feed: What both were run on.

    Returns:
        None where every step is found in the file.
    """
    model = load(path)
    values = _values(model, feed)
    for share in SHARES:
        agrees = agreeing(steps, values, share)
        reaches = _reaching(steps, agrees)
        differing = next((place for place, _ in enumerate(steps) if not agrees[place] and not reaches[place]), None)
        if differing is not None:
            break
    else:
        return None
    before = next((steps[place].name for place in range(differing - 1, -1, -1) if agrees[place]), "")
    maker = next((node for node in model.graph if steps[differing].value in _names(node)), None)
    node = "" if maker is None else f"{maker.op_type} {maker.name or maker.outputs[0].name!r}"
    return Blamed(steps[differing].name, before, node)


def agreeing(
    steps: Sequence[TracedStep], values: Mapping[tuple[int, ...], Sequence[np.ndarray]], share: float
) -> list[bool]:
    """For each step whether some value of its shape is equal.

    Args:
        steps: Of the framework.
        values: Of the file, by shape. Channels may lie last or second.
        share: Of the largest magnitude that an error may be; the numeric tier's bound is allowed in any case.
    """
    return [
        any(_equal(form, value, share) for form in _layouts(step.output) for value in values.get(form.shape, ()))
        for step in steps
    ]


def _layouts(array: np.ndarray) -> Iterator[np.ndarray]:
    """An array, and the same with its channels moved: ONNX has them second, TensorFlow and JAX have them last."""
    yield array
    if array.ndim in (3, 4, 5):
        yield np.moveaxis(array, -1, 1)
        yield np.moveaxis(array, 1, -1)


def _equal(one: np.ndarray, other: np.ndarray, share: float) -> bool:
    if one.dtype.kind != other.dtype.kind:
        return False
    if one.dtype.kind in "biu":
        return bool((one == other).all())
    own = share * float(np.abs(one[np.isfinite(one)]).max(initial=0.0)) / OWN_FACTOR
    scale = dtype_scale({one.dtype.name, other.dtype.name})
    return numeric(one, other, "", 0, own=own, scale=scale)[0] is None


def _reaching(steps: Sequence[TracedStep], agrees: Sequence[bool]) -> list[bool]:
    """For each step whether anything that is computed from it agrees."""
    found = [False] * len(steps)
    for place in range(len(steps) - 1, -1, -1):
        found[place] = any(agrees[user] or found[user] for user in steps[place].users if user > place)
    return found


def _values(model: ir.Model, feed: Feed) -> dict[tuple[int, ...], list[np.ndarray]]:
    taps = [
        value
        for node in model.graph
        for value in node.outputs
        if value.name and constant_tensor(value) is None and not value.is_graph_output()
    ]
    session = OnnxRuntime(optimize=False).open(model, taps)
    found: dict[tuple[int, ...], list[np.ndarray]] = defaultdict(list)
    held = 0
    computed = [each for each in session.run(feed).values() if isinstance(each, np.ndarray)]
    for value in itertools.chain(computed, _constants(model)):
        if held < MEMORY:
            held += value.nbytes
            found[value.shape].append(value)
    return found


def _constants(model: ir.Model) -> Iterator[np.ndarray]:
    """What an exporter has computed beforehand."""
    for value in itertools.chain(model.graph.initializers.values(), *(node.outputs for node in model.graph)):
        if (tensor := constant_tensor(value)) is not None and tensor.dtype != ir.DataType.STRING:
            yield tensor.numpy()


def _names(node: ir.Node) -> set[str]:
    return {value.name or "" for value in node.outputs}
