"""What a run keeps: plans and measurements by the key of all that they depend on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from onnxslim.calibration.fingerprint import model_digest
from onnxslim.errors import InputError
from onnxslim.pipeline.keys import Keys
from onnxslim.pipeline.plan import Plan, StoredPlan, add_plans, read_plans, stored_plan

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.pipeline.action import Planner

T = TypeVar("T")


class Store:
    """Keeps results for the time of a run, and plans in a file where one is named.

    Args:
        path: The file of plans. What it holds is used, what it lacks is added as soon as it is decided.

    Raises:
        InputError: The file exists and holds no plans.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = path
        self._plans: dict[str, Plan | StoredPlan] = {}
        if path is not None and os.path.exists(path):
            self._plans.update(read_plans(path))
        self._results: dict[str, Any] = {}
        self.applied = 0
        """Plans of the file that were applied."""
        self._keys = Keys()

    def __len__(self) -> int:
        """Plans and results that are kept."""
        return len(self._plans) + len(self._results)

    def add(self, plans: Mapping[str, StoredPlan]) -> None:
        """Takes in plans that were made elsewhere."""
        for key, plan in plans.items():
            self._plans.setdefault(key, plan)

    def plans(self) -> dict[str, StoredPlan]:
        """All plans, as a file holds them.

        Raises:
            TypeError: One holds something that a file cannot.
        """
        return {key: each if isinstance(each, StoredPlan) else stored_plan(each) for key, each in self._plans.items()}

    def recall(self, make: Callable[[], T], *conditions: Any) -> T:
        """The result of ``make()``, or what it was when it was last asked for under the same conditions."""
        key = self._keys.of(*conditions)
        if key not in self._results:
            self._results[key] = make()
        found: T = self._results[key]
        return found

    def plan(self, of: Planner, model: ir.Model, conditions: tuple[Any, ...], make: Callable[[], Plan]) -> Plan:
        """The plan of a pass for a model, made where it is not known yet.

        The key covers the pass with its options, the whole model, and the conditions. Samples and the machine are no
        part of it: a plan is applied elsewhere as it was made here.

        Args:
            of: The pass.
            model: What it is planned for.
            conditions: What else the pass decides by, the same in every process.
            make: Decides.

        Raises:
            InputError: The file holds something else under this key.
            TypeError: The pass's decision is made of what its ``plan_types`` do not name, or a file cannot hold.
        """
        before = model_digest(model)
        key = self._keys.of("plan", of, before, conditions)
        found = self._plans.get(key)
        if isinstance(found, StoredPlan):
            found = self._plans[key] = found.plan(of.plan_types)
            self.applied += 1
        if found is None:
            found = self._plans[key] = make()
            if model_digest(model) != before:
                raise TypeError(f"the pass {of.name!r} changed the model while it planned: it is to change a clone")
            if self._path is not None:
                stored = stored_plan(found)
                try:
                    stored.plan(of.plan_types)  # what could not be read shall not be written
                except InputError as error:
                    raise TypeError(f"plan_types of {of.name!r} do not name all of its plan: {error.why}") from error
                add_plans(self._path, {key: stored})
        return found
