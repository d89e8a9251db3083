"""Builds valid graphs node by node, knowing every shape at three assignments of the symbolic dimensions.

A dimension is a triple of sizes, one for each assignment. The shapes and types of each node's outputs come from onnx's
own inference at each of them, so that what is added is valid everywhere; integer values that shapes are computed from
are followed as well.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Array = np.ndarray[Any, np.dtype[Any]]
Dim = tuple[int, ...]

ASSIGNMENTS = 3
SYMBOLS: dict[str, Dim] = {"N": (1, 2, 5), "M": (3, 1, 4), "K": (2, 6, 1)}
"""Sizes of each symbol. At least one assignment makes each symbol 1, where wrong broadcasting hides or shows."""
FLOATS = ("float32", "float16", "float64")


class CannotAdd(Exception):
    """What was tried does not fit here; the generator goes on with something else."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the graph: sizes of each axis and, for small integers, its contents, at each assignment."""

    name: str
    dtype: str
    dims: tuple[Dim, ...]
    values: tuple[Array, ...] | None = None
    exact: bool = False
    """No arithmetic before it: thresholds on it do not flip where a rewrite rounds differently."""
    constant: bool = False

    @property
    def rank(self) -> int:
        return len(self.dims)

    @property
    def static(self) -> bool:
        """Whether every axis has one size."""
        return all(len(set(dim)) == 1 for dim in self.dims)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a static tensor."""
        if not self.static:
            raise CannotAdd(f"{self.name} is dynamic")
        return tuple(dim[0] for dim in self.dims)

    def size(self, assignment: int) -> int:
        return int(np.prod([dim[assignment] for dim in self.dims], dtype=np.int64))


@dataclass
class Builder:
    """One graph under construction. A subgraph's builder has a parent, whose tensors it captures."""

    rng: random.Random
    opset: int
    parent: Builder | None = None
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[tuple[Tensor, list[str | int]]] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    overridable: set[str] = field(default_factory=set)
    pool: list[Tensor] = field(default_factory=list)
    functions: list[onnx.FunctionProto] = field(default_factory=list)
    only_nodes: bool = False
    """A function's body has no initializers."""
    counter: list[int] = field(default_factory=lambda: [0])

    # --- choice ------------------------------------------------------------------------------------------------------

    def maybe(self, probability: float = 0.5) -> bool:
        return self.rng.random() < probability

    def array(self, shape: Sequence[int], dtype: str = "float32", low: float = -1.5, high: float = 1.5) -> Array:
        """Random values: floats with few digits, and rarely all alike."""
        if min(shape, default=0) < 0:
            raise CannotAdd("a negative size")
        generator = np.random.default_rng(self.rng.getrandbits(32))
        kind = np.dtype(dtype)
        if kind.kind == "b":
            return generator.integers(0, 2, shape).astype(kind)
        if kind.kind in "iu":
            return generator.integers(0 if kind.kind == "u" else -3, 4, shape).astype(kind)
        if self.maybe(0.1):
            return np.full(shape, generator.integers(1, 4), kind)
        return np.asarray(np.round(generator.uniform(low, high, shape), 3)).astype(kind)

    def pick(self, *dtypes: str, rank: int | None = None, least: int = 0, constant: bool = False) -> Tensor:
        """A tensor of the pool; recent ones are likelier."""
        found = [
            x
            for x in self.visible()
            if (not dtypes or x.dtype in dtypes)
            and (rank is None or x.rank == rank)
            and x.rank >= least
            and (constant or not x.constant)
        ]
        if not found:
            raise CannotAdd(f"no {dtypes} of rank {rank}")
        return found[max(self.rng.randrange(len(found)), self.rng.randrange(len(found)))]

    def visible(self) -> list[Tensor]:
        return (self.parent.visible() if self.parent else []) + self.pool

    def fresh(self, prefix: str = "t") -> str:
        self.counter[0] += 1
        return f"{prefix}{self.counter[0]}"

    # --- parts -------------------------------------------------------------------------------------------------------

    def input(self, dtype: str, dims: Sequence[str | int]) -> Tensor:
        sizes = tuple(SYMBOLS[dim] if isinstance(dim, str) else (dim,) * ASSIGNMENTS for dim in dims)
        tensor = Tensor(self.fresh("x"), dtype, sizes, exact=True)
        self.inputs.append((tensor, list(dims)))
        self.pool.append(tensor)
        return tensor

    def const(self, array: Any, dtype: str | None = None, how: str | None = None) -> Tensor:
        """A constant as an initializer, a Constant node, or something that folds to it."""
        value = np.asarray(array, dtype=dtype)
        name = self.fresh("c")
        tensor = Tensor(
            name,
            str(value.dtype),
            tuple((n,) * ASSIGNMENTS for n in value.shape),
            (value,) * ASSIGNMENTS if value.dtype.kind in "iub" else None,
            exact=True,
            constant=True,
        )
        if self.only_nodes:
            how = "node"
        how = how or self.rng.choices(("initializer", "node", "list", "identity", "twin"), (10, 5, 2, 1, 1))[0]
        if how == "list" and value.ndim == 1 and value.size and value.dtype in (np.float32, np.int64):
            key = "value_floats" if value.dtype == np.float32 else "value_ints"
            if self.opset >= 12:
                self.nodes.append(helper.make_node("Constant", [], [name], **{key: value.tolist()}))
                return tensor
        if how == "node":
            self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)))
        elif how == "identity":
            inner = self.fresh("c")
            self.initializers.append(numpy_helper.from_array(value, inner))
            self.nodes.append(helper.make_node("Identity", [inner], [name]))
        else:
            self.initializers.append(numpy_helper.from_array(value, name))
            if how == "twin":
                self.initializers.append(numpy_helper.from_array(value, self.fresh("c")))
        return tensor

    def op(self, op_type: str, *inputs: Tensor | None, count: int = 1, **attributes: Any) -> Tensor:
        """Adds a node of one output that matters (of ``count``), and returns that output."""
        return self.ops(op_type, *inputs, count=count, **attributes)[0]

    def ops(self, op_type: str, *inputs: Tensor | None, count: int = 1, **attributes: Any) -> list[Tensor]:
        """Adds a node; raises where onnx's inference does not find it valid at every assignment."""
        if op_type in _NOT_EMPTY and any(0 in dim for x in inputs[:1] if x for dim in x.dims):
            raise CannotAdd("onnxruntime crashes on some of these where they are empty")
        names = [self.fresh() for _ in range(count)]
        node = helper.make_node(op_type, [x.name if x else "" for x in inputs], names, **attributes)
        schema = onnx.defs.get_schema(op_type, self.opset, "")
        found = [self._infer(schema, node, inputs, at) for at in range(ASSIGNMENTS)]
        moved = op_type in _MOVES and all(x is None or x.exact for x in inputs)
        values = _values(op_type, inputs, attributes, [shapes[names[0]][1] for shapes in found])
        result = []
        for index, name in enumerate(names):
            shapes = [each[name][1] for each in found]
            if len({len(shape) for shape in shapes}) != 1 or max(int(np.prod(shape)) for shape in shapes) > 20_000:
                raise CannotAdd(f"{op_type} gives ranks or sizes that do not suit")
            contents = None
            if index == 0 and values is not None:
                if any(v.shape != s for v, s in zip(values, shapes, strict=True)):
                    raise CannotAdd(f"{op_type} is followed wrongly")
                contents = tuple(v.astype(found[0][name][0]) for v in values)
            dims = tuple(zip(*shapes, strict=True))
            result.append(Tensor(name, found[0][name][0], dims, contents, exact=moved))
        self.nodes.append(node)
        self.pool.extend(result)
        return result

    def _infer(
        self, schema: onnx.defs.OpSchema, node: onnx.NodeProto, inputs: Sequence[Tensor | None], at: int
    ) -> dict[str, tuple[str, tuple[int, ...]]]:
        types, data = {}, {}
        for x in inputs:
            if x is None:
                continue
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(x.dtype))
            types[x.name] = helper.make_tensor_type_proto(kind, [dim[at] for dim in x.dims])
            if x.values is not None:
                data[x.name] = numpy_helper.from_array(x.values[at], x.name)
        try:
            found = onnx.shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8
            )
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
            raise CannotAdd(str(error)) from error
        result = {}
        for name in node.output:
            if name not in found or not found[name].tensor_type.HasField("shape"):
                raise CannotAdd(f"{node.op_type} has no shape that inference knows")
            kind = found[name].tensor_type
            if any(not dim.HasField("dim_value") for dim in kind.shape.dim):
                raise CannotAdd(f"{node.op_type} has a size that inference does not know")
            if any(dim.dim_value < 0 for dim in kind.shape.dim):
                raise CannotAdd(f"onnx's inference gives {node.op_type} a negative size, and aborts where it meets one")
            dtype = str(helper.tensor_dtype_to_np_dtype(kind.elem_type))
            result[name] = (dtype, tuple(dim.dim_value for dim in kind.shape.dim))
        return result

    def add_node(self, node: onnx.NodeProto, outputs: Sequence[Tensor]) -> None:
        """Adds a node whose outputs the caller knows: control flow and functions."""
        self.nodes.append(node)
        self.pool.extend(outputs)

    # --- the rest of the operators' interfaces -----------------------------------------------------------------------

    def axes_op(self, op_type: str, x: Tensor, axes: Sequence[int], since: int, **attributes: Any) -> Tensor:
        """An operator whose axes became an input with opset ``since``."""
        if self.opset >= since:
            return self.op(op_type, x, self.const(np.array(axes, np.int64)), **attributes)
        return self.op(op_type, x, axes=list(axes), **attributes)

    def squeeze(self, x: Tensor, *axes: int) -> Tensor:
        return self.axes_op("Squeeze", x, axes, 13)

    def unsqueeze(self, x: Tensor, *axes: int) -> Tensor:
        return self.axes_op("Unsqueeze", x, axes, 13)

    def reduce(self, kind: str, x: Tensor, axes: Sequence[int], keepdims: int = 1) -> Tensor:
        return self.axes_op(kind, x, axes, 13 if kind == "ReduceSum" else 18, keepdims=keepdims)

    def slice(
        self, x: Tensor, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], steps: Sequence[int]
    ) -> Tensor:
        rest = [self.const(np.array(each, np.int64)) for each in (starts, ends, axes, steps)]
        return self.op("Slice", x, *rest)

    def split(self, x: Tensor, sizes: Sequence[int], axis: int) -> list[Tensor]:
        if self.opset >= 13:
            return self.ops("Split", x, self.const(np.array(sizes, np.int64)), axis=axis, count=len(sizes))
        return self.ops("Split", x, axis=axis, split=list(sizes), count=len(sizes))

    def reshape(self, x: Tensor, shape: Sequence[int], **attributes: Any) -> Tensor:
        return self.op("Reshape", x, self.const(np.array(shape, np.int64)), **attributes)

    def clip(self, x: Tensor, low: float | None, high: float | None) -> Tensor:
        bounds = [None if v is None else self.const(np.array(v, x.dtype)) for v in (low, high)]
        return self.op("Clip", x, *bounds)

    def child(self) -> Builder:
        """A builder of a subgraph."""
        return Builder(self.rng, self.opset, self, counter=self.counter, functions=self.functions)

    def info(self, tensor: Tensor, dims: Sequence[str | int] | None = None, named: bool = True) -> onnx.ValueInfoProto:
        """Declares a tensor: symbols of the inputs by their names, other dynamic sizes by new ones or none."""
        if dims is None:
            symbols = {sizes: name for name, sizes in SYMBOLS.items()}
            dims = [
                dim[0] if len(set(dim)) == 1 else symbols.get(dim, self.fresh("d") if named else "")
                for dim in tensor.dims
            ]
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
        return helper.make_tensor_value_info(tensor.name, kind, [dim if dim != "" else None for dim in dims])

    def graph(self, name: str = "g") -> onnx.GraphProto:
        inputs = [self.info(tensor, dims) for tensor, dims in self.inputs]
        known = {t.name: t for t in self.initializers}
        inputs += [
            helper.make_tensor_value_info(n, known[n].data_type, known[n].dims) for n in sorted(self.overridable)
        ]
        return helper.make_graph(
            self.nodes, name, inputs, [self.info(x) for x in self.outputs], initializer=self.initializers
        )


