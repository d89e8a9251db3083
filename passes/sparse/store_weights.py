"""The weights that no integer kernel reads, stored in few bits: onnxruntime computes the floats when it loads the file.

A weight costs nothing at run time in any of the forms of `forms`, only bytes and some error. How much error all of them
may add is said by a budget (`form_search`): 1 dB of the worst part of the outputs, or whatever leaves it above 36 dB.
The forms are chosen by what each weight does to the outputs, the whole is built and compared with the original, and
where the prediction was wrong the budget is corrected. Of embedding tables the rows are gathered as codes (`tables`):
they are small in memory too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, cast

import numpy as np
import onnx_ir as ir

from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import Names
from onnxslim.graph.matcher import Matcher
from onnxslim.pipeline import Action, Context, Pass, PassResult

from .fit import Fitted
from .form_search import ErrorBudget, FormSearch
from .grids import Levels, Values
from .storable import Storable, StoredTable, StoredWeight
from .store import store
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
    """

    forms: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, Fitted] = field(default_factory=dict)
    tables: Mapping[str, TableCodes] = field(default_factory=dict)


@dataclass(frozen=True)
class StoreWeights(Pass):
    """Store weights that stay float in few bits, as far as the outputs allow.

    Latency stays what it is: onnxruntime makes floats of weights when it loads the file, and of the rows of tables that
    are looked up.
    """

    name: ClassVar[str] = "store"
    tier: ClassVar[Tier] = Tier.LOSSY
    for_size: ClassVar[bool] = True
    only_stores: ClassVar[bool] = True
    secondary: ClassVar[bool] = True
    plan_types: ClassVar[tuple[type, ...]] = (StorePlan, Fitted, Levels, TableCodes, TableForm)

    rest: Literal["auto", "small", "int8", "float"] = field(
        default="auto",
        metadata={
            "help": "how weights are stored that no int8 kernel reads: in 4 to 8 bits for at most 1 dB of the outputs, "
            "or for 4 dB (small), in int8, or as floats"
        },
    )

    @np.errstate(over="ignore", invalid="ignore")  # where squares of what is finite are not, nothing is fitted to them
    def plan(self, model: ir.Model, context: Context) -> StorePlan:
        """Decides the form of each constant."""
        items = [] if self.rest == "float" else list(_storable(model, context))
        if not items:
            return StorePlan()
        large = sum(each.tensor.nbytes for each in items) > SEARCH_UP_TO
        only_int8 = large or self.rest == "int8"
        forms = FormSearch(model, items, context, BUDGETS[self.rest], only_int8=only_int8).run()
        chosen = [(each, forms[each.name]) for each in items if each.name in forms]
        return StorePlan(
            forms,
            {each.name: each.made(form) for each, form in chosen if isinstance(each, StoredWeight)},
            {each.name: each.made(form) for each, form in chosen if isinstance(each, StoredTable)},
        )

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
        return context.result()


def _tables(model: ir.Model) -> list[Table]:
    """The first of each name: two branches may each have a table of the same one."""
    found = tables_of(model) if model.opset_imports.get("", 0) >= TABLE_OPSET else []
    return list({each.key: each for each in reversed(found)}.values())[::-1]


def _weights(model: ir.Model, context: Context) -> Iterator[Weight]:
    return weights_of(model, Matcher((), "--protect"), context, rule="store", least=LEAST)


def _storable(model: ir.Model, context: Context) -> Iterator[Storable]:
    tables = {each.key: each for each in _tables(model)}
    found: list[Storable] = [StoredTable(each, context.config.ops) for each in tables.values()]
    found += [StoredWeight(each) for each in _weights(model, context) if each.name not in tables]
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
