"""Nodes that unpack a tensor, each with constant inputs only: onnxruntime folds them when it creates a session.

Only operators of opset 13 are used, and only those that onnxruntime folds: not NonZero and Compress, whose results have
sizes that are not known before, and not DequantizeLinear. onnxruntime keeps what each node gives until all are folded,
and memory that is touched for the first time costs more than what is computed into it: so numbers are bytes for as long
as they can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph.edit import Names, add_initializer

from .content import Content, Words
from .packing import Packing, gap_codes, pack

OPSET = 13
"""From which on Split takes the sizes as an input."""
ZERO = np.array(0, np.int32)
FLAT = np.array([-1])
PREFIX = "onnxslim.decode"
"""The name of the node that gives an unpacked tensor begins so: `decode` finds it by that."""

Flat: TypeAlias = tuple[ir.Value, int]
"""A vector and its length, the end of which may be left over."""


class Kit:
    """Makes decoders for one graph; what they have in common is there once.

    Args:
        graph: Gets the constants. The nodes are collected in ``nodes``, in the order in which they can run.
        names: Of the model.
    """

    def __init__(self, graph: ir.Graph, names: Names) -> None:
        self.graph, self.names = graph, names
        self.nodes: list[ir.Node] = []
        self._numbers: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self._empty: dict[ir.DataType, list[Flat]] = {}
        self._bits: ir.Value | None = None
        """``uint8[256, 8]``: those of each byte, computed once for a graph."""

    def op(self, op_type: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """The output of a new node."""
        node = ir.node(op_type, inputs, attributes)
        node.outputs[0].name = self.names.fresh("d")
        self.nodes.append(node)
        return node.outputs[0]

    def numbers(self, array: npt.NDArray[Any]) -> ir.Value:
        """A small constant, the same for all that ask for it."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._numbers:
            self._numbers[key] = self.own(array)
        return self._numbers[key]

    def own(self, array: npt.NDArray[Any], dtype: ir.DataType | None = None) -> ir.Value:
        """A constant."""
        name = self.names.fresh("c")
        return add_initializer(self.graph, name, ir.Tensor(array, dtype=dtype, name=name))

    def unpack(
        self, contents: Sequence[Content], packing: Packing, dtype: ir.DataType, shapes: Sequence[Sequence[int]]
    ) -> list[ir.Value]:
        """Adds the nodes that give some tensors, all unpacked together: what a node costs, it costs once."""
        whole = contents[0] if len(contents) == 1 else Content(np.concatenate([each.words for each in contents]))
        counts = [each.count for each in contents]
        before = 0
        if packing.places == "all":
            flat, length = self._looked_up(whole, whole.words, packing.value_bits, dtype, zero=whole.zeros > 0)
        elif packing.places == "mask":
            flat, length = self._masked(whole, packing, dtype)
        else:
            flat, length = self._scattered(whole, packing, dtype)
            before = 1
        parts = self._split(flat, [before] * (before > 0) + counts, length)[before:]
        return [
            self.op("Reshape", part, self.numbers(np.array(shape, np.int64)))
            for part, shape in zip(parts, shapes, strict=True)
        ]

    # -- the ways ------------------------------------------------------------------------------------------------------

    def _masked(self, content: Content, packing: Packing, dtype: ir.DataType) -> Flat:
        """Of each element its place among the values, which begin with a zero for those that are not set."""
        values = self._values(content, packing.value_bits, dtype)
        ones, length = self._integers((content.words != 0).view(np.uint8), 1)
        return self.op("GatherElements", values, self._numbered(ones)), length

    def _scattered(self, content: Content, packing: Packing, dtype: ir.DataType) -> Flat:
        """Values at the sums of the gaps before them, counted from 1.

        What only skips writes a zero where there is one, at the last place that it skips. The numbers that fill up the
        last bytes do so behind the end.
        """
        bits, longest = packing.gap_bits, 2**packing.gap_bits - 1
        codes = gap_codes(content, bits)
        padded = np.full(-(-len(codes) // 8) * 8, longest, np.uint8)
        padded[: len(codes)] = codes
        steps, _ = self._integers(padded, bits)
        reads = self.op("Less", steps, self.numbers(np.array(longest, np.int32)))
        ones = self.op("Cast", reads, to=ir.DataType.INT32.value)
        lengths = self.op("Add", steps, ones)
        places = self.op("CumSum", lengths, self.numbers(ZERO))
        values = self._values(content, packing.value_bits, dtype)
        values = self.op("GatherElements", values, self._numbered(ones))
        # Behind the end there is room for what fills up, and for the zeros after the last value.
        length = max(int(np.minimum(padded.astype(np.int64) + 1, longest).sum()), content.count) + 1
        zeros, length = self._zeros(length, dtype)
        return self.op("ScatterElements", zeros, places, values), length

    def _looked_up(self, content: Content, words: Words, bits: int, dtype: ir.DataType, *, zero: bool) -> Flat:
        """``words`` as places in a codebook, which begins with a zero where there is one."""
        palette = content.palette
        assert palette is not None
        if zero:
            palette = np.concatenate([np.zeros(1, palette.dtype), palette])
        codes = np.searchsorted(palette, words).astype(np.uint8)
        places, length = self._integers(codes, bits)
        codebook = self.own(palette.view(dtype.numpy()), dtype)
        return self.op("GatherElements", codebook, places), length

    def _values(self, content: Content, bits: int, dtype: ir.DataType) -> ir.Value:
        """A zero and the values in their order."""
        words = np.concatenate([np.zeros(1, content.words.dtype), content.values])
        if bits:
            return self._looked_up(content, words, bits, dtype, zero=True)[0]
        return self.own(words.view(dtype.numpy()), dtype)

    # -- their parts ---------------------------------------------------------------------------------------------------

    def _zeros(self, least: int, dtype: ir.DataType) -> Flat:
        """So many zeros, or an eighth more where another group has them."""
        for value, length in self._empty.get(dtype, []):
            if least <= length <= least * 9 // 8:
                return value, length
        fill = {} if dtype == ir.DataType.FLOAT else {"value": ir.Tensor(np.zeros(1, dtype.numpy()), dtype=dtype)}
        made = self.op("ConstantOfShape", self.numbers(np.array([least], np.int64)), **fill), least
        self._empty.setdefault(dtype, []).append(made)
        return made

    def _split(self, flat: ir.Value, counts: Sequence[int], length: int) -> list[ir.Value]:
        """Parts of so many elements each; what is left over is a part that nothing reads."""
        sizes = [*counts, *([length - sum(counts)] if length > sum(counts) else [])]
        if len(sizes) == 1:
            return [flat]
        node = ir.node("Split", [flat, self.own(np.array(sizes, np.int64))], num_outputs=len(sizes))
        self.nodes.append(node)
        for value in node.outputs:
            value.name = self.names.fresh("d")
        return list(node.outputs)[: len(counts)]

    def _integers(self, codes: npt.NDArray[np.uint8], bits: int) -> Flat:
        """``int32``: numbers of so many bits, then what fills up the last bytes."""
        packed = pack(codes, bits)
        length = 8 * len(packed) // bits
        if 8 % bits:
            powers = self.numbers(np.uint8(1) << np.arange(bits, dtype=np.uint8))
            planes = self.op("Reshape", self._digits(packed, 1), self.numbers(np.array([bits, -1])))
            return self.op("MatMulInteger", powers, planes), length
        digits = self._digits(packed, bits)
        return self.op("Cast", digits, to=ir.DataType.INT32.value), length

    def _digits(self, packed: npt.NDArray[np.uint8], bits: int) -> ir.Value:
        """``uint8``: the numbers in some bytes, in the order of `pack`."""
        if bits == 8:
            return self.own(packed)
        if bits > 1:
            rows = self._shifted(self.own(packed[np.newaxis]), bits, axis=0)
        else:
            if self._bits is None:
                self._bits = self._shifted(self.own(np.arange(256, dtype=np.uint8)[:, np.newaxis]), 1, axis=1)
            rows = self.op("Gather", self._bits, self.op("Cast", self.own(packed), to=ir.DataType.INT32.value))
        return self.op("Reshape", rows, self.numbers(FLAT))

    def _shifted(self, packed: ir.Value, bits: int, *, axis: int) -> ir.Value:
        """The numbers in some bytes along an axis, the lowest first: bits above are shifted out, then those below."""
        above = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
        top = self.op("BitShift", packed, self.numbers(np.expand_dims(above, 1 - axis)), direction="LEFT")
        return self.op("BitShift", top, self.numbers(np.array(8 - bits, np.uint8)), direction="RIGHT")

    def _numbered(self, ones: ir.Value) -> ir.Value:
        """For ones their number so far, counted from 1; for zeros 0."""
        return self.op("Mul", self.op("CumSum", ones, self.numbers(ZERO)), ones)