_NOT_EMPTY = frozenset(
    [
        "InstanceNormalization",
        "LayerNormalization",
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Resize",
        "Softmax",
    ]
)
_MOVES = frozenset(
    [
        "Identity",
        "Transpose",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Concat",
        "Split",
        "Slice",
        "Gather",
        "Expand",
        "Tile",
        "Pad",
        "Shape",
        "Range",
        "ConstantOfShape",
        "Where",
        "Cast",
        "Equal",
        "Not",
        "Neg",
        "Abs",
        "Relu",
        "Size",
        "DepthToSpace",
        "SpaceToDepth",
        "GatherElements",
        "ScatterND",
    ]
)


def _values(
    op_type: str, inputs: Sequence[Tensor | None], attributes: dict[str, Any], shapes: Sequence[tuple[int, ...]]
) -> tuple[Array, ...] | None:
    """What an integer computation gives at each assignment; None where it is not followed."""
    if op_type in ("Shape", "Size"):
        x = inputs[0]
        assert x is not None
        whole = [np.array([dim[at] for dim in x.dims], np.int64) for at in range(ASSIGNMENTS)]
        if op_type == "Size":
            return tuple(np.array(np.prod(each), np.int64) for each in whole)
        return tuple(each[attributes.get("start", 0) : attributes.get("end")] for each in whole)
    if not inputs or any(x is None or x.values is None for x in inputs):
        return None
    result = []
    for at, shape in enumerate(shapes):
        value = _evaluate(op_type, [x.values[at] for x in inputs if x is not None and x.values], attributes, shape)
        if value is None or value.size > 64:
            return None
        result.append(value)
    return tuple(result)


