"""Conv, ConvTranspose, Gemm and MatMul as one thing: rows of an input times a matrix for each group, and a bias.

All that tells these operators apart is decoded here, and nowhere else: which axis of the weight holds the outputs,
which is summed over, what ``transA`` and ``transB`` turn, and where the bias is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.graph.edit import constant_tensor
from onnxslim.ops.unfold import Unfold

TRANSPOSES = ("transA", "transB")
"""The attributes of Gemm that say that a matrix is read transposed: whatever is not 0."""
_READ = ("group", "strides", "dilations", "pads", "auto_pad", *TRANSPOSES)


@dataclass(frozen=True, slots=True)
class Contraction:
    """The geometry of a contraction.

    Attributes:
        op_type: Conv, ConvTranspose, Gemm or MatMul.
        shape: Of the weight: ``[outputs, inputs / groups, *kernel]`` of a Conv, ``[inputs, outputs / groups, *kernel]``
            of a ConvTranspose, ``[..., inputs, outputs]`` or its transpose of matrices.
        output_axis: Of the weight: its output channels.
        input_axis: Of the weight: the channels that are summed over.
        data_axis: The same of the input.
        slot: Of the weight, 1 but for a MatMul with the weight on the left.
        groups: Of a convolution.
        unfold: How the input becomes rows that the matrix multiplies; a reason where it cannot be said.
        alpha: Factor of the product; None where it is a function's parameter.
        beta: Factor of the bias, likewise.

    >>> weight = np.arange(6).reshape(2, 3)  # [inputs, outputs], as a Gemm reads it
    >>> gemm = Contraction("Gemm", weight.shape, output_axis=1, input_axis=0)
    >>> gemm.outputs, gemm.matrix(weight).tolist()
    (3, [[[0, 3], [1, 4], [2, 5]]])
    >>> gemm.with_matrix(gemm.matrix(weight)).tolist()
    [[0, 1, 2], [3, 4, 5]]
    """

    op_type: str
    shape: tuple[int, ...]
    output_axis: int
    input_axis: int
    data_axis: int = -1
    slot: int = 1
    groups: int = 1
    unfold: Unfold | str = "it is not known how its input becomes rows"
    alpha: float | None = 1.0
    beta: float | None = 1.0

    @property
    def outputs(self) -> int:
        """Output channels of all groups."""
        return self.shape[self.output_axis] * (self.groups if self.output_axis else 1)

    @property
    def inputs(self) -> int:
        """Input channels of all groups."""
        return self.shape[self.input_axis] * (self.groups if self.input_axis else 1)

    @property
    def places(self) -> int:
        """Places of a Conv's kernel, the last factor of the matrix's features; 1 of the others."""
        return math.prod(self.shape[2:]) if self.op_type == "Conv" else 1

    @property
    def scaled(self) -> bool:
        """Whether product and bias are added otherwise than as they are."""
        return (self.alpha, self.beta) != (1, 1)

    @property
    def rowwise(self) -> bool:
        """Whether the input's rows times the matrix are the output's rows: not so where outputs overlap."""
        return self.op_type != "ConvTranspose" and self.slot == 1

    @property
    def _blocks(self) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """The weight's shape with groups as axis 0; these axes as groups, outputs, features; where features begin."""
        if self.op_type in ("Conv", "ConvTranspose"):
            blocks = (self.groups, self.shape[0] // self.groups, *self.shape[1:])
            kernel = tuple(range(3, len(blocks)))
            return (blocks, (0, 1, 2, *kernel), 2) if self.op_type == "Conv" else (blocks, (0, 2, *kernel, 1), -1)
        blocks, before = (math.prod(self.shape[:-2]), *self.shape[-2:]), len(self.shape) - 3
        return blocks, (0, self.output_axis - before, self.input_axis - before), 2

    def matrix(self, array: np.ndarray) -> np.ndarray:
        """An array of the weight's shape as ``[groups, outputs, features]``: a view of it, in any dtype.

        Features are in the order of the columns that `unfold` gives. Outputs of a ConvTranspose are those of all places
        of its kernel, and its features the channels. Each matrix of a batch is a group.
        """
        blocks, order, lead = self._blocks
        moved = array.reshape(blocks).transpose(order)
        return moved.reshape(blocks[0], math.prod(moved.shape[1:lead]), math.prod(moved.shape[lead:]))

    def with_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """The array that `matrix` made a matrix of. One of a single feature gives what is broadcast to the shape."""
        blocks, order, lead = self._blocks
        moved, shape = [blocks[axis] for axis in order], list(self.shape)
        if matrix.shape[-1] == 1:
            moved[lead:] = [1] * len(moved[lead:])
            for axis in order[lead:]:
                shape[axis - len(blocks)] = 1
        return np.ascontiguousarray(matrix.reshape(moved).transpose(np.argsort(order))).reshape(shape)

    def by_channel(self, array: np.ndarray) -> np.ndarray:
        """Features of a Conv's `matrix` summed over the kernel: ``[groups, outputs, inputs of a group]``."""
        matrix = self.matrix(array)
        return np.asarray(matrix.reshape(*matrix.shape[:2], -1, self.places).sum(axis=3))

    def along(self, vector: np.ndarray, axis: int) -> np.ndarray:
        """``[outputs]`` or ``[inputs]`` along `output_axis` or `input_axis`, to be broadcast to the weight's shape.

        >>> conv = Contraction("Conv", (4, 1, 1), output_axis=0, input_axis=1, groups=2)
        >>> conv.along(np.array([5, 6]), conv.input_axis).ravel().tolist()  # each output's one channel
        [5, 5, 6, 6]
        """
        ones = (1,) * (len(self.shape) - 1 - axis)
        if self.groups == 1 or axis == 0:
            return vector.reshape(-1, *ones)
        # Axis 0 goes through all groups, axis 1 through the channels of one.
        rows = np.repeat(vector.reshape(self.groups, -1), self.shape[0] // self.groups, axis=0)
        return rows.reshape(*rows.shape, *ones)


def contraction_of(node: ir.Node, slot: int = 1, shape: Sequence[int] | None = None) -> Contraction | str:
    """The geometry of a node, or the reason why it has none.

    Args:
        node: Of any operator.
        slot: Of the weight.
        shape: Of the weight, with 0 for a dim that is not known; None where the weight must be a constant.
    """
    kind = node.op_type
    if node.domain not in ("", "ai.onnx"):
        return f"{node.domain}::{kind} is no contraction that is known"
    if kind not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return f"{kind} is no contraction that is known"
    if shape is None:
        tensor = constant_tensor(node.inputs[slot] if len(node.inputs) > slot else None)
        if tensor is None:
            return "the weights are not constant"
        shape = tensor.shape.numpy()
    shape, rank = tuple(shape), len(shape)
    if slot != 1 and (kind, rank) != ("MatMul", 2):
        return "it reads its weights elsewhere"
    if any(name in node.attributes and node.attributes[name].is_ref() for name in _READ):
        return "an attribute of it is a parameter of a function"
    if kind in ("Conv", "ConvTranspose"):
        groups = node.attributes.get_int("group", 1)
        if rank < 3:
            return f"the weights have {rank} axes, fewer than 3"
        if groups < 1 or shape[0] % groups:
            return "its channels do not divide into groups"
        if kind == "Conv":
            return Contraction(kind, shape, 0, 1, 1, groups=groups, unfold=_patches(node, shape, groups))
        pixels = Unfold(shape[0], axis=1) if groups == 1 else "it is a ConvTranspose of groups"
        return Contraction(kind, shape, 1, 0, 1, groups=groups, unfold=pixels)
    if rank < 2 or (rank != 2 and kind == "Gemm"):
        return f"the weights have {rank} axes, not 2"
    if kind == "MatMul":
        if slot == 0:
            return Contraction(kind, shape, 0, 1, -2, slot, unfold=Unfold(shape[1], axis=-2))
        known = Unfold(shape[0]) if rank == 2 else f"the weights have {rank} axes, not 2"
        return Contraction(kind, shape, rank - 1, rank - 2, unfold=known)
    (_, across), (into, out) = gemm_axes(node.attributes.get_int)
    axis = 0 if across == 0 else -1
    alpha, beta = (
        None if name in node.attributes and node.attributes[name].is_ref() else node.attributes.get_float(name, 1.0)
        for name in ("alpha", "beta")
    )
    return Contraction(kind, shape, out, into, axis, unfold=Unfold(shape[into], axis=axis), alpha=alpha, beta=beta)


def _patches(node: ir.Node, shape: tuple[int, ...], groups: int) -> Unfold | str:
    rank = len(shape) - 2
    unfold = Unfold(
        features=math.prod(shape[1:]),
        groups=groups,
        kernel=shape[2:],
        strides=tuple(node.attributes.get_ints("strides", (1,) * rank)),
        dilations=tuple(node.attributes.get_ints("dilations", (1,) * rank)),
        pads=tuple(node.attributes.get_ints("pads", (0,) * 2 * rank)),
        auto_pad=node.attributes.get_string("auto_pad", "NOTSET"),
    )
    lengths = len(unfold.strides), len(unfold.dilations), len(unfold.pads)
    if lengths != (rank, rank, 2 * rank) or min(unfold.pads, default=0) < 0:
        return "strides, dilations or pads do not suit the weights"
    return unfold


def gemm_axes(get: Callable[[str, int], Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The axes of a Gemm's A, rows and summed over, and of its B, summed over and columns; ``get`` reads an attribute.

    >>> gemm_axes({"transB": 1}.get)
    ((0, 1), (1, 0))
    """
    left, right = ((1, 0) if get(name, 0) else (0, 1) for name in TRANSPOSES)
    return left, right


def output_axis(node: ir.Node, rank: int = 2) -> int:
    """The axis of the output channels in the weight of a Conv, Gemm or MatMul, of ``rank`` axes if a MatMul's."""
    if node.op_type == "Gemm":
        return gemm_axes(node.attributes.get_int)[1][1]
    return 0 if node.op_type == "Conv" else rank - 1


def bias_of(node: ir.Node) -> tuple[ir.Node, ir.Value | None]:
    """The node that adds a contraction's bias, and the bias; None where there is none.

    That is the third input; of a MatMul the other input of the Add that alone reads it.
    """
    if node.op_type in ("Conv", "ConvTranspose", "Gemm"):
        return node, node.inputs[2] if len(node.inputs) > 2 else None
    uses = list(node.outputs[0].uses())
    if node.op_type != "MatMul" or len(uses) != 1 or node.outputs[0].is_graph_output():
        return node, None
    add = uses[0].node
    return (add, add.inputs[1 - uses[0].idx]) if add.op_type == "Add" and not add.domain else (node, None)
