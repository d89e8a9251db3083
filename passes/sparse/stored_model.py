"""A model with some of its constants in other forms: what they would compute, before any of them is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from onnxslim.evaluation import Lengths
from onnxslim.graph.edit import set_constant
from onnxslim.pipeline import Context

from .storable import Storable


class StoredModel:
    """Clones of a model whose constants are what their forms make.

    Args:
        model: Not changed.
        items: Its constants.
    """

    def __init__(self, model: ir.Model, items: Iterable[Storable]) -> None:
        self.model, self.items = model, {each.name: each for each in items}
        places = {value: place for place, value in enumerate(constants_of(model))}
        self._places = {name: places[each.value] for name, each in self.items.items()}

    def value(self, clone: ir.Model, item: Storable) -> ir.Value:
        """The constant of a clone."""
        return constants_of(clone)[self._places[item.name]]

    def built(self, forms: Mapping[str, str]) -> ir.Model:
        """A clone that computes what the stored constants make."""
        model = self.model.clone()
        own = constants_of(model)
        for name, form in forms.items():
            if form != "float":
                set_constant(own[self._places[name]], self.items[name].array(form))
        return model

    def keep_lengths(self, lengths: Lengths, context: Context) -> None:
        """Leaves out constants whose values decide the length of an output, where rounding changes one.

        Args:
            lengths: Of the same model.
            context: With samples, or nothing is known; takes the reasons.
        """
        if context.samples is None:
            return
        # What is in int8 already is tried in the fewest bits, and by itself: it is not to be left out for the others.
        tried = {name: each.forms()[0] if _is_int8(each) else "int8" for name, each in self.items.items()}
        for int8 in (False, True):
            left = {name: each for name, each in self.items.items() if _is_int8(each) == int8}
            some = {name: tried[name] for name in left}
            deciding = [name for name in some if any(map(lengths.decides, self.items[name].nodes))]
            reason = lengths.change(self.built(some)) if deciding else ""
            for name in deciding if reason else ():
                context.decline("store", name, f"its values decide a length: {reason}")
                del self.items[name]


def _is_int8(item: Storable) -> bool:
    return item.tensor.dtype == ir.DataType.INT8


def constants_of(model: ir.Model) -> list[ir.Value]:
    """Initializers and outputs of Constant nodes, in the same order on a clone: two branches may share a name."""
    found = list[ir.Value]()
    for graph in model.graphs():
        found += graph.initializers.values() if isinstance(graph, ir.Graph) else ()
        found += (node.outputs[0] for node in graph if node.op_type == "Constant" and not node.domain)
    return found
