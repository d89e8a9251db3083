"""Two texts, before and after, and nothing else to read: structure and outputs of a rewrite are checked in one call.

What is the same graph: inputs, outputs (names, types, shapes) and opsets are equal, and so are the sets of nodes, each
known by what it computes: operator, attributes, subgraphs, and in turn what its inputs compute. Constants are known by
dtype, shape and bits. Names of intermediate values, constants, nodes and subgraphs and the order of independent nodes
do not matter; dead nodes and unused constants do. Types of intermediate values are checked by onnx, not compared.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from onnxslim.evaluation.tier import Tier
from onnxslim.execution.feeds import Feed
from onnxslim.graph import parse, show, to_proto
from onnxslim.pipeline.action import PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.samples.sample import Samples

SIZES = (1, 2, 7)
"""What symbolic and unknown dimensions are set to, one feed each."""
SQNR = 20.0
"""Decibels that the outputs of a lossy rewrite must keep unless the test says otherwise."""

Text = str | ir.Model | onnx.ModelProto


def assert_rewrites(
    before: Text,
    after: Text,
    rewrite: Pass,
    *,
    samples: Samples | None = None,
    feeds: Sequence[Feed] | None = None,
    tier: Tier | None = None,
    sqnr: float = SQNR,
) -> PassResult:
    """Asserts that ``rewrite`` makes ``after`` of ``before``, that the outputs agree, and that it asks before it acts.

    Args:
        before: The model as text (``onnx.parser``), proto or IR. Texts state ``ir_version`` 8 to 10.
        after: What must come out, likewise; names inside do not matter.
        rewrite: The pass.
        samples: Given to the pass.
        feeds: What both models are run on; None makes random ones at the sizes 1, 2 and 7 of dynamic dimensions.
        tier: How closely outputs must agree; None takes what the pass promises.
        sqnr: Decibels kept where the tier is lossy.

    Returns:
        What the pass said of itself.
    """
    original, model, expected = _proto(before), _model(before), _model(after)
    result = rewrite.run(model, Context(samples=samples))
    assert_same_graph(model, expected)
    assert result.modified, "the model was changed but the pass says that it was not"
    assert result.actions, "the pass changed the model without an action on record"
    candidate = to_proto(model)
    onnx.checker.check_model(candidate, full_check=True)
    assert_same_outputs(original, candidate, feeds=feeds, tier=type(rewrite).tier if tier is None else tier, sqnr=sqnr)
    _assert_untouched(before, rewrite, Context(samples=samples, limit=0), "although no action was allowed")
    return result


def assert_declines(
    before: Text, rewrite: Pass, *, reason: str | None = None, samples: Samples | None = None
) -> PassResult:
    """Asserts that ``rewrite`` leaves ``before`` exactly as it is and, where given, says ``reason``.

    Args:
        before: The model as text, proto or IR.
        rewrite: The pass.
        reason: A part of the reason that must be among those given; None where the rule does not apply at all.
        samples: Given to the pass.

    Returns:
        What the pass said of itself.
    """
    result = _assert_untouched(before, rewrite, Context(samples=samples), "although it was to be left alone")
    reasons = [declined.reason for declined in result.declined]
    if reason is not None:
        assert any(reason in given for given in reasons), f"no reason says {reason!r}: {reasons}"
    return result


def _assert_untouched(before: Text, rewrite: Pass, context: Context, why: str) -> PassResult:
    model = _model(before)
    text, bits = show(model), to_proto(model).SerializeToString(deterministic=True)
    result = rewrite.run(model, context)
    difference = _difference(text, show(model))
    changed = to_proto(model).SerializeToString(deterministic=True) != bits
    assert not changed, f"the model was changed {why}:\n{difference}"
    assert not result.modified, f"the pass says that it changed the model {why}"
    assert not result.actions, f"actions on record {why}: {result.actions}"
    return result


# --- structure -------------------------------------------------------------------------------------------------------


def assert_same_graph(actual: Text, expected: Text) -> None:
    """Asserts that both are the same graph in the sense of this module; shows a diff where not."""
    left, right = _model(actual), _model(expected)
    if canonical(left) != canonical(right):
        difference = _difference(show(right), show(left)) or "(they differ in a large constant's values)"
        raise AssertionError(f"not the graph expected (- expected, + actual):\n{difference}")


def canonical(model: ir.Model) -> str:
    """A digest that two models share iff they are the same graph in the sense of this module."""
    parts: list[Any] = [sorted(_opsets(model.opset_imports).items()), _graph(model.graph, {}, named=True)]
    for identifier, function in sorted(model.functions.items()):
        defaults = sorted((a.name, _attribute(a, {})) for a in function.attributes.values())
        parts.append((identifier, sorted(_opsets(function.opset_imports).items()), defaults))
        parts.append(_graph(function.graph, {}, named=False))
    return _digest(*parts)


def _opsets(imports: dict[str, int]) -> dict[str, int]:
    return {("" if domain == "ai.onnx" else domain): version for domain, version in imports.items()}


def _graph(graph: ir.Graph, outer: dict[ir.Value, str], *, named: bool) -> str:
    known = dict(outer)
    signature: list[Any] = []
    for position, value in enumerate(graph.inputs):
        label = value.name if named else position
        known[value] = _digest("input", label)
        signature.append((label, str(value.type), _shape(value.shape)))
    constants = []
    for value in graph.initializers.values():
        key = _digest("constant", None if value.const_value is None else _tensor(value.const_value))
        if value.is_graph_input():  # a default that the caller may override
            key = _digest("default", known[value], key)
        known[value] = key
        constants.append(key)
    nodes = []
    for node in graph:
        inputs = [None if value is None else known.get(value, f"undefined {value.name}") for value in node.inputs]
        attributes = sorted((a.name, _attribute(a, known)) for a in node.attributes.values())
        present = [bool(output.name) for output in node.outputs]
        key = _digest(node.domain, node.op_type, node.overload, inputs, attributes, present)
        nodes.append(key)
        known.update((output, _digest(key, index)) for index, output in enumerate(node.outputs))
    outputs = [
        (
            (value.name, str(value.type), _shape(value.shape)) if named else (),
            known.get(value, f"undefined {value.name}"),
        )
        for value in graph.outputs
    ]
    return _digest(signature, sorted(constants), sorted(nodes), outputs)


def _attribute(attribute: ir.Attr, known: dict[ir.Value, str]) -> str:
    value: Any = attribute.value
    match attribute.type:
        case _ if attribute.is_ref():
            value = ("ref", attribute.ref_attr_name)
        case ir.AttributeType.FLOAT:
            value = np.float32(value).tobytes()
        case ir.AttributeType.FLOATS:
            value = np.asarray(value, np.float32).tobytes()
        case ir.AttributeType.INTS | ir.AttributeType.STRINGS:
            value = list(value)
        case ir.AttributeType.TENSOR:
            value = _tensor(value)
        case ir.AttributeType.TENSORS:
            value = [_tensor(tensor) for tensor in value]
        case ir.AttributeType.GRAPH:
            value = _graph(value, known, named=False)
        case ir.AttributeType.GRAPHS:
            value = [_graph(graph, known, named=False) for graph in value]
        case ir.AttributeType.TYPE_PROTO:
            value = (str(value.type), _shape(value.shape))
    return _digest(attribute.type.name, value)


def _tensor(tensor: ir.TensorProtocol) -> tuple[Any, ...]:
    if tensor.dtype == ir.DataType.STRING:
        return tensor.dtype.name, _shape(tensor.shape), tensor.numpy().reshape(-1).tolist()
    return tensor.dtype.name, _shape(tensor.shape), hashlib.sha256(tensor.tobytes()).hexdigest()


def _shape(shape: Any) -> Any:
    return None if shape is None else [dim if isinstance(dim, int) else f"?{dim.value}" for dim in shape]


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _difference(left: str, right: str) -> str:
    return "\n".join(difflib.unified_diff(left.splitlines(), right.splitlines(), lineterm="", n=2))


# --- outputs ---------------------------------------------------------------------------------------------------------


def assert_same_outputs(
    original: Text,
    candidate: Text,
    *,
    feeds: Sequence[Feed] | None = None,
    tier: Tier = Tier.NUMERIC,
    sqnr: float = SQNR,
) -> None:
    """Runs both in onnxruntime, as written and optimized, and asserts that the outputs agree.

    With random feeds a size that the original itself cannot run (a Reshape that needs another) is passed over; at
    least one must run.
    """
    left, right = _proto(original), _proto(candidate)
    given = feeds is not None
    feeds = list(feeds) if feeds is not None else random_feeds(left)
    ran = 0
    for optimize in (False, True):
        reference, other = _session(left, optimize), _session(right, optimize)
        names = [output.name for output in reference.get_outputs()]
        assert [output.name for output in other.get_outputs()] == names, "names or order of the outputs changed"
        for feed in feeds:
            try:
                wanted = reference.run(None, feed)
            except Exception:  # onnxruntime's errors share no public base
                if given:
                    raise
                continue
            ran += 1
            shapes = {name: array.shape for name, array in feed.items()}
            for name, a, b in zip(names, wanted, other.run(None, feed), strict=True):
                _assert_close(a, b, Tier.NUMERIC if optimize and tier == Tier.EXACT else tier, sqnr, f"{name} {shapes}")
    assert ran, f"the original runs at none of the sizes {SIZES}: give feeds"


def _assert_close(a: Any, b: Any, tier: Tier, sqnr: float, where: str) -> None:
    if not isinstance(a, np.ndarray):
        assert type(a) is type(b), where
        items = (a.items(), b.items()) if isinstance(a, dict) else (enumerate(a or ()), enumerate(b or ()))
        for (key, left), (other_key, right) in zip(*items, strict=True):
            assert key == other_key, where
            _assert_close(np.asarray(left), np.asarray(right), tier, sqnr, f"{where}[{key}]")
        return
    assert a.dtype == b.dtype, f"{where}: dtype {a.dtype} became {b.dtype}"
    assert a.shape == b.shape, f"{where}: shape {a.shape} became {b.shape}"
    if tier == Tier.EXACT or a.dtype.kind not in "fc":
        same = a.tobytes() == b.tobytes() if a.dtype != object else a.tolist() == b.tolist()
        assert same or (tier == Tier.LOSSY and a.dtype.kind in "iu"), f"{where}: not the same bits"
        return
    assert np.array_equal(np.isfinite(a), np.isfinite(b)), f"{where}: NaN or infinity at other places"
    assert np.array_equal(a[~np.isfinite(a)], b[~np.isfinite(b)], equal_nan=True), f"{where}: other NaN or infinity"
    x, y = a[np.isfinite(a)].astype(np.complex128), b[np.isfinite(b)].astype(np.complex128)
    if tier == Tier.LOSSY:
        noise, signal = float(np.sum(np.abs(x - y) ** 2)), float(np.sum(np.abs(x) ** 2))
        found = np.inf if noise == 0 else 10 * np.log10(signal / noise) if signal else -np.inf
        assert found >= sqnr, f"{where}: {found:.1f} dB kept of {sqnr} dB asked"
        return
    relative, absolute = _TOLERANCE[np.finfo(a.dtype).dtype.itemsize]
    np.testing.assert_allclose(y, x, rtol=relative, atol=absolute, err_msg=where)


_TOLERANCE = {2: (1e-2, 1e-3), 4: (1e-4, 1e-5), 8: (1e-8, 1e-9)}
"""Bytes of a (real) float -> relative and absolute bound."""


def random_feeds(model: onnx.ModelProto, *, sizes: Iterable[int] = SIZES, seed: int = 0) -> list[Feed]:
    """Random values for the inputs without a default, one feed a size; equal symbols get equal sizes.

    Floats are normal, integers 0 to 2 (they may be indices), strings single letters.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    generator = np.random.default_rng(seed)
    feeds: list[Feed] = []
    for size in sizes:
        feed: Feed = {}
        for value in inputs:
            tensor = value.type.tensor_type
            assert value.type.HasField("tensor_type"), f"input {value.name} is no tensor: give feeds"
            assert tensor.HasField("shape"), f"input {value.name} has no rank: give feeds"
            shape = tuple(dim.dim_value if dim.HasField("dim_value") else size for dim in tensor.shape.dim)
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            if dtype.kind in "fcV":
                feed[value.name] = generator.standard_normal(shape).astype(dtype)
            elif dtype.kind == "O":
                feed[value.name] = generator.choice(np.array(["a", "b", "c"], dtype=object), shape)
            else:
                feed[value.name] = generator.integers(0, 2 if dtype.kind == "b" else 3, shape).astype(dtype)
        feeds.append(feed)
    return feeds


def _session(model: onnx.ModelProto, optimize: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _model(source: Text) -> ir.Model:
    """A model of its own, which may be edited."""
    if isinstance(source, str):
        return parse(source)
    return ir.from_proto(source) if isinstance(source, onnx.ModelProto) else source.clone(deep_copy=True)


def _proto(source: Text) -> onnx.ModelProto:
    return source if isinstance(source, onnx.ModelProto) else to_proto(_model(source))
