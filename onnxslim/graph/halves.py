"""Weights that a file holds in half precision and a Cast makes float32 of: float32 constants while they change.

onnxruntime folds such a Cast when it loads the model, so that the weights are constants to whoever runs it. `widen`
makes them constants for passes too, and `narrow` stores what is left of them in their own type again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.graph.edit import Names, add_initializer, constant_tensor, drop_unused

HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
STORED = "onnxslim.stored"
"""Key of the meta data of a widened constant: its type in the file."""
LEAST = 64
"""Elements of a new constant from which on a Cast takes fewer bytes than half of them."""


@dataclass(frozen=True, slots=True)
class Half:
    """How a file holds a float32 constant in half precision.

    Attributes:
        dtype: The type.
        name: Of the constant in it, where it is free.
        cast: Of the node; may be empty.
    """

    dtype: ir.DataType
    name: str
    cast: str = ""


def stored_as(value: ir.Value) -> ir.DataType | None:
    """The type that the file has of a constant; None where it is none."""
    tensor = constant_tensor(value)
    dtype: ir.DataType | None = value.meta.get(STORED, None if tensor is None else tensor.dtype)
    return dtype


def casts_of(value: ir.Value) -> list[ir.Node]:
    """The Casts to float32, in one graph, that alone read a constant of half precision; empty where there are none."""
    tensor = constant_tensor(value)
    if tensor is None or tensor.dtype not in HALVES or value.is_graph_output():
        return []
    nodes = [use.node for use in value.uses()]
    same = len({node.graph for node in nodes}) == 1 and all(
        node.op_type == "Cast"
        and not node.domain
        and node.attributes.get_int("to", 0) == ir.DataType.FLOAT.value
        and not node.outputs[0].is_graph_output()
        for node in nodes
    )
    return nodes if same else []


def stored_in_half(model: ir.Model) -> Iterator[tuple[ir.Graph, ir.Value]]:
    """The constants that only such Casts read, each with the graph that it is in."""
    for graph in model.graphs():
        made = (node.outputs[0] for node in graph if node.op_type == "Constant" and len(node.outputs) == 1)
        yield from ((graph, value) for value in (*graph.initializers.values(), *made) if casts_of(value))


def widen(model: ir.Model) -> dict[str, Half]:
    """Lets float32 constants take the place of the Casts of constants in half precision, in place.

    Returns:
        Name of the float32 constant -> how the file holds it. Empty where there is nothing to do.
    """
    found: dict[str, Half] = {}
    for graph, value in list(stored_in_half(model)):
        casts, tensor = casts_of(value), constant_tensor(value)
        assert tensor is not None
        inside, name = casts[0].graph, casts[0].outputs[0].name or ""
        assert isinstance(inside, ir.Graph)
        for node in casts:
            node.outputs[0].name = None
        wide = add_initializer(inside, name, tensor.numpy().astype(np.float32))
        wide.meta[STORED] = tensor.dtype
        for node in casts:
            ir.convenience.replace_all_uses_with(node.outputs[0], wide)
            inside.remove(node, safe=True)
        drop_unused(graph, value)
        found[name] = Half(tensor.dtype, value.name or f"{name}_half", casts[0].name or "")
    return found


def narrow(model: ir.Model, halves: Mapping[str, Half]) -> list[str]:
    """Stores float32 constants in half precision behind a Cast again, in place; what has changed is rounded.

    Args:
        model: In which constants may have changed, or be gone.
        halves: By name.

    Returns:
        The names of those that stay float32, since they hold numbers beyond the range of their type.
    """
    names, beyond = Names.of(model), []
    for graph in list(model.graphs()):
        casts = []
        for name in [name for name in graph.initializers if name in halves]:
            value, stored = graph.initializers[name], halves[name]
            tensor = constant_tensor(value)
            if tensor is None or tensor.dtype != ir.DataType.FLOAT or value.is_graph_output() or not value.uses():
                continue
            array = tensor.numpy()
            with np.errstate(over="ignore"):
                half = array.astype(stored.dtype.numpy())
            if not np.array_equal(np.isfinite(half.astype(np.float32)), np.isfinite(array)):
                beyond.append(name)
                continue
            graph.initializers.pop(name)
            value.name = None
            source = add_initializer(graph, names.fresh(stored.name), half)
            # An empty name stays empty; without any the graph would give one.
            node = ir.node(
                "Cast", [source], {"to": ir.DataType.FLOAT.value}, name=stored.cast and names.fresh(stored.cast)
            )
            node.outputs[0].name = name  # without type and shape, which a Cast tells, and which take bytes
            ir.convenience.replace_all_uses_with(value, node.outputs[0])
            casts.append(node)
        if casts:
            graph.insert_before(graph[0], casts)
    return beyond


def made_of(model: ir.Model, halves: Mapping[str, Half], others: Collection[str]) -> dict[str, Half]:
    """How to hold, too, each float32 constant of a widened model that other rewrites have made meanwhile.

    A transposed weight, or one with a batch normalization in it, is to take no more bytes than what it was made of.

    Args:
        model: A widened model, rewritten.
        halves: What `widen` gave.
        others: Names of constants that were float32 in the file.
    """
    first, *rest = dict.fromkeys(half.dtype for half in halves.values())
    found = {name: half for name, half in halves.items() if name not in others}  # branches may share a name
    for graph in model.graphs():
        for name, value in graph.initializers.items() if not rest else ():
            tensor = constant_tensor(value)
            if name in others or name in found or tensor is None or tensor.dtype != ir.DataType.FLOAT:
                continue
            if tensor.size >= LEAST:
                found[name] = Half(first, f"{name}_half")
    return found
