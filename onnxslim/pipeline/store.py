"""What a run keeps: plans and measurements by the key of all that they depend on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from onnxslim.calibration.fingerprint import model_digest
from onnxslim.pipeline.keys import Keys
from onnxslim.pipeline.plan import Plan, StoredPlan, read_plans, write_plans

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
        self._keys = Keys()

    def __len__(self) -> int:
        """Plans and results that are kept."""
        return len(self._plans) + len(self._results)

    def recall(self, make: Callable[[], T], *conditions: Any) -> T:
        """The result of ``make()``, or what it was when it was last asked for under the same conditions."""
        key = self._keys.of(*conditions)
        if key not in self._results:
            self._results[key] = make()
        found: T = self._results[key]
        return found

    def plan(self, of: Planner, model: ir.Model, refused: frozenset[str], make: Callable[[], Plan]) -> Plan:
        """The plan of a pass for a model, made where it is not known yet.

        The key covers the pass with its options, the whole model, and the rewrites that were refused. Samples and the
        machine are no part of it: a plan is applied elsewhere as it was made here.

        Args:
            of: The pass.
            model: What it is planned for.
            refused: Keys of actions that must not happen.
            make: Decides.
        """
        key = self._keys.of("plan", of, model_digest(model), refused)
        found = self._plans.get(key)
        if isinstance(found, StoredPlan):
            found = self._plans[key] = found.plan(of.plan_types)
        if found is None:
            found = self._plans[key] = make()
            if self._path is not None:
                write_plans(self._path, self._plans)
        return found
