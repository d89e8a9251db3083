"""``register_fusion_pattern``: rewrites of the caller's own that ``slim`` runs before its passes.

What is registered is a ``Pass`` or rule of this project, or a matcher as OnnxSlim has them: an object with a ``name``,
``match(node)`` on onnx-graphsurgeon nodes and ``rewrite(opset)``, which detaches the matched nodes and returns
``{name: {"op", "inputs", "outputs", "attrs", "domain"}}``. Matchers run on the graph in onnx-graphsurgeon's form, all
their rewrites count as one action, and like every rewrite they are reverted where the outputs differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast, overload

import onnx
import onnx_ir as ir

from onnxslim.errors import InputError, failed
from onnxslim.graph import to_graphsurgeon
from onnxslim.pipeline import Context, GraphSurgeonPass, Pass, PassResult

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

T = TypeVar("T")


@dataclass(frozen=True)
class _Registered:
    """A matcher and the opsets that it is for."""

    matcher: Any
    min_opset: int = 1
    max_opset: int | None = None

    def applies_to(self, opset: int) -> bool:
        return opset >= self.min_opset and (self.max_opset is None or opset <= self.max_opset)


_PATTERNS: dict[str, list[_Registered | Pass]] = {}
"""By name, in order of registration."""


@overload
def register_fusion_pattern(
    matcher: None = None, *, priority: int | None = None, min_opset: int | None = None, max_opset: int | None = None
) -> Callable[[type[T]], type[T]]: ...
@overload
def register_fusion_pattern(
    matcher: T, *, priority: int | None = None, min_opset: int | None = None, max_opset: int | None = None
) -> T: ...
def register_fusion_pattern(
    matcher: Any = None, *, priority: int | None = None, min_opset: int | None = None, max_opset: int | None = None
) -> Any:
    """Has ``slim`` run a rewrite of the caller's own. Called with an object or a class, or used as a class decorator.

    Args:
        matcher: A pass or a matcher, or a class of one; None makes a decorator.
        priority: Given to a matcher's class when it is instantiated.
        min_opset: The first opset that a matcher is for; unless given, its own ``min_opset``, else 1.
        max_opset: The last one, likewise; unless given, its own ``max_opset``, else any.

    Returns:
        What was given; a decorator where that is None.

    Raises:
        InputError: It is neither a pass nor a matcher.
    """
    if matcher is None:
        return lambda cls: register_fusion_pattern(cls, priority=priority, min_opset=min_opset, max_opset=max_opset)
    instance = matcher
    if isinstance(matcher, type):
        instance = matcher() if issubclass(matcher, Pass) else cast(Any, matcher)(priority)
    if isinstance(instance, Pass):
        _PATTERNS.setdefault(instance.name, []).append(instance)
        return matcher
    if not callable(getattr(instance, "match", None)) or not callable(getattr(instance, "rewrite", None)):
        raise InputError(
            f"a {type(instance).__name__} is no fusion pattern",
            mend="give a Pass of onnxslim, or an object with match(node) and rewrite(opset)",
        )
    first = min_opset if min_opset is not None else getattr(instance, "min_opset", None)
    last = max_opset if max_opset is not None else getattr(instance, "max_opset", None)
    name = str(getattr(instance, "name", type(instance).__name__))
    _PATTERNS.setdefault(name, []).append(_Registered(instance, first if first is not None else 1, last))
    return matcher


def unregister_fusion_pattern(name: str) -> None:
    """Forgets what was registered under a name; one that is not registered is no error."""
    _PATTERNS.pop(name, None)


def pattern_names() -> list[str]:
    """Names of all that is registered."""
    return list(_PATTERNS)


def registered_passes(skip: Iterable[str] = ()) -> list[Pass]:
    """What is registered, as passes, but for the names in ``skip``."""
    left_out, found = set(skip), []
    for name, entries in _PATTERNS.items():
        if name in left_out:
            continue
        found += [each for each in entries if isinstance(each, Pass)]
        if any(isinstance(each, _Registered) for each in entries):
            found.append(FusionPattern(pattern=name))
    return found


@dataclass(frozen=True)
class FusionPattern(Pass):
    """Run the matchers registered under a name on the graph as onnx-graphsurgeon has it."""

    name: ClassVar[str] = "fusion-pattern"

    pattern: str = field(default="", metadata={"help": "name under which the matchers are registered"})

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Fuses in place; a model in which nothing matches, or that graphsurgeon cannot hold, is not touched.

        Raises:
            InputError: A matcher failed.
        """
        try:
            graph = to_graphsurgeon(model)
        except InputError as error:
            context.decline(self.name, self.pattern, str(error))
            return context.result()
        if not self.fuse(graph):
            return context.result()

        def edit(graph: gs.Graph) -> None:
            self.fuse(graph)

        edit.__name__ = self.pattern
        result = GraphSurgeonPass(edit).run(model, context)
        return replace(result, modified=bool(result.actions))

    def fuse(self, graph: gs.Graph) -> int:
        """Applies the matchers to a graph and its subgraphs; returns how often they matched.

        Raises:
            InputError: A matcher failed.
        """
        entries = [each for each in _PATTERNS.get(self.pattern, ()) if isinstance(each, _Registered)]
        try:
            count = sum(_fuse(each, entries, self.pattern) for each in _with_subgraphs(graph))
            if count:
                graph.cleanup().toposort()
        except Exception as error:  # the matcher is the caller's code
            raise failed("the registered fusion pattern failed", error, where=self.pattern) from error
        return count


def _with_subgraphs(graph: gs.Graph) -> list[gs.Graph]:
    import onnx_graphsurgeon as gs

    found = [graph]
    for each in found:  # grows while it is walked
        found.extend(value for node in each.nodes for value in node.attrs.values() if isinstance(value, gs.Graph))
    return found


def _fuse(graph: gs.Graph, entries: list[_Registered], name: str) -> int:
    import onnx_graphsurgeon as gs

    count = 0
    for node in reversed(list(graph.nodes)):
        for entry in entries:
            if not node.outputs or not entry.applies_to(graph.opset) or not entry.matcher.match(node):
                continue
            for layer in entry.matcher.rewrite(opset=graph.opset).values():
                domain = layer.get("domain")
                if domain and all(each.domain != domain for each in graph.import_domains or ()):
                    graph.import_domains = [*(graph.import_domains or ()), onnx.helper.make_opsetid(domain, 1)]
                made = gs.Node(
                    op=layer.get("op", name),
                    name=layer.get("name", f"{name.lower()}_{len(graph.nodes)}"),
                    attrs=layer.get("attrs") or {},
                    inputs=list(layer["inputs"]),
                    outputs=list(layer["outputs"]),
                    domain=domain,
                )
                graph.nodes.append(made)
            count += 1
            break
    return count
