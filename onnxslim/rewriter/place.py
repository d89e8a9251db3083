"""What a rule sees and what it answers: a place in the model, and nodes and values that could stand there instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import ShapeFacts
from onnxslim.graph.edit import Names, constant_tensor
from onnxslim.graph.uses import use_count

from .scopes import Scope

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass
class Replacement:
    """What a rule proposes: new nodes, and for each output of the matched node the value that stands for it.

    Args:
        nodes: New nodes in order; they are put before the matched node. May be empty.
        outputs: A value for each output of the matched node that is used; None for one that is not.
        detail: For the report.
    """

    nodes: Sequence[ir.Node] = ()
    outputs: Sequence[ir.Value | None] = ()
    detail: str = ""


@dataclass(eq=False)
class Place:
    """Where a rule looks: the scope of the node, what is known there, and how to make new values."""

    model: ir.Model
    scope: Scope
    facts: ShapeFacts
    names: Names
    made: dict[ir.Value, Array | ir.TensorProtocol] = field(default_factory=dict)
    """Constants made for a proposal; they are registered when it is carried out."""

    @property
    def opset(self) -> int:
        """Version of the default domain."""
        return self.scope.opset()

    def constant(self, value: ir.Value | None) -> Array | None:
        """The array of a constant, not of one stored sparse; None where ``value`` is none."""
        tensor = constant_tensor(value)
        if tensor is None or tensor.meta:
            return None
        return tensor.numpy()

    def known(self, value: ir.Value | None) -> Array | None:
        """The array of a constant, or of a small value that inference knows entirely."""
        if value is None:
            return None
        array = self.constant(value)
        return self.facts.constant(value) if array is None else array

    def is_free(self, value: ir.Value, user: ir.Node) -> bool:
        """Whether ``user`` is the only thing that needs ``value``, so that it dies with it."""
        few = use_count(value) <= len(user.inputs)  # asked first: it takes no list
        return few and not value.is_graph_output() and all(use.node is user for use in value.uses())

    def before(self, value: ir.Value | None, *op_types: str) -> ir.Node | None:
        """The node of the default domain and the same graph that makes ``value``, if it is one of these operators."""
        node = value.producer() if value is not None else None
        if node is None or node.domain != "" or node.op_type not in op_types or node.graph is not self.scope.graph:
            return None
        return node

    def new_constant(self, array: Array | ir.TensorProtocol, like: str) -> ir.Value:
        """A constant for a proposal: its name is made from ``like``."""
        tensor = ir.Tensor(array) if isinstance(array, np.ndarray) else array
        shape = ir.Shape(tensor.shape.numpy())
        value = ir.Value(name=like, shape=shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        self.made[value] = array
        return value


def remade(
    node: ir.Node,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, ir.Attr] | None = None,
    *,
    outputs: int = 1,
) -> ir.Node:
    """The same operator under the same name on other inputs, with other attributes where these are given."""
    given = node.attributes if attributes is None else attributes
    new = ir.Node(node.domain, node.op_type, inputs, given.values(), num_outputs=outputs, name=node.name)
    new.metadata_props.update(node.metadata_props)
    return new
