"""What every operation of a PyTorch model computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree

from .base import Operation

TRACED = 1 << 30
"""Bytes of inner values that a trace keeps, about."""


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """The tensor in numpy's types."""
    plain = tensor.detach().cpu()
    return np.asarray((plain.float() if plain.dtype == torch.bfloat16 else plain).numpy())


class _Kept:
    """Outputs of steps, up to `TRACED` bytes in all."""

    def __init__(self) -> None:
        self.bytes = 0

    def array(self, value: Any) -> np.ndarray | None:
        if not isinstance(value, torch.Tensor) or self.bytes > TRACED:
            return None
        found = array_of(value)
        self.bytes += found.nbytes
        return found


def traced_graph(module: torch.fx.GraphModule, args: Any, kwargs: Any) -> list[Operation]:
    """The steps of an exported program's module, operation by operation."""
    kept, steps, places = _Kept(), list[Operation](), dict[torch.fx.Node, int]()

    class Tracer(torch.fx.Interpreter):  # type: ignore[misc]
        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            if n.op.startswith("call") and (array := kept.array(value)) is not None:
                places[n] = len(steps)
                steps.append(Operation(_operation(n), array, value=n.name))
            return value

    leaves = _pytree.tree_leaves((args, kwargs))
    Tracer(module).run(*leaves)
    for node, place in places.items():
        steps[place].users = [places[user] for user in _kept_users(node, places)]
    return steps


def _kept_users(node: torch.fx.Node, places: Mapping[torch.fx.Node, int]) -> Iterator[torch.fx.Node]:
    """The nodes with a place that read a value, also by way of such without one (a tuple's element)."""
    for user in node.users:
        if user in places:
            yield user
        else:
            yield from _kept_users(user, places)


def _operation(node: torch.fx.Node) -> str:
    stack = [each.strip() for each in (node.meta.get("stack_trace") or "").strip().splitlines()]
    files = [line for line in stack if line.startswith("File ")]
    modules = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values() if path]
    place = ""
    if files:
        path, line = files[-1].split(",")[:2]
        place = "{}{}".format(path.removeprefix("File ").strip('"').rpartition("/")[2], line.replace(" line ", ":"))
    owner = " of module {}".format(modules[-1].removeprefix("L['self'].")) if modules else ""
    return "{}{}{}".format(node.target, owner, f" ({place})" if place else "")


def traced_modules(module: torch.nn.Module, args: Any, kwargs: Any) -> list[Operation]:
    """The steps of a module by the modules in it that hold no others."""
    kept, steps, makers, held = _Kept(), list[Operation](), dict[int, int](), list[Any]()

    def hook(name: str) -> Any:
        def note(owner: torch.nn.Module, given: Any, value: Any) -> None:
            for leaf in _pytree.tree_leaves(given):
                if id(leaf) in makers:
                    steps[makers[id(leaf)]].users.append(len(steps))
            if (array := kept.array(value)) is not None:
                makers[id(value)] = len(steps)
                held.append(value)  # or another tensor may have its id
                steps.append(Operation(f"{type(owner).__name__} {name}", array))

        return note

    hooks = [
        each.register_forward_hook(hook(name)) for name, each in module.named_modules() if not list(each.children())
    ]
    try:
        module(*args, **kwargs)
    finally:
        for each in hooks:
            each.remove()
    return steps
