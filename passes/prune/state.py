"""What a search of channels holds: a model on its way, and what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.channels import Channels, find_channels
from onnxslim.graph.edit import constant_tensor, set_constant

from .apply import constants_of, remove_channels


@dataclass
class State:
    """A model on its way: the original's nodes, some channels less."""

    model: ir.Model
    alive: dict[str, npt.NDArray[np.int64]]
    """Key of a group -> the atoms of the original that are left."""

    @cached_property
    def channels(self) -> Channels:
        """Its channels as they are now."""
        return find_channels(self.model)


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search.

    Attributes:
        removal: Key of a group -> atoms that go.
        weights: Name -> numbers, of the constants that are not those of the original without these atoms.
        earlier: What the stages before came to, from the least; what they remove, this one removes too.
    """

    removal: Mapping[str, Sequence[int]]
    weights: Mapping[str, npt.NDArray[np.generic]]
    earlier: tuple[Found, ...] = ()

    def applied(self, model: ir.Model) -> ir.Model:
        """A model without the atoms."""
        result = model.clone()
        remove_channels(result, find_channels(result), self.removal)
        for name, value in constants_of(result).items():
            if name in self.weights:
                set_constant(value, self.weights[name])
        return result


def thinned(states: list[State], memory: int) -> list[State]:
    """The states, or fewer of them where their weights do not fit into the memory: never without the first and last."""
    sizes = [sum(tensor.nbytes for tensor in _tensors(state.model)) for state in states]
    while len(states) > 2 and sum(sizes[1:]) > memory:
        places = sorted({0, *range(len(states) - 1, 0, -2)})
        states, sizes = [states[i] for i in places], [sizes[i] for i in places]
    return states


def _tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    return (tensor for value in constants_of(model).values() if (tensor := constant_tensor(value)) is not None)
