"""Sessions of the original and of its candidates, opened alike at a tier, in child processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from onnxslim.errors import CannotRun, OnnxSlimError, TooSlow
from onnxslim.evaluation.parts import Leaf, shown
from onnxslim.evaluation.tier import Tier
from onnxslim.execution.isolated import IsolatedSession
from onnxslim.execution.opening import AnyModel, Opening, opening_of
from onnxslim.execution.session import lean_config


class Opener:
    """Opens both sides of a comparison.

    Args:
        original: The model that candidates are compared with.
        tier: What is compared optimized, and what not.
        threads: Of the sessions.
        run_seconds: Time that one run may take.
        most: Seconds that opening the original, and a run of it, may take.
    """

    def __init__(self, original: ir.Model, *, tier: Tier, threads: int, run_seconds: float, most: float) -> None:
        self._original, self._tier, self._threads = original, tier, threads
        self._run_seconds, self._most = run_seconds, most
        self._config = lean_config(original)
        self._packed: tuple[AnyModel, Opening] | None = None
        """What was opened last, for it is opened twice."""
        self.unoptimized = ""
        """Why the original opens only without optimizations; empty where it opens with them."""

    def forget(self) -> None:
        """Lets go of what was opened last: the model may be edited before it is opened again."""
        self._packed = None

    def open(self, model: AnyModel, optimize: bool | str = True) -> IsolatedSession:
        """A session of the original, or of a candidate."""
        if self._packed is None or self._packed[0] is not model or self._tier is Tier.LOSSY:  # parts become outputs
            self._packed = model, opening_of(model, threads=self._threads, config=self._config)
        opening = replace(self._packed[1], optimize=optimize)
        if model is self._original:
            return IsolatedSession(opening, min(self._run_seconds, self._most), self._most)
        return IsolatedSession(opening, self._run_seconds)  # a candidate that is a little slower is no wrong one

    def optimized(self) -> IsolatedSession | None:
        """The optimized session that the numeric bound stands on; None where the original does not load so."""
        if self._tier is Tier.LOSSY:
            return None  # the compared session is optimized
        try:
            return self.open(self._original)
        except TooSlow:
            raise
        except CannotRun as error:
            self.unoptimized = reason_of(error)
            return None

    def compared(self, model: AnyModel, leaves: Sequence[Leaf], notes: list[str]) -> tuple[IsolatedSession, list[str]]:
        """The session that outputs are compared from, at the lossy tier with the tensors of the parts.

        Returns:
            The session, and the name of each leaf's tensor; none where they cannot be shown.
        """
        if leaves and isinstance(model, ir.Model):
            try:
                with shown(model, leaves) as names:
                    return self._at_level(model, notes), names
            except TooSlow:
                raise
            except OnnxSlimError as error:
                session = self._at_level(model, notes)
                notes.append(f"outputs are compared as they are, not part by part: {reason_of(error)}")
                return session, []
        return self._at_level(model, notes), []

    def _at_level(self, model: AnyModel, notes: list[str]) -> IsolatedSession:
        """Optimized for the lossy tier, else as little as can be: some models have no kernels without."""
        if self._tier is Tier.LOSSY and not self.unoptimized:
            return self.open(model)
        try:
            return self.open(model, False)
        except TooSlow:
            raise
        except CannotRun as error:
            try:
                session = self.open(model, "basic")
            except CannotRun:
                raise error from None
            notes.append(f"compared with basic optimizations, since it does not load without: {reason_of(error)}")
            return session


def reason_of(error: OnnxSlimError) -> str:
    """Why an error came, in short."""
    return error.why or error.what
