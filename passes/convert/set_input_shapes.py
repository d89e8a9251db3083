"""Other input shapes, and what follows from them for the rest of the graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis import infer_shapes
from onnxslim.errors import InputError, did_you_mean
from onnxslim.evaluation.tier import Tier
from onnxslim.graph.walk import bodies
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass


@dataclass(frozen=True)
class SetInputShapes(Pass):
    """Declare other shapes of inputs, e.g. to fix dynamic axes.

    Declared shapes of everything behind the inputs are dropped and those of the outputs inferred again, since what the
    file says of them need not hold any more. It changes the interface: run it before a pipeline, not within one.
    """

    name: ClassVar[str] = "set-input-shapes"
    tier: ClassVar[Tier] = Tier.EXACT

    shapes: tuple[str, ...] = field(default=(), metadata={"help": "NAME:DIM,DIM,...; -1 leaves an axis dynamic"})

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Edits in place.

        Raises:
            InputError: An unknown name, another rank than the declared one, or no list of whole numbers.
        """
        given = dict(map(parse_shape, self.shapes))
        inputs = {value.name or "": value for value in model.graph.inputs}
        for name, dims in given.items():
            if name not in inputs:
                raise InputError(
                    f"input {name!r} not found in model", where="input_shapes", mend=did_you_mean(name, inputs)
                )
            declared = inputs[name].shape
            if declared is not None and len(declared) != len(dims):
                raise InputError(
                    f"{len(dims)} sizes are given for an input of {len(declared)} dimensions",
                    where=f"{name}:{','.join(map(str, dims))}",
                    mend=f"give {len(declared)}; -1 leaves one dynamic",
                )
        if given and context.allow(Action(self.name, tuple(given), model.graph.name or "")):
            for name, dims in given.items():
                inputs[name].shape = _merged(inputs[name].shape, dims)
            _infer_again(model)
        return context.result()


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Name and sizes; the name may contain colons.

    >>> parse_shape("images:0:1,3,-1,224")
    ('images:0', (1, 3, -1, 224))

    Raises:
        InputError: It is not ``NAME:DIM,DIM,...``.
    """
    name, colon, sizes = text.rpartition(":")
    try:
        dims = tuple(int(size) for size in sizes.split(",")) if sizes.strip() else ()
    except ValueError:
        dims, colon = (), ""
    if not colon or not name or any(size < -1 for size in dims):
        raise InputError(f"{text!r} is not a shape", where="input_shapes", mend="write it like images:1,3,224,224")
    return name, dims


def _merged(declared: ir.Shape | None, dims: tuple[int, ...]) -> ir.Shape:
    """The sizes given; where one is -1 the axis keeps its symbol, or loses its number."""
    sizes: list[int | ir.SymbolicDim] = []
    for axis, size in enumerate(dims):
        old = declared[axis] if declared is not None else None
        sizes.append(size if size >= 0 else old if isinstance(old, ir.SymbolicDim) else ir.SymbolicDim(None))
    return ir.Shape(sizes)


def _infer_again(model: ir.Model) -> None:
    """Drops the shapes behind the inputs; outputs get what is inferred, else keep their rank and their symbols."""
    declared = [value.shape for value in model.graph.outputs]
    for body in bodies(model):
        for node in body:
            for value in node.outputs:
                value.shape = None
    infer_shapes(model).apply(model.graph.outputs)
    for value, old in zip(model.graph.outputs, declared, strict=True):
        if value.producer() is None or old is None:
            continue
        if value.shape is None:
            value.shape = ir.Shape([ir.SymbolicDim(None) if isinstance(dim, int) else dim for dim in old])
        elif len(value.shape) == len(old):
            unnamed = [isinstance(new, ir.SymbolicDim) and new.value is None for new in value.shape]
            value.shape = ir.Shape(
                [
                    past if nameless and isinstance(past, ir.SymbolicDim) else new
                    for new, past, nameless in zip(value.shape, old, unnamed, strict=True)
                ]
            )
