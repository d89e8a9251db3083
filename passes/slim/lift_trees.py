"""TreeEnsembleClassifier, TreeEnsembleRegressor -> TreeEnsemble of ``ai.onnx.ml`` 5: a fourth of the bytes.

The older operators state each node by tree, number and the name of its kind, leaves as well, and each weight of a leaf
by tree, number and class. TreeEnsemble states branches and leaves by position, in tensors where the older ones have
lists, and equal leaves once. It gives sums alone. What a classifier makes of them is written as nodes:

1. More than two classes: the label is that of the largest sum (ArgMax), scores are the sums, their Softmax or Sigmoid.
2. Two classes, one of which has the weights: z = sum + base. Scores are [-z, z], or [1 - z, z] where no weight is
   negative, which is one Gemm; the label is that of the larger one.
3. What is added to a sum is added to the leaves of the last tree that makes it, where a tree makes one sum.

A version of a domain is imported once, so that a model's ensembles are lifted all together or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import ShapeFacts
from onnxslim.evaluation.tier import Tier
from onnxslim.graph.edit import Names, add_initializer, site
from onnxslim.graph.uses import drop_inputs
from onnxslim.graph.walk import nodes
from onnxslim.ops import trees
from onnxslim.ops.determinism import schema
from onnxslim.ops.ml import DOMAIN, base_values, class_labels, numbers
from onnxslim.ops.tree_attributes import by_position, read
from onnxslim.ops.trees import Forest
from onnxslim.pipeline.action import Action, PassResult
from onnxslim.pipeline.context import Context
from onnxslim.pipeline.rewrite import Pass
from onnxslim.rewriter.scopes import ANNOTATION, Forwarding
from onnxslim.rewriter.shape_facts import shape_facts
from onnxslim.rewriter.size import listing_bytes, node_bytes, tensor_bytes

from .trim_trees import drops_zeros, mixes_missing, trim, without_zeros

TRANSFORMS: Final = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
NODE_NS: Final = 500
"""What a small node takes in a run; onnxruntime 1.32, one thread, one row."""
BRANCH_NS: Final = 12
"""What a branch takes on the way to a leaf, there too."""
WEIGHT_NS: Final = 5
"""What it takes to add one weight of a leaf."""
TWO_NS: Final = 3
"""What a tree takes less in an ensemble of one sum than in a classifier of two."""
SLOWER: Final = 0.03
"""Share of the time of one row that a lift may cost: below what a comparison of two runs can tell."""


@dataclass(frozen=True)
class LiftTrees(Pass):
    """Write tree ensembles as TreeEnsemble, the operator that states them in the fewest bytes.

    Left as they are: leaves with weights for several classes, features that are not float32, and classifiers that are
    so small that the nodes behind the trees would take longer than the trees (``always`` lifts these, too).
    """

    name: ClassVar[str] = "lift-trees"
    tier: ClassVar[Tier] = Tier.NUMERIC

    always: bool = field(default=False, metadata={"help": "also where one row takes longer to compute"})

    def run(self, model: ir.Model, context: Context) -> PassResult:
        """Lifts all or none, in place."""
        old = [node for node in nodes(model) if node.domain == DOMAIN and node.op_type in trees.PREFIX]
        if not old:
            return context.result()
        reasons = list(obstacles(model))
        facts, names, forwarding = shape_facts(model, context), Names.of(model), Forwarding(model)
        plans: list[Stand] = []
        for node in old:
            plan = lifted(node, model, facts, names) if node.graph is model.graph else "it stands in a subgraph"
            if isinstance(plan, str):
                reasons.append((site(node), plan))
                continue
            plans.append(plan)
            if any(ANNOTATION in value.meta or value.name in forwarding.annotated for value in node.outputs):
                reasons.append((site(node), "it takes part in a quantization annotation"))
        if not reasons:
            reasons += [("model", reason) for reason in weigh(plans, model, always=self.always)]
        for where, reason in reasons:
            context.decline(self.name, where, reason)
        outputs = tuple(value.name or "" for node in old for value in node.outputs)
        if not reasons and context.allow(Action(self.name, outputs, "model", f"{len(plans)} ensembles")):
            for plan in plans:
                put(plan, model, forwarding)
            model.opset_imports[DOMAIN] = trees.ENSEMBLE_SINCE
        else:
            for new in (new for plan in plans for new in reversed(plan.nodes)):
                drop_inputs(new)  # what is not put in place must not count among the users of anything
        return context.result()


@dataclass
class Stand:
    """What stands for one ensemble: nodes in order, their constants, and a value for each output that is used."""

    node: ir.Node
    names: Names
    saved_ns: float
    """What one row no longer takes."""
    steps: float
    """Branches on the way of one row."""
    nodes: list[ir.Node] = field(default_factory=list)
    constants: list[ir.Value] = field(default_factory=list)
    outputs: list[ir.Value | None] = field(default_factory=list)


def obstacles(model: ir.Model) -> Iterator[tuple[str, str]]:
    """What else of the model version 5 of the domain would change."""
    version = model.opset_imports.get(DOMAIN, 1)
    if any(DOMAIN in function.opset_imports for function in model.functions.values()):
        yield "model", "a function imports the domain, too"
    for node in nodes(model):
        if node.domain != DOMAIN or node.op_type in trees.PREFIX or node.op_type == trees.ENSEMBLE:
            continue
        before, after = (schema(node.op_type, each, DOMAIN) for each in (version, trees.ENSEMBLE_SINCE))
        same = before is not None and after is not None and before.since_version == after.since_version
        # Version 4 gave LabelEncoder attributes beside those of version 2, which kept their meaning.
        if not same and not (node.op_type == "LabelEncoder" and version >= 2):
            yield site(node), f"{node.op_type} means something else in version 5"


def lifted(node: ir.Node, model: ir.Model, facts: ShapeFacts, names: Names) -> Stand | str:
    """What stands for the ensemble; a reason where it cannot be written so."""
    forest, x = read(node), node.inputs[0]
    if isinstance(forest, str) or x is None:
        return str(forest)
    if forest.dtype != ir.DataType.FLOAT or facts.dtype(x) != ir.DataType.FLOAT or facts.rank(x) != 2:
        return "its features are not known to be a matrix of float32"
    if mixes_missing(forest):
        return "its tests for equality differ in where NaN leads"
    before = sum(map(len, forest.leaves)) / len(forest.leaves)
    forest = trim(forest)
    if drops_zeros(node, forest):
        forest = without_zeros(forest)
    if any(len(leaf) != 1 for leaf in forest.leaves):
        return "a leaf has weights for several targets"
    base = base_values(node)
    post, aggregate = _text(node, "post_transform", "NONE"), _text(node, "aggregate_function", "SUM")
    if post not in TRANSFORMS or aggregate not in trees.AGGREGATES:
        return f"{post} or {aggregate} is not known"
    if any(output.uses() or output.is_graph_output() for output in node.outputs[2:]):
        return "it has more outputs than the operator"
    plan = Stand(node, names, WEIGHT_NS * (before - 1) * len(forest.roots), trees.steps(forest))
    if node.op_type == "TreeEnsembleRegressor":
        targets = int(node.attributes["n_targets"].as_int()) if "n_targets" in node.attributes else 0
        answer = _regressor(plan, x, forest, targets, base, post, aggregate)
    else:
        labels = class_labels(node)
        classes = labels[0] if labels is not None else 0
        if post not in ("NONE", "SOFTMAX", "LOGISTIC"):
            return f"no node computes {post}"
        if model.opset_imports.get("", 0) < 7:
            return "the model imports no operators that labels and scores could be made with"
        answer = (_two if classes == 2 else _many)(plan, x, forest, classes, base, post)
    return plan if answer is None else answer


def _regressor(
    plan: Stand, x: ir.Value, forest: Forest, targets: int, base: Sequence[float], post: str, aggregate: str
) -> str | None:
    if not targets or (base and len(base) != targets):
        return "its number of targets is not known"
    if any(base):
        raised = trees.with_base(forest, dict(enumerate(base))) if aggregate == "SUM" else None
        if raised is None:
            return "what is added to the sums has no tree of its own"
        forest = raised
    attributes = {"n_targets": targets, "aggregate_function": trees.AGGREGATES.index(aggregate)}
    attributes["post_transform"] = TRANSFORMS.index(post)
    plan.outputs = [_sums(plan, x, forest, attributes)]
    return None


def _many(plan: Stand, x: ir.Value, forest: Forest, classes: int, base: Sequence[float], post: str) -> str | None:
    if classes < 3 or len(base) not in (0, classes):
        return "its number of classes is not known"
    positive = all(leaf[0][1] > 0 for leaf in forest.leaves)
    if not base and not positive and len(trees.certain(forest)) != classes:
        return "a class may have no weight at all, and is not chosen then"
    if any(base):
        raised = trees.with_base(forest, dict(enumerate(base)))
        if raised is None:
            return "what is added to the sums has no tree of its own"
        forest = raised
    sums = _sums(plan, x, forest, {"n_targets": classes})
    if post == "NONE":
        scores = sums
    elif post == "SOFTMAX":
        scores = _add(plan, ir.node("Softmax", [sums], {"axis": 1}))
    else:
        scores = _add(plan, ir.node("Sigmoid", [sums]))
    plan.outputs = [_label(plan, sums), scores]
    return None


def _two(plan: Stand, x: ir.Value, forest: Forest, classes: int, base: Sequence[float], post: str) -> str | None:
    if len(base) > 1 or {leaf[0][0] for leaf in forest.leaves} != {0} or post == "SOFTMAX":
        return "not all weights of its two classes are those of the first"
    # Of all weights, also those of branches that are never reached: this decides what the operator computes.
    stated = plan.node.attributes.get("class_weights") or plan.node.attributes["class_weights_as_tensor"]
    positive = bool((np.asarray(numbers(stated)) >= 0).all())
    if positive and post == "LOGISTIC":
        return "versions of onnxruntime differ in what they make of two classes without a negative weight"
    shift = float(base[0]) if base else 0.0
    weights = _constant(plan, "weights", np.array([[-1, 1]], np.float32))
    bias = _constant(plan, "bias", np.array([1 - shift, shift] if positive else [-shift, shift], np.float32))
    sums = _sums(plan, x, forest, {"n_targets": 1})
    plan.saved_ns += TWO_NS * len(forest.roots)
    scores = _add(plan, ir.node("Gemm", [sums, weights, bias]))
    label = _label(plan, scores)
    if post == "LOGISTIC":
        scores = _add(plan, ir.node("Sigmoid", [scores]))
    plan.outputs = [label, scores]
    return None


def _sums(plan: Stand, x: ir.Value, forest: Forest, attributes: dict[str, int]) -> ir.Value:
    forest = trim(forest)
    defaults = {"aggregate_function": trees.AGGREGATES.index("SUM"), "post_transform": 0}
    plain = [ir.AttrInt64(name, value) for name, value in attributes.items() if defaults.get(name) != value]
    stated = [*plain, *by_position(forest).values()]
    return _add(plan, ir.Node(DOMAIN, trees.ENSEMBLE, [x], stated, name=plan.node.name))


def _label(plan: Stand, scores: ir.Value) -> ir.Value | None:
    """The label of the largest score, the first of equal ones."""
    output = plan.node.outputs[0]
    if not output.uses() and not output.is_graph_output():
        return None
    place = _add(plan, ir.node("ArgMax", [scores], {"axis": 1, "keepdims": 0}))
    strings, integers = (plan.node.attributes.get(f"classlabels_{each}") for each in ("strings", "int64s"))
    if strings is None and integers is not None:
        labels = list(integers.as_ints())
        if labels == list(range(len(labels))):
            return place
        return _add(plan, ir.node("Gather", [_constant(plan, "labels", np.array(labels, np.int64)), place]))
    assert strings is not None
    texts = [each.encode() for each in strings.as_strings()]
    tensor = ir.StringTensor(texts, shape=ir.Shape([len(texts)]))
    return _add(plan, ir.node("Gather", [_constant(plan, "labels", tensor), place]))


def _add(plan: Stand, node: ir.Node) -> ir.Value:
    node.name = node.name or ""
    node.outputs[0].name = plan.names.fresh(f"{plan.node.outputs[-1].name}_{node.op_type}")
    plan.nodes.append(node)
    return node.outputs[0]


def _constant(plan: Stand, name: str, array: np.ndarray | ir.TensorProtocol) -> ir.Value:
    tensor = ir.Tensor(array) if isinstance(array, np.ndarray) else array
    fresh = plan.names.fresh(f"{plan.node.outputs[-1].name}_{name}")
    plan.constants.append(ir.Value(name=fresh, const_value=tensor))
    return plan.constants[-1]


def _text(node: ir.Node, name: str, default: str) -> str:
    return node.attributes[name].as_string() if name in node.attributes else default


def weigh(plans: Sequence[Stand], model: ir.Model, *, always: bool) -> Iterator[str]:
    """Why it is not worth it: more bytes, or more time for one row."""
    come = sum(node_bytes(new) for plan in plans for new in plan.nodes)
    for value in (value for plan in plans for value in plan.constants):
        if value.const_value is not None:
            come += tensor_bytes(value.const_value, value.name or "") + listing_bytes(value.const_value, "", model)
    go = sum(node_bytes(plan.node) for plan in plans)
    if come >= go:
        yield f"the file would grow by {come - go:,} bytes"
    more = NODE_NS * sum(len(plan.nodes) - 1 for plan in plans) - sum(plan.saved_ns for plan in plans)
    now = NODE_NS * 5 + BRANCH_NS * sum(plan.steps for plan in plans)
    if more > SLOWER * now and not always:
        yield "one row would take longer: nodes that make labels and scores come behind few trees"


def put(plan: Stand, model: ir.Model, forwarding: Forwarding) -> None:
    """Puts the nodes in the place of the ensemble."""
    graph, node = model.graph, plan.node
    for value in plan.constants:
        assert value.const_value is not None
        value.replace_all_uses_with(add_initializer(graph, value.name or "", value.const_value))
    graph.insert_before(node, plan.nodes)
    for old, stand_in in zip(node.outputs, plan.outputs, strict=False):
        if stand_in is not None:
            stand_in.type, stand_in.shape = old.type, old.shape
            forwarding.forward(old, stand_in)
    drop_inputs(node)
    graph.remove(node)