def _evaluate(op_type: str, x: list[Array], attributes: dict[str, Any], shape: tuple[int, ...]) -> Array | None:
    match op_type:
        case "Gather" if x[0].shape[attributes.get("axis", 0)] or not x[1].size:
            return np.asarray(np.take(x[0], x[1], axis=attributes.get("axis", 0)))
        case "Concat":
            return np.concatenate(x, axis=attributes["axis"])
        case "Identity" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" | "Cast":
            if x[0].size != int(np.prod(shape)):
                raise CannotAdd(f"{op_type} changes the number of elements")
            return x[0].reshape(shape)
        case "Slice" if len(x) == 5 and x[0].ndim == 1:
            first, last, step = int(x[1][0]), int(x[2][0]), int(x[4][0])
            return x[0][_bounds(first, last, step, len(x[0]))]
        case "Range":
            return np.asarray(np.arange(x[0].item(), x[1].item(), x[2].item()))
        case "Expand":
            return np.array(np.broadcast_to(x[0], shape))
        case "Add" | "Sub" | "Mul" | "Equal" | "Greater" | "Less":
            function = {"Sub": "subtract", "Mul": "multiply"}.get(op_type, op_type.lower())
            return np.asarray(getattr(np, function)(x[0], x[1]))
        case "Div" if np.all(x[1] > 0) and np.all(x[0] >= 0):
            return np.asarray(x[0] // x[1])
        case "Max" | "Min" if len(x) == 2:
            return np.asarray(getattr(np, op_type.lower() + "imum")(x[0], x[1]))
        case "Where":
            return np.where(x[0], x[1], x[2])
        case "ReduceProd":
            return np.asarray(np.prod(x[0])).reshape(shape)
        case "Not":
            return np.logical_not(x[0])
    return None


def _bounds(first: int, last: int, step: int, length: int) -> slice:
    """ONNX's Slice as numpy's: ends beyond the tensor are cut, also before its beginning."""
    first = first + length if first < 0 else first
    last = last + length if last < 0 else last
    if step > 0:
        return slice(min(max(first, 0), length), min(max(last, 0), length), step)
    first, last = min(max(first, 0), length - 1), min(max(last, -1), length - 1)
    return slice(first, None if last < 0 else last, step)
