"""Small edits that every pass needs: fresh names, new initializers, nodes put beside others."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.graph.listed import DEFAULTS_IR, make_constants
from onnxslim.graph.walk import bodies


class Names:
    """Fresh value and node names for one model: never one that any scope of it uses already.

    >>> names = Names(["x"])
    >>> names.fresh("x"), names.fresh("y")
    ('x_1', 'y')
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    @classmethod
    def of(cls, model: ir.Model) -> Names:
        """Collects every value and node name of the model, subgraphs and functions included."""
        names = cls()
        taken = names._taken
        for body in bodies(model):
            taken.update(value.name or "" for value in body.inputs)
            if isinstance(body, ir.Graph):
                taken.update(value.name or "" for value in body.initializers.values())
            for node in body:
                taken.add(node.name or "")
                taken.update(value.name or "" for value in node.outputs)
        return names

    def fresh(self, base: str) -> str:
        """``base`` itself where it is free, else ``base_1``, ``base_2``, ..."""
        name, count = base, self._next.get(base, 0)
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._next[base] = count
        self._taken.add(name)
        return name


def add_initializer(graph: ir.Graph, name: str, array: np.ndarray | ir.TensorProtocol) -> ir.Value:
    """Registers a new initializer; ``name`` must be free. The array is not copied."""
    tensor = ir.Tensor(array, name=name) if isinstance(array, np.ndarray) else array
    value = ir.Value(
        name=name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor that ``value`` always is: an initializer that no caller can override, or a Constant node's; else None.

    An initializer that is a graph input too is only a default (IR version >= 4), so it is no constant.
    """
    if value is None:
        return None
    if value.is_initializer():
        return None if value.is_graph_input() else value.const_value
    node = value.producer()
    if node is not None and node.op_type == "Constant" and node.domain == "":
        attribute = node.attributes.get("value")
        if attribute is not None and not attribute.is_ref() and attribute.type == ir.AttributeType.TENSOR:
            tensor: ir.TensorProtocol = attribute.value  # as_tensor() checks a protocol, attribute by attribute
            return tensor
    return None


def set_constant(value: ir.Value, array: np.ndarray) -> None:
    """Gives an initializer or a Constant node another array."""
    made = ir.Tensor(array, name=value.name)
    producer = value.producer()
    if producer is not None:
        producer.attributes["value"] = ir.AttrTensor("value", made)
    else:
        value.const_value = made
    value.shape, value.dtype = ir.Shape(array.shape), made.dtype


def read_once(value: ir.Value) -> bool:
    """Whether one node alone sees ``value``: only then may its constant be changed for that node's sake."""
    return len(value.uses()) <= 1 and not value.is_graph_output()


def read_only_by(value: ir.Value, nodes: Iterable[ir.Node]) -> bool:
    """Whether nothing but ``nodes`` sees ``value``: its constant may be changed for the sake of all of them."""
    known = set(nodes)
    return all(use.node in known for use in value.uses()) and not value.is_graph_output()


def drop_unused(graph: ir.Graph, value: ir.Value) -> None:
    """Removes a constant that nothing reads any more."""
    if value.uses() or value.is_graph_output():
        return
    producer = value.producer()
    if producer is not None:
        producer.graph.remove(producer, safe=True)  # type: ignore[union-attr]
    elif value.is_initializer() and not value.is_graph_input():
        graph.initializers.pop(value.name or "")


def raise_ir_version(model: ir.Model, least: int) -> None:
    """Raises it to ``least``, 4 or more, where it is lower; what was a constant stays one."""
    if model.ir_version < DEFAULTS_IR:
        make_constants(model)
    model.ir_version = max(model.ir_version, least)


def site(node: ir.Node) -> str:
    """How actions and reasons name a node: its operator and its name, or its first output where it has none."""
    name = node.name or next((value.name for value in node.outputs if value.name), "")
    return f"{node.op_type} {name}"


def inline(name: str, tensor: ir.TensorProtocol) -> onnx.TensorProto:
    """A constant with its data, which may lie in a file: a model without a path cannot name that."""
    held = ir.Tensor(tensor.numpy(), dtype=tensor.dtype) if isinstance(tensor, ir.ExternalTensor) else tensor
    made = ir.serde.serialize_tensor(held)
    made.name = name
    return made
