"""What can be stored in few bits, as the search sees it: a weight that becomes floats at load, or rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Protocol, cast

import numpy as np
import onnx_ir as ir

from onnxslim.calibration import Request, Statistics
from onnxslim.graph.edit import constant_tensor
from onnxslim.graph.halves import stored_as
from onnxslim.pipeline.config import Ops

from .fit import Fitted
from .forms import COARSEST, fitted, size_of, squared_error, sweep_cost
from .grids import Values
from .sweep import HALF
from .table_codes import TableCodes, TableForm, forms_of, round_table
from .tables import Table
from .weights import Weight

SWEEP = 1e10
"""Multiplications up to which every form of a weight is fitted to its inputs; beyond only the coarsest."""
TABLE_FORMS = ("int4/128", "int4/32", "int5/64", "int6/64")
"""Of tables: bits, and numbers of a row that share a scale."""
ROW_GAIN = 0.7
"""A scale for each row must be so much nearer to the table than one for each column, since it is gathered too."""


class Storable(Protocol):
    """A constant and the forms that it can have. All but its name and forms may take time."""

    @property
    def name(self) -> str:
        """Of the constant."""

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """All that read it."""

    @property
    def value(self) -> ir.Value:
        """The constant."""

    @property
    def tensor(self) -> ir.TensorProtocol:
        """Its numbers."""

    @property
    def request(self) -> Request | None:
        """The statistics that `fit` is given."""

    def fit(self, statistics: Statistics | None, forms: Sequence[str] | None = None) -> None:
        """Lets numbers make up for each other's rounding from now on, by what they are multiplied by.

        Args:
            statistics: That hold the request, or None.
            forms: Those that will be asked for, but not their errors; None means any of them.
        """

    def sweep_cost(self) -> float:
        """Multiplications that it takes to fit one form, about."""

    def forms(self) -> Sequence[str]:
        """From the fewest bytes on; ``int8`` is one of them, ``float`` the last of what is float."""

    def bytes(self, form: str) -> float:
        """That a form takes in the file."""

    def error(self, form: str) -> float:
        """Of a form, in units that are the same for all forms."""

    def array(self, form: str) -> np.ndarray:
        """The numbers that the model computes with."""


class StoredWeight:
    """A weight.

    Args:
        weight: Of the model; not changed.
    """

    def __init__(self, weight: Weight) -> None:
        self.weight = weight
        self.name, self.nodes, self.value, self.request = weight.name, weight.nodes, weight.value, weight.request
        self._made: dict[str, Fitted] = {}

    @property
    def tensor(self) -> ir.TensorProtocol:
        """Its numbers."""
        return self.weight.tensor

    def fit(self, statistics: Statistics | None, forms: Sequence[str] | None = None) -> None:
        """See `Storable.fit`. Kept are the fits, not the statistics."""
        if statistics is None:
            return
        wanted = list(self.forms() if forms is None else forms)
        for form in wanted[:4] if self.sweep_cost() < SWEEP else wanted[:1]:
            self._made[form] = fitted(self.weight, cast(Values, form), statistics)
        if forms is None:
            self._errors = {form: squared_error(self.weight, self.array(form), statistics) for form in wanted}

    def sweep_cost(self) -> float:
        """See `Storable.sweep_cost`."""
        return sweep_cost(self.weight)

    @cached_property
    def _coarsest(self) -> str:
        if len(self.weight.geometry.matrix(np.empty(self.weight.geometry.shape, np.bool_))) > 1:
            return "int4"  # each group would have a codebook of its own: all together, they are not few values
        return min(COARSEST, key=lambda form: squared_error(self.weight, self.made(form).array, None))

    def forms(self) -> Sequence[str]:
        """Float16 is one where it is smaller and holds all numbers."""
        half = self.tensor.dtype == ir.DataType.FLOAT16 or stored_as(self.value) == ir.DataType.FLOAT16
        fits = not half and float(np.abs(self.weight.array).max()) <= HALF
        return [self._coarsest, "int5", "int6", "int8", *(["float16"] if fits else []), "float"]

    def bytes(self, form: str) -> float:
        """About."""
        return size_of(self.weight, cast(Values, form))

    def error(self, form: str) -> float:
        """The squared error, each number by what it is multiplied by where that was measured."""
        return self._errors[form]

    @cached_property
    def _errors(self) -> dict[str, float]:
        return {form: squared_error(self.weight, self.array(form), None) for form in self.forms()}

    def array(self, form: str) -> np.ndarray:
        """See `Storable.array`."""
        return self.weight.array if form == "float" else self.made(form).array

    def made(self, form: str) -> Fitted:
        """The weight in a form; what no statistics were given for is made anew each time."""
        return self._made.get(form) or fitted(self.weight, cast(Values, form), None)


class StoredTable:
    """An embedding table, of which rows are gathered as codes.

    Args:
        table: Of the model; not changed.
        ops: Operators that may read it.
    """

    request: Request | None = None

    def __init__(self, table: Table, ops: Ops) -> None:
        self.table, self.ops = table, ops
        self.name, self.nodes, self.value = table.key, table.consumers, table.value
        self._made: dict[str, TableCodes] = {}
        self._errors: dict[str, float] = {"float": 0.0}

    @property
    def tensor(self) -> ir.TensorProtocol:
        """Its numbers."""
        tensor = constant_tensor(self.value)
        assert tensor is not None
        return tensor

    def fit(self, statistics: Statistics | None, forms: Sequence[str] | None = None) -> None:
        """A table is multiplied by nothing."""

    def sweep_cost(self) -> float:
        """Nothing is fitted."""
        return 0.0

    def forms(self) -> Sequence[str]:
        """Blocks that divide the rows, int8."""
        length = self.table.array.shape[1]
        return [*(each for each in TABLE_FORMS if length % int(each.partition("/")[2]) == 0), "int8", "float"]

    def bytes(self, form: str) -> float:
        """Of codes and scales."""
        return float(self.tensor.nbytes if form == "float" else self.made(form).bytes())

    def error(self, form: str) -> float:
        """The squared error."""
        if form not in self._errors:
            self._errors[form] = self.made(form).squared_error(self.table.array)
        return self._errors[form]

    def array(self, form: str) -> np.ndarray:
        """See `Storable.array`."""
        return self.table.array if form == "float" else self.made(form).floats()

    def made(self, form: str) -> TableCodes:
        """The table in a form."""
        if form not in self._made:
            self._made[form] = self._rounded(form)
        return self._made[form]

    def _rounded(self, form: str) -> TableCodes:
        array = self.table.array
        if form == "int8":
            row, column = (round_table(array, TableForm("int8", axis=axis)) for axis in ("row", "column"))
            errors = [each.squared_error(array) for each in (row, column)]
            return row if errors[0] < ROW_GAIN * errors[1] else column
        kind, _, block = form.partition("/")
        found = next(each for each in forms_of(array) if each.kind == kind and each.block == int(block))
        return round_table(array, replace(found, half=float(np.abs(array).max()) < HALF / 2))
