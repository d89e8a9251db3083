"""Random networks with channels that can be removed: a stem, blocks as architectures stack them, a head.

Values are of three kinds: images ``[N, C, ...]``, tokens ``[N, T, C]`` and vectors ``[N, C]``. A block takes one value
and gives one of its own kind or, for a turn, of another.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from onnxslim.execution.feeds import Feed
from tests.fuzz.builder import ASSIGNMENTS, Builder, CannotAdd, Tensor
from tests.fuzz.generate import feed

OPSETS = (11, 12, 13, 14, 15, 16, 17, 17, 18, 19, 20, 21, 21)
ACTIVATIONS = ("Relu", "Sigmoid", "Tanh", "LeakyRelu", "Softplus", "HardSigmoid", "Elu")
WIDTHS = (4, 6, 8, 8, 12)

Block = Callable[["Net", Tensor], Tensor]


@dataclass
class Net:
    """A network under construction.

    Attributes:
        b: Its graph.
        built: The blocks that it has.
        depth: How deep blocks are nested.
    """

    b: Builder
    built: Counter[str] = field(default_factory=Counter)
    depth: int = 0
    _shared: dict[tuple[int, ...], Tensor] = field(default_factory=dict)

    @property
    def rng(self) -> random.Random:
        return self.b.rng

    # -- constants -----------------------------------------------------------------------------------------------------

    def numbers(self, *shape: int, scale: float = 1.0, at: float = 0.0) -> np.ndarray:
        """Random floats: no two alike, so that what gets to a wrong place shows."""
        generator = np.random.default_rng(self.rng.getrandbits(32))
        return (at + generator.normal(0, scale, shape)).astype(np.float32)

    def weight(self, *shape: int, summed: int) -> Tensor:
        """Weights of a sum over ``summed`` products; at times those of another layer."""
        if shape in self._shared and self.b.maybe(0.2) and self.b.parent is None:
            self.built["tied weights"] += 1
            return self._shared[shape]
        made = self.b.const(self.numbers(*shape, scale=summed**-0.5))
        if self.b.parent is None:
            self._shared[shape] = made
        return made

    def vector(self, size: int, scale: float = 0.5, at: float = 0.0) -> Tensor:
        return self.b.const(self.numbers(size, scale=scale, at=at))

    def quantized(self, *shape: int, axis: int, summed: int) -> Tensor:
        """int8 weights with a scale for each entry of an axis."""
        if self.b.opset < 13:
            raise CannotAdd("scales per axis came with opset 13")
        self.built["Q/DQ weights"] += 1
        size = shape[axis]
        weight = self.numbers(*shape, scale=40.0).round().clip(-127, 127).astype(np.int8)
        scale = np.abs(self.numbers(size, scale=0.2, at=1.0)) * summed**-0.5 / 40 + 1e-4
        inputs = [self.b.const(weight, how="initializer"), self.b.const(scale.astype(np.float32))]
        if self.b.maybe():
            inputs.append(self.b.const(np.arange(size) % 5 - 2, "int8", how="initializer"))
        negative = axis - len(shape) if self.b.maybe() else axis
        return self.b.op("DequantizeLinear", *inputs, axis=negative)

    def ints(self, *numbers: int) -> Tensor:
        return self.b.const(np.array(numbers, np.int64))

    def dim(self, x: Tensor, axis: int) -> Tensor:
        """One size as a vector of one entry, computed."""
        b = self.b
        if b.opset >= 15 and b.maybe(0.3):
            return b.op("Shape", x, start=axis - x.rank if axis + 1 < x.rank else axis, end=axis + 1)
        shape = b.op("Shape", x)
        if b.maybe():
            return b.slice(shape, [axis], [axis + 1], [0], [1])
        index = b.const(np.array(axis if b.maybe(0.7) else axis - x.rank, np.int64))
        return b.unsqueeze(b.op("Gather", shape, index, axis=0), 0)

    def target(self, x: Tensor, sizes: Sequence[int | tuple[Tensor, int]]) -> Tensor:
        """A shape: numbers, and sizes of axes of other values; computed, or with -1 for the only unknown one."""
        b = self.b
        computed = [i for i, size in enumerate(sizes) if isinstance(size, tuple) and not _static(size)]
        inferred = -1 in sizes
        if len(computed) + inferred <= 1 and b.maybe():
            known = [size if isinstance(size, int) else size[0].dims[size[1]][0] for size in sizes]
            if computed:
                known[computed[0]] = -1
            elif not inferred and b.maybe(0.4):
                known[self.rng.randrange(len(known))] = -1
            for i, size in enumerate(sizes):
                if isinstance(size, tuple) and size[0] is x and size[1] == i and b.maybe(0.4):
                    known[i] = 0
            return self.ints(*known)
        pieces: list[Tensor] = []
        for size in sizes:
            if isinstance(size, tuple):
                pieces.append(self.dim(*size))
            else:
                pieces.append(self.ints(size))
        return b.op("Concat", *pieces, axis=0)

    def reshape(self, x: Tensor, *sizes: int | tuple[Tensor, int]) -> Tensor:
        return self.b.op("Reshape", x, self.target(x, sizes))

    # -- blocks --------------------------------------------------------------------------------------------------------

    def body(self, x: Tensor, blocks: Sequence[Block], count: int = 2) -> Tensor:
        """A chain of up to ``count`` blocks; of deep ones none."""
        self.depth += 1
        try:
            for _ in range(self.rng.randint(1, count)):
                x = self.try_one(x, blocks)
        finally:
            self.depth -= 1
        return x

    def try_one(self, x: Tensor, blocks: Sequence[Block]) -> Tensor:
        """A random block, or none where those that are drawn do not fit."""
        for _ in range(6):
            block = self.rng.choice(blocks)
            if self.depth >= 3 and block.__name__ in NESTED:
                continue
            try:
                y = block(self, x)
            except CannotAdd:
                continue
            self.built[block.__name__] += 1
            return y
        return x

    def activation(self, x: Tensor) -> Tensor:
        return self.b.op(self.rng.choice(ACTIVATIONS), x)

    def width(self) -> int:
        return self.rng.choice(WIDTHS)

    def divisor(self, size: int) -> int:
        """One that is neither 1 nor the number."""
        found = [d for d in range(2, size) if size % d == 0]
        if not found:
            raise CannotAdd(f"{size} is prime")
        return self.rng.choice(found)


NESTED = frozenset(["residual", "chunks", "dense", "token_residual", "vector_residual", "branches"])


def _static(size: tuple[Tensor, int]) -> bool:
    return len(set(size[0].dims[size[1]])) == 1


def channels(x: Tensor, axis: int) -> int:
    """The size of an axis, which must be one number."""
    sizes = set(x.dims[axis])
    if len(sizes) != 1 or 0 in sizes:
        raise CannotAdd("its channels are dynamic, or there are none")
    return sizes.pop()


@dataclass(frozen=True, eq=False)
class Case:
    """A network, its inputs at each assignment of its symbols, and the blocks that it has."""

    model: onnx.ModelProto
    feeds: list[Feed]
    built: Counter[str]


def generate(seed: int, opset: int | None = None, only: Sequence[str] = ()) -> Case:
    """The network of ``seed``; the same everywhere.

    Args:
        seed: What is drawn.
        opset: Instead of a random one.
        only: Names of the blocks that are drawn; all by default.
    """
    from tests.fuzz import net_images, net_tokens

    rng = random.Random(seed)
    net = Net(Builder(rng, opset or rng.choice(OPSETS)))
    kinds = {"image": net_images.IMAGES, "tokens": net_tokens.TOKENS, "vector": net_tokens.VECTORS}
    turns = {"image": net_images.TURNS, "tokens": net_tokens.TURNS, "vector": net_tokens.FROM_VECTORS}
    kind = rng.choice(("image", "image", "tokens", "vector"))
    x = {"image": net_images.stem, "tokens": net_tokens.stem, "vector": net_tokens.vector_stem}[kind](net)
    middle = [x]
    for _ in range(rng.choice((2, 3, 4, 5))):
        if rng.random() < 0.15:
            kind, x = _turn(net, kind, x, turns[kind])
        blocks = [block for block in kinds[kind] if not only or block.__name__ in only] or kinds[kind][:1]
        x = net.try_one(x, blocks)
        middle.append(x)
    head = {"image": net_images.head, "tokens": net_tokens.head, "vector": net_tokens.vector_head}[kind]
    try:
        outputs = [head(net, x) if rng.random() < 0.9 else x]
    except CannotAdd:
        outputs = [x]
    if rng.random() < 0.12:
        outputs.append(rng.choice(middle))
        net.built["inner output"] += 1
    if rng.random() < 0.06:
        outputs.append(net.b.op("Shape", rng.choice(middle)))
        net.built["a shape as an output"] += 1
    net.b.outputs = list({y.name: y for y in outputs}.values())
    if rng.random() < 0.05 and net.b.initializers:
        chosen = rng.choice(net.b.initializers)
        if chosen.data_type == onnx.TensorProto.FLOAT:
            net.b.overridable.add(chosen.name)
            net.built["initializer that is an input"] += 1
    graph = net.b.graph()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", net.b.opset)], ir_version=8)
    feeds = [feed(model, at, seed) for at in range(ASSIGNMENTS)]
    return Case(model, feeds, net.built)


def _turn(net: Net, kind: str, x: Tensor, turns: Sequence[tuple[str, Block]]) -> tuple[str, Tensor]:
    to, block = net.rng.choice(list(turns))
    try:
        y = block(net, x)
    except CannotAdd:
        return kind, x
    net.built[block.__name__] += 1
    return to, y


def attributes(**given: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in given.items() if value is not None}
