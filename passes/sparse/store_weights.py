"""Weights in few bits: what onnxruntime makes of them when it loads the file, floats or what int8 kernels read.

A weight costs nothing at run time in any of the forms of `forms`, only bytes and some error. How much error all of them
may add is said by a budget (`form_search`): 1 dB of the worst part of the outputs, or whatever leaves it above 36 dB.
The forms are chosen by what each weight does to the outputs, the whole is built and compared with the original, and
where the prediction was wrong the budget is corrected. Of embedding tables the rows are gathered as codes (`tables`):
they are small in memory too. Of what int8 kernels read the integers become few (`stored_kernel`); `encode` packs them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import Names, set_constant
from onnxslim.graph.matcher import Matcher
from onnxslim.packing import Packing, sizes
from onnxslim.pipeline import Action, Context, Pass, PassResult
from onnxslim.pipeline.offer import Offer

from .fit import Fitted
from .form_search import QUIET, ErrorBudget, FormSearch
from .grids import Levels, Values
from .kernel_weights import kernel_weights_of
from .offering import StoreChoice, adapted, offers_of
from .storable import Storable, StoredTable, StoredWeight
from .store import store
from .stored_kernel import BITS, StoredKernel, common_codes
from .table_codes import TableCodes, TableForm
from .tables import Table, insert, tables_of
from .weights import Weight, weights_of

LEAST = 192
"""Numbers of a weight from which on the nodes that give it back are worth their bytes."""
BUDGETS = {"auto": ErrorBudget(), "int8": ErrorBudget(), "small": ErrorBudget(enough=30.0, drop=3.8, added=20.0)}
"""By ``rest``."""
SEARCH_UP_TO = 1 << 30
"""Bytes of weights beyond which nothing but int8 is tried."""
TABLE_OPSET = 13
"""From which on codes are gathered and unpacked."""


@dataclass(frozen=True, slots=True)
class StorePlan:
    """What constants become.

    Attributes:
        forms: Name -> its form.
        weights: Name of a weight -> its numbers.
        tables: Name of a table -> its codes.
        kernels: Name of an int8 kernel's weight -> its integers.
    """

    forms: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, Fitted] = field(default_factory=dict)
    tables: Mapping[str, TableCodes] = field(default_factory=dict)
    kernels: Mapping[str, npt.NDArray[np.int8]] = field(default_factory=dict)


@dataclass(frozen=True)
class StoreWeights(Pass):
    """Store weights in few bits, as far as the outputs allow.

    Latency stays what it is: onnxruntime makes floats of weights when it loads the file, and of the rows of tables that
    are looked up. The weights of int8 kernels stay on their grids, with fewer integers, which `encode` packs.
    """

    name: ClassVar[str] = "store"
    tier: ClassVar[Tier] = Tier.LOSSY
    for_size: ClassVar[bool] = True
    only_stores: ClassVar[bool] = True
    secondary: ClassVar[bool] = True
    plan_types: ClassVar[tuple[type, ...]] = (StorePlan, Fitted, Levels, TableCodes, TableForm, StoreChoice)

    rest: Literal["auto", "small", "int8", "float"] = field(
        default="auto",
        metadata={
            "help": "how weights are stored: in 4 to 8 bits for at most 1 dB of the outputs, or for 4 dB (small), in "
            "int8, or as floats where no int8 kernel reads them"
        },
    )

    @QUIET
    def plan(self, model: ir.Model, context: Context) -> StorePlan:
        """Decides the form of each constant."""
        items = self._items(model, context)
        return _planned(items, self._search(model, items, context).run(), context) if items else StorePlan()

    def offers(self, model: ir.Model, context: Context, known: Sequence[Offer] = ()) -> Iterator[Offer]:
        """Int8 wherever that is allowed, then the fewest bytes for more and more noise."""
        items = self._items(model, context)
        if items:
            search = self._search(model, items, context)
            yield from itertools.islice(offers_of(search, only_int8=search.only_int8), len(known), None)

    @QUIET
    def adapt(self, decision: StoreChoice, model: ir.Model, context: Context) -> StorePlan:
        """The same bits for the same weights, fitted to what they multiply in ``model``. Nothing is measured."""
        items = self._items(model, context)
        return _planned(items, adapted(decision, model, items, context), context) if items else StorePlan()

    def _items(self, model: ir.Model, context: Context) -> list[Storable]:
        return [] if self.rest == "float" else list(_storable(model, context, kernels=self.rest != "int8"))

    def _search(self, model: ir.Model, items: Sequence[Storable], context: Context) -> FormSearch:
        large = sum(each.tensor.nbytes for each in items) > SEARCH_UP_TO
        return FormSearch(model, items, context, BUDGETS[self.rest], only_int8=large or self.rest == "int8")

    def apply(self, model: ir.Model, plan: StorePlan, context: Context) -> PassResult:
        """Changes the constants of ``model`` in place."""
        for table in _tables(model) if plan.tables else ():
            rounded = plan.tables.get(table.key)
            if rounded is not None and context.allow(_action(StoredTable(table, context.config.ops), plan)):
                insert(model, table, rounded, context.config.ops)
        names = Names.of(model)
        for weight in list(_weights(model, Context())) if plan.weights else ():
            made = plan.weights.get(weight.name)
            if made is not None and context.allow(_action(StoredWeight(weight), plan)):
                store(names, weight, made.array, made.levels, cast(Values, plan.forms[weight.name]))
        for kernel in list(kernel_weights_of(model, Context())) if plan.kernels else ():
            integers = plan.kernels.get(kernel.name)
            if integers is not None and context.allow(_action(StoredKernel(kernel, {}), plan)):
                set_constant(kernel.value, integers)
        return context.result()


def _planned(items: Sequence[Storable], forms: Mapping[str, str], context: Context) -> StorePlan:
    """What is stored in which form. Kernels' weights stay in int8 where the nodes that unpack them take what they save.

    Args:
        items: Fitted.
        forms: Name -> form of those that do not stay float.
        context: Takes reasons.
    """
    chosen = {each.name: (each, forms[each.name]) for each in items if each.name in forms}
    kernels = {name: pair for name, pair in chosen.items() if isinstance(pair[0], StoredKernel)}
    for form, bits in BITS.items():
        some = [each for each, own in kernels.values() if own == form]
        if some and sum(each.bytes("int8") - each.bytes(form) for each in some) < sizes.shared(
            Packing("all", value_bits=bits)
        ):
            kernels |= {each.name: (each, "int8") for each in some}
    for name in [name for name, (_, form) in kernels.items() if form == "int8"]:
        context.decline(
            "store", name, "an int8 kernel reads it: fewer bits take no fewer bytes, or too much of the outputs"
        )
        del chosen[name], kernels[name]
    return StorePlan(
        {name: form for name, (_, form) in chosen.items()},
        {name: each.made(form) for name, (each, form) in chosen.items() if isinstance(each, StoredWeight)},
        {name: each.made(form) for name, (each, form) in chosen.items() if isinstance(each, StoredTable)},
        {name: each.made(form) for name, (each, form) in chosen.items() if isinstance(each, StoredKernel)},
    )


def _tables(model: ir.Model) -> list[Table]:
    """The first of each name: two branches may each have a table of the same one."""
    found = tables_of(model) if model.opset_imports.get("", 0) >= TABLE_OPSET else []
    return list({each.key: each for each in reversed(found)}.values())[::-1]


def _weights(model: ir.Model, context: Context) -> Iterator[Weight]:
    return weights_of(model, Matcher((), "--protect"), context, rule="store", least=LEAST)


def _storable(model: ir.Model, context: Context, *, kernels: bool = True) -> Iterator[Storable]:
    tables = {each.key: each for each in _tables(model)}
    found: list[Storable] = [StoredTable(each, context.config.ops) for each in tables.values()]
    found += [StoredWeight(each) for each in _weights(model, context) if each.name not in tables]
    known = {each.name for each in found}
    integers = [each for each in kernel_weights_of(model, context) if each.name not in known] if kernels else []
    common = common_codes(integers)
    found += [StoredKernel(each, common) for each in integers]
    for each in found:
        if Action("store", (each.name,)).key in context.refused:
            context.decline("store", each.name, "a check failed with this rewrite")
        else:
            yield each


def _action(each: Storable, plan: StorePlan) -> Action:
    form = plan.forms[each.name]
    known = plan.tables.get(each.name)
    size = each.bytes(form) if known is None else known.bytes()
    detail = f"{form}: {each.tensor.nbytes:,} -> {size:,.0f} bytes"
    return Action("store", (each.name,), each.name, detail)
