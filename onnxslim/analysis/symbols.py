"""Symbols: those that a model names, and those that stand for what it does not name."""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx_ir as ir

from onnxslim.analysis.polynomial import Atom, Dim, Expr


def symbol(name: str, *, least: float = 0) -> Expr:
    """The symbol of that name, an unknown integer of at least ``least``."""
    plain = name.isidentifier() or (name.startswith("?") and name[1:].isalnum())
    key = name if plain else "{" + name.replace("\\", "\\\\").replace("}", "\\}") + "}"
    return Expr(((((Atom("symbol", (), key, least)),), 1),))


def name_of(atom: Atom) -> str:
    """The name of a symbol's atom, as `symbol` was given it."""
    if atom.key.startswith("{"):
        return atom.key[1:-1].replace("\\}", "}").replace("\\\\", "\\")
    return atom.key


class Symbols:
    """A source of anonymous symbols, each different from every other; named ``?0``, ``?v1``, ... in order of need."""

    def __init__(self) -> None:
        self.count = 0

    def dim(self) -> Expr:
        """An unknown dimension, >= 0."""
        self.count += 1
        return symbol(f"?{self.count - 1}")

    def data(self) -> Expr:
        """An unknown integer of any sign: an element of a tensor that is known only when the model runs."""
        self.count += 1
        return symbol(f"?v{self.count - 1}", least=-math.inf)


def age(name: str) -> int:
    """Number of an anonymous symbol in its source's order; -1 for a declared one."""
    return int(name[1:].lstrip("v")) if name.startswith("?") else -1


def free_symbols(dim: Dim) -> Iterator[str]:
    """Names of the symbols in ``dim``, with repetitions, ``?...`` for anonymous ones."""
    pending = [dim]
    while pending:
        top = pending.pop()
        if isinstance(top, Expr):
            for monomial, _ in top.terms:
                for atom in monomial:
                    if atom.op == "symbol":
                        yield name_of(atom)
                    pending.extend(atom.args)


def from_declared(dim: int | ir.SymbolicDim, symbols: Symbols) -> Dim:
    """A declared dimension: its number or symbol; a new anonymous symbol where it has no usable name.

    Negative numbers and the names ``?``, ``-1``, ``None`` stand for *unknown* in many exporters, thus never for one
    and the same unknown. A name that reads as an expression (``"past + 1"``) is a symbol like any other.
    """
    if isinstance(dim, int):
        return dim if dim >= 0 else symbols.dim()
    name = dim.value
    if not name or name.startswith("?") or name in {"-1", "None"}:
        return symbols.dim()
    return symbol(name)


def to_declared(dim: Dim) -> int | ir.SymbolicDim:
    """A dimension as onnx-ir writes it; whatever contains an anonymous symbol has no name."""
    if not isinstance(dim, Expr):
        return int(dim)
    names = list(free_symbols(dim))
    if any(name.startswith("?") for name in names):
        return ir.SymbolicDim(None)
    text = names[0] if len(names) == 1 and dim == symbol(names[0]) else str(dim)
    return ir.SymbolicDim(text)
