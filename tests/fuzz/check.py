"""What slimming promises of any model, checked on one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from onnxslim.errors import CannotRun, OnnxSlimError
from onnxslim.evaluation.parity import Reference
from onnxslim.evaluation.tier import Tier
from onnxslim.execution.feeds import Feed
from onnxslim.execution.session import open_session
from onnxslim.graph import load, to_bytes, validate
from onnxslim.passes.slim import Slim
from onnxslim.pipeline.context import Context
from tests.fuzz.truth import no_farther_from_the_truth

MAX_PASSES = 400
"""More rewrites than any small graph needs: rules that undo each other."""


@dataclass(frozen=True)
class Finding:
    """What was wrong, if anything, and which rules fired how often."""

    kind: str = ""
    """Empty where all is well; "skipped" where onnxruntime does not run the original; "onnxruntime" where the result is
    right as written, but onnxruntime's own optimizations break it (or the original already)."""
    detail: str = ""
    fired: Counter[str] = field(default_factory=Counter)

    @property
    def wrong(self) -> bool:
        return self.kind not in ("", "skipped", "onnxruntime")


def slimmed(data: bytes) -> tuple[bytes, Counter[str]]:
    """The bytes of the slimmed model, and how often each rule fired."""
    model = load(data)
    result = Slim().run(model, Context())
    validate(model)
    return to_bytes(model), Counter(action.rule for action in result.actions)


def check(model: onnx.ModelProto, feeds: Sequence[Feed]) -> Finding:
    """Slims ``model`` without verification and looks for anything that got wrong."""
    data = model.SerializeToString()
    try:
        reference = Reference(data, list(feeds), tier=Tier.NUMERIC)
    except CannotRun as error:
        return Finding("skipped", error.why or error.what)
    try:
        after, fired = slimmed(data)
    except Exception as error:  # whatever it is, it is what is looked for
        return Finding("crash", f"{type(error).__name__}: {error}")
    if sum(fired.values()) > MAX_PASSES:
        return Finding("endless", f"{sum(fired.values())} rewrites", fired)
    candidate = onnx.ModelProto.FromString(after)
    kind, detail = _interface(model, candidate)
    if not kind and len(after) > len(to_bytes(load(data))):
        kind, detail = "larger", f"{len(to_bytes(load(data)))} bytes became {len(after)}"
    if not kind:
        detail = _checker(model, candidate)
        kind = "invalid" if detail else ""
    if not kind:
        parity = reference.check(after)
        if not parity.passed and (not reference.check(data).passed or same_as_written(data, after, feeds)):
            return Finding("onnxruntime", str(parity), fired)
        if not parity.passed and not no_farther_from_the_truth(data, after, feeds):
            kind, detail = "different", str(parity)
    if not kind:
        again, more = slimmed(after)
        if again != after:
            kind, detail = "not idempotent", f"the second time {dict(more)}"
    return Finding(kind, detail, fired)


def same_as_written(before: bytes, after: bytes, feeds: Sequence[Feed]) -> bool:
    """Whether both compute the same where onnxruntime optimizes neither."""
    try:
        left, right = open_session(before, optimize=False), open_session(after, optimize=False)
        if (left.inputs, left.outputs) != (right.inputs, right.outputs):
            return False
        pairs = [(left.run(feed), right.run(feed)) for feed in feeds]
    except OnnxSlimError:
        return False
    for one, other in pairs:
        for name, a in one.items():
            b = other[name]
            bound = 1e-2 if a.dtype == np.float16 else 1e-4
            exact = a.dtype.kind != "f"
            if a.shape != b.shape or a.dtype != b.dtype or (exact and not np.array_equal(a, b)):
                return False
            if not exact and not np.allclose(a, b, rtol=bound, atol=bound / 10, equal_nan=True):
                return False
    return True


def _interface(before: onnx.ModelProto, after: onnx.ModelProto) -> tuple[str, str]:
    for part in ("input", "output"):
        old, new = getattr(before.graph, part), getattr(after.graph, part)
        if [(v.name, v.type) for v in old] != [(v.name, v.type) for v in new]:
            return (
                "interface",
                f"{part}s {[v.name for v in old]} became {[v.name for v in new]}, or their types changed",
            )
    opsets = [{entry.domain: entry.version for entry in model.opset_import} for model in (before, after)]
    if opsets[0] != opsets[1] and not before.functions:
        return "interface", "the opsets changed"
    return "", ""


def _checker(before: onnx.ModelProto, after: onnx.ModelProto) -> str:
    """What onnx's checker says of the result alone."""
    try:
        onnx.checker.check_model(before, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return ""
    try:
        onnx.checker.check_model(after, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return str(error)
    return ""
