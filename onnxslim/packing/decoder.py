"""Nodes that unpack a tensor, each with constant inputs only: onnxruntime folds them when it creates a session.

Only operators of opset 13 are used, and only those that onnxruntime folds: not NonZero and Compress, whose results have
sizes that are not known before, and not DequantizeLinear. GatherElements takes 1 ns an element where Gather, which
copies blocks, takes 15.
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
        self._tables: dict[tuple[int, str], ir.Value] = {}

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
        mask = pack((content.words != 0).view(np.uint8), 1)
        ones = self._read("digits", 1, self._index(mask, 1))
        return self.op("GatherElements", values, self._numbered(ones), axis=0), 8 * len(mask)

    def _scattered(self, content: Content, packing: Packing, dtype: ir.DataType) -> Flat:
        """Values at the sums of the gaps before them, counted from 1.

        What only skips writes a zero where there is one, at the last place that it skips. The numbers that fill up the
        last bytes do so behind the end.
        """
        bits, longest = packing.gap_bits, 2**packing.gap_bits - 1
        codes = gap_codes(content, bits)
        padded = np.full(-(-len(codes) // 8) * 8, longest, np.uint8)
        padded[: len(codes)] = codes
        if 8 % bits:
            steps = self._from_planes(padded, bits)
            reads = self.op("Less", steps, self.numbers(np.array(longest, np.int32)))
            ones = self.op("Cast", reads, to=ir.DataType.INT32.value)
            lengths = self.op("Add", steps, ones)
        else:
            index = self._index(pack(padded, bits), bits)
            lengths, ones = (self._read(what, bits, index) for what in ("lengths", "ones"))
        places = self.op("CumSum", lengths, self.numbers(ZERO))
        values = self._values(content, packing.value_bits, dtype)
        values = self.op("GatherElements", values, self._numbered(ones), axis=0)
        # Behind the end there is room for what fills up, and for the zeros after the last value.
        length = max(int(np.minimum(padded.astype(np.int64) + 1, longest).sum()), content.count) + 1
        fill = {} if dtype == ir.DataType.FLOAT else {"value": ir.Tensor(np.zeros(1, dtype.numpy()), dtype=dtype)}
        zeros = self.op("ConstantOfShape", self.numbers(np.array([length], np.int64)), **fill)
        return self.op("ScatterElements", zeros, places, values, axis=0), length

    def _looked_up(self, content: Content, words: Words, bits: int, dtype: ir.DataType, *, zero: bool) -> Flat:
        """``words`` as places in a codebook, which begins with a zero where there is one."""
        palette = content.palette
        assert palette is not None
        if zero:
            palette = np.concatenate([np.zeros(1, palette.dtype), palette])
        codes = np.searchsorted(palette, words).astype(np.uint8)
        if 8 % bits:
            places, length = self._from_planes(codes, bits), -(-len(codes) // 8) * 8
        else:
            packed = pack(codes, bits)
            places, length = self._read("digits", bits, self._index(packed, bits)), 8 * len(packed) // bits
        codebook = self.own(palette.view(dtype.numpy()), dtype)
        return self.op("GatherElements", codebook, places, axis=0), length

    def _values(self, content: Content, bits: int, dtype: ir.DataType) -> ir.Value:
        """A zero and the values in their order."""
        words = np.concatenate([np.zeros(1, content.words.dtype), content.values])
        if bits:
            return self._looked_up(content, words, bits, dtype, zero=True)[0]
        return self.own(words.view(dtype.numpy()), dtype)

    # -- their parts ---------------------------------------------------------------------------------------------------

    def _split(self, flat: ir.Value, counts: Sequence[int], length: int) -> list[ir.Value]:
        """Parts of so many elements each; what is left over is a part that nothing reads."""
        sizes = [*counts, *([length - sum(counts)] if length > sum(counts) else [])]
        if len(sizes) == 1:
            return [flat]
        node = ir.node("Split", [flat, self.own(np.array(sizes, np.int64))], {"axis": 0}, num_outputs=len(sizes))
        self.nodes.append(node)
        for value in node.outputs:
            value.name = self.names.fresh("d")
        return list(node.outputs)[: len(counts)]

    def _index(self, packed: npt.NDArray[np.uint8], bits: int) -> ir.Value:
        """``int32[8 / bits * len(packed)]``: the place in a table (`_table`) of each number that is packed."""
        places = self.op("Cast", self.own(packed), to=ir.DataType.INT32.value)
        if bits == 8:
            return places
        rows = self.numbers(256 * np.arange(8 // bits, dtype=np.int32).reshape(-1, 1))
        return self.op("Reshape", self.op("Add", places, rows), self.numbers(FLAT))

    def _read(self, what: str, bits: int, index: ir.Value) -> ir.Value:
        if bits == 8 and what == "digits":
            return index
        return self.op("GatherElements", self._table(bits, what), index, axis=0)

    def _from_planes(self, codes: npt.NDArray[np.uint8], bits: int) -> ir.Value:
        """``int32``: numbers of a plane for each bit, filled up; a product of floats is the fastest sum."""
        digits = self._read("floats", 1, self._index(pack(codes, bits), 1))
        planes = self.op("Reshape", digits, self.numbers(np.array([bits, -1])))
        total = self.op("MatMul", self.numbers(2.0 ** np.arange(bits, dtype=np.float32)), planes)
        return self.op("Cast", total, to=ir.DataType.INT32.value)

    def _numbered(self, ones: ir.Value) -> ir.Value:
        """For ones their number so far, counted from 1; for zeros 0."""
        return self.op("Mul", self.op("CumSum", ones, self.numbers(ZERO)), ones)

    # -- tables of what a byte says, computed once for a graph ---------------------------------------------------------

    def _table(self, bits: int, what: str) -> ir.Value:
        """``[8 / bits * 256]``: of the lowest number in each byte, of the next one, and so on.

        Args:
            bits: Of a number.
            what: ``digits``: the number; ``floats``: the same; ``ones``: whether it is below the largest one;
                ``lengths``: how far it goes as a gap with the value that follows.
        """
        key = bits, what
        if key not in self._tables:
            self._tables[key] = self._made_table(bits, what)
        return self._tables[key]

    def _made_table(self, bits: int, what: str) -> ir.Value:
        if what == "digits":
            first, end, one = (self.numbers(np.array(each, np.int32)) for each in (0, 256, 1))
            powers = self.numbers(2 ** np.arange(0, 8, bits, dtype=np.int32).reshape(-1, 1))
            shifted = self.op("Div", self.op("Range", first, end, one), powers)
            digits = self.op("Mod", shifted, self.numbers(np.array(2**bits, np.int32)))
            return self.op("Reshape", digits, self.numbers(FLAT))
        digits = self._table(bits, "digits")
        if what == "floats":
            return self.op("Cast", digits, to=ir.DataType.FLOAT.value)
        if what == "ones":
            less = self.op("Less", digits, self.numbers(np.array(2**bits - 1, np.int32)))
            return self.op("Cast", less, to=ir.DataType.INT32.value)
        return self.op("Add", digits, self._table(bits, "ones"))
