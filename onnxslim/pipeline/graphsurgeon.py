"""Any onnx-graphsurgeon script as a pass."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from onnxslim.errors import OnnxSlimError, failed
from onnxslim.evaluation.tier import Tier
from onnxslim.graph.graphsurgeon import Edit, from_graphsurgeon, losses, to_graphsurgeon
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["GraphSurgeonPass"]


@dataclass(frozen=True)
class GraphSurgeonPass(Pass):
    """Runs a function on the model as an onnx-graphsurgeon graph.

    The function edits the ``gs.Graph`` in place or returns another. The whole run counts as one action. A warning names
    what the model loses or hides on the way (``onnxslim.graph.graphsurgeon.losses``).

    >>> def drop_names(graph):
    ...     for node in graph.nodes:
    ...         node.name = ""
    >>> GraphSurgeonPass(drop_names).label
    'drop_names'
    """

    name: ClassVar[str] = "graphsurgeon"
    tier: ClassVar[Tier] = Tier.NUMERIC
    function: Edit = field(metadata={"help": "takes an onnx_graphsurgeon.Graph, edits it or returns another"})

    @property
    def label(self) -> str:
        """Name of the function."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Replaces the graph and the functions of ``model`` by what the function made of them.

        Raises:
            InputError: graphsurgeon cannot hold the model, or the function raised or left a graph that makes no model.
                The model is unchanged then.
        """
        graph = to_graphsurgeon(model)  # refuses before anything is on record
        action = Action("graphsurgeon", tuple(value.name or "" for value in model.graph.outputs), self.label)
        if not context.allow(action):
            return context.result()
        lost = losses(model)
        if lost:
            warnings.warn(f"graphsurgeon ({self.label}): {'; '.join(lost)}", UserWarning, stacklevel=2)
        try:
            returned = self.function(graph)
        except OnnxSlimError:
            raise
        except Exception as error:
            raise failed("the graphsurgeon function failed", error, where=self.label) from error
        edited = from_graphsurgeon(graph if returned is None else returned, original=model)
        model.graph = edited.graph
        model.functions.clear()
        model.functions.update(edited.functions)
        for key in ("ir_version", "producer_name", "producer_version"):
            setattr(model, key, getattr(edited, key))
        return context.result()
