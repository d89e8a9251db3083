"""Options that name nodes: by their names, by those of their outputs, or by a pattern."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import onnx_ir as ir

from onnxslim.errors import InputError, did_you_mean
from onnxslim.graph.walk import nodes


class Matcher:
    """Whether a node's name, or its output's, is one of the names or matches one of the ``re:`` patterns.

    Args:
        patterns: What the user gave.
        option: As the user knows it, for messages.

    Raises:
        InputError: A pattern is no regular expression.
    """

    def __init__(self, patterns: Sequence[str], option: str) -> None:
        self.option = option
        self.names = {pattern for pattern in patterns if not pattern.startswith("re:")}
        try:
            self.expressions = [re.compile(pattern[3:]) for pattern in patterns if pattern.startswith("re:")]
        except re.error as error:
            raise InputError(
                f"{error.pattern!r} is no regular expression", why=str(error), mend="escape special characters with \\"
            ) from error

    def __call__(self, node: ir.Node) -> bool:
        """Whether one of them is a name of the node or of its outputs."""
        return any(name in self.names or any(e.search(name) for e in self.expressions) for name in names_of(node))

    def check(self, model: ir.Model, likely: Callable[[ir.Node], bool] = lambda _: True) -> list[str]:
        """Refuses names that the model does not have.

        Args:
            model: Whose nodes are named.
            likely: The nodes among which the user will have meant one.

        Returns:
            The patterns that match nothing.

        Raises:
            InputError: A name is none of a node; the message offers the nearest.
        """
        known = {name for node in nodes(model) for name in names_of(node)}
        for name in sorted(self.names - known):
            mend = did_you_mean(name, {each for node in nodes(model) if likely(node) for each in names_of(node)})
            if any(sign in name for sign in "*?[^$|"):
                pattern = re.escape(name).replace(r"\*", ".*").replace(r"\?", ".")
                mend = f"names are taken literally; for a pattern write {self.option} 're:{pattern}'"
            raise InputError(f"{self.option} names no node: {name!r}", mend=mend)
        return [f"re:{each.pattern}" for each in self.expressions if not any(map(each.search, known))]


def names_of(node: ir.Node) -> list[str]:
    """What a user may call a node: its name, and its outputs'."""
    return [name for name in (node.name, *(value.name for value in node.outputs)) if name]
