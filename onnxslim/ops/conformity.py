"""Nodes against the schemas that onnx defines: is there such an operator, with such inputs and attributes?

A file may hold operators that are not onnx's: those of other domains and calls of the model's own functions are only
held to what the model says of them. Names that runtimes define in the default domain are left to the runtime.

Long because each way in which a node can depart from its schema has its check and its message here.
"""

from __future__ import annotations

import functools
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import onnx
import onnx_ir as ir

from onnxslim.ops.choices import unknown_choice
from onnxslim.ops.determinism import schema

RUNTIME_OPERATORS = frozenset(
    {
        *("Affine", "Crop", "DynamicSlice", "GRUUnit", "GivenTensorFill", "ImageScaler", "MemcpyFromHost"),
        *("MemcpyToHost", "ParametricSoftplus", "Scale", "ScaledTanh", "SimplifiedLayerNormalization"),
        *("LayerNormalization", "MeanVarianceNormalization", "ThresholdedRelu"),
        *("ATen", "ConstantFill"),
    }
)
"""Operators that onnxruntime knows in the default domain where onnx does not (``get_all_operator_schema``): the
experimental ones of onnx 1.4, two that ONNX took over later, and its own. ATen and ConstantFill went with the former.
"""
PLUGIN_SUFFIX = "_TRT"
"""Ends the names of TensorRT's plugins, which its exporters put into the default domain."""
DEFINED_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""Domains of which onnx defines every operator. Its preview domains are still being defined."""

DTYPE_NAMES = {ir.DataType.FLOAT: "float", ir.DataType.DOUBLE: "double"}
"""Where onnx's name of a type is not that of the enumeration."""


class Fault(NamedTuple):
    """What is wrong with a model, and what to do about it."""

    what: str
    where: str
    why: str = ""
    mend: str = "export the model again, or report it to its exporter"


class Use(NamedTuple):
    """A node and what its place says of it."""

    node: ir.Node
    version: int
    """Of its domain."""
    graph: str
    """The graph that it stands in, in words."""
    parameters: Container[str] | None
    """Names of the attributes of the function that it stands in; None where it stands in none."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """An input or output of an operator."""

    label: str
    """Inputs with the same one have the same type; empty where the type is its own."""
    types: frozenset[str]
    single: bool
    """Whether it may not be left out."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What onnx says of the use of an operator."""

    since: int
    deprecated: bool
    least_inputs: int
    most_inputs: int
    least_outputs: int
    most_outputs: int
    attributes: Mapping[str, int]
    """Type of each."""
    required: frozenset[str]
    parameters: tuple[Parameter, ...]
    results: tuple[Parameter, ...]

    def parameter(self, index: int) -> Parameter:
        """That of an input; the last one may stand for many."""
        return self.parameters[min(index, len(self.parameters) - 1)]


@functools.cache
def signature(op_type: str, version: int, domain: str) -> Signature | None:
    """The signature of an operator, or None where onnx has none."""
    found = schema(op_type, version, domain)
    if found is None:
        return None
    return Signature(
        found.since_version,
        found.deprecated,
        found.min_input,
        found.max_input,
        found.min_output,
        found.max_output,
        {name: int(attribute.type) for name, attribute in found.attributes.items()},  # type: ignore[call-overload]
        frozenset(name for name, attribute in found.attributes.items() if attribute.required),
        tuple(map(_parameter, found.inputs)),
        tuple(map(_parameter, found.outputs)),
    )


def _parameter(formal: onnx.defs.OpSchema.FormalParameter) -> Parameter:
    options = onnx.defs.OpSchema.FormalParameterOption
    own = formal.option == options.Variadic and not formal.is_homogeneous
    return Parameter("" if own else formal.type_str, frozenset(formal.types), formal.option == options.Single)


def type_name(dtype: ir.DataType) -> str:
    """How schemas write the type of a tensor.

    >>> type_name(ir.DataType.FLOAT), type_name(ir.DataType.INT64)
    ('tensor(float)', 'tensor(int64)')
    """
    return f"tensor({DTYPE_NAMES.get(dtype, dtype.name.lower())})"


def misuse(node: ir.Node, version: int, model: ir.Model) -> tuple[str, str] | None:
    """What is wrong with the operator, the number of inputs or the attributes of a node, and why; None if nothing is.

    Args:
        node: The node.
        version: Version of its domain that the graph or function imports.
        model: Whose functions it may call.
    """
    function = model.functions.get(node.op_identifier())
    if function is not None:
        return _against_function(node, function)
    found = signature(node.op_type, version, node.domain)
    if found is None:
        return _unknown(node, version)
    if _left_to_runtime(node, found):
        return None
    if found.deprecated:
        return f"the operator {node.op_type} is deprecated", f"opset {found.since} took it out"
    return _against(node, found)


def _left_to_runtime(node: ir.Node, found: Signature) -> bool:
    return node.op_type in RUNTIME_OPERATORS and found.since == 1


def _unknown(node: ir.Node, version: int) -> tuple[str, str] | None:
    if node.domain not in DEFINED_DOMAINS or node.op_type.endswith(PLUGIN_SUFFIX):
        return None
    if node.domain != "ai.onnx.ml" and node.op_type in RUNTIME_OPERATORS:
        return None
    if not node.op_type:
        return "a node names no operator", "op_type is empty"
    domain = node.domain or "ai.onnx"
    since = _first_version(node.op_type, node.domain)
    why = f"onnx {onnx.__version__} has no such operator in its domain {domain!r}"
    if since:
        why = f"it is there since opset {since} of {domain!r}, and the model imports {version}"
    return f"the operator {node.op_type} is unknown", why


@functools.cache
def _first_version(op_type: str, domain: str) -> int:
    """The opset that brought an operator; 0 where none did."""
    name = "" if domain == "ai.onnx" else domain
    every = onnx.defs.get_all_schemas_with_history()
    return min((each.since_version for each in every if (each.name, each.domain) == (op_type, name)), default=0)


def _against(node: ir.Node, found: Signature) -> tuple[str, str] | None:
    inputs, outputs = len(node.inputs), len(node.outputs)
    if not found.least_inputs <= inputs <= found.most_inputs:
        return f"{node.op_type} has {inputs} inputs", f"it takes {_range(found.least_inputs, found.most_inputs)}"
    if not found.least_outputs <= outputs <= found.most_outputs:
        return f"{node.op_type} has {outputs} outputs", f"it gives {_range(found.least_outputs, found.most_outputs)}"
    for index, value in enumerate(node.inputs):
        if value is None and found.parameter(index).single:
            return f"{node.op_type} lacks an input", f"input {index} may not be left out"
    for index, result in enumerate(node.outputs):
        if not result.name and index < len(found.results) and found.results[index].single:
            return f"output {index} of {node.op_type} has no name", "it may not be left out"
    for name, attribute in node.attributes.items():
        kind = found.attributes.get(name)
        if kind is None:
            if not name.startswith("__"):  # onnx lets these pass
                return f"{node.op_type} has no attribute {name!r}", f"version {found.since} of it defines none"
        elif kind != int(attribute.type):
            given, wanted = attribute.type.name, ir.AttributeType(kind).name
            return f"the attribute {name!r} of {node.op_type} is of type {given}", f"it must be of type {wanted}"
    for name in found.required:
        if name not in node.attributes:
            return f"{node.op_type} lacks the attribute {name!r}", "it has no default"
    return _one_value(node) or (unknown_choice(node) if node.domain in ("", "ai.onnx") else None)


def _one_value(node: ir.Node) -> tuple[str, str] | None:
    if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and len(node.attributes) != 1:
        return f"a Constant has {len(node.attributes)} values", "just one of its attributes states it"
    return None


def _range(least: int, most: int) -> str:
    """A number of inputs in words.

    >>> _range(1, 1), _range(1, 3), _range(1, 2147483647)
    ('1', '1 to 3', '1 or more')
    """
    if least == most:
        return str(least)
    return f"{least} to {most}" if most < 2**31 - 1 else f"{least} or more"


def _against_function(node: ir.Node, function: ir.Function) -> tuple[str, str] | None:
    for given, known, word in (
        (len(node.inputs), len(function.inputs), "inputs"),
        (len(node.outputs), len(function.outputs), "outputs"),
    ):
        if given > known:
            return f"a call of the function {node.op_type} has {given} {word}", f"the function has {known}"
    for inner in function:
        found = signature(inner.op_type, function.opset_imports.get(inner.domain, 1), inner.domain)
        for name in found.required if found is not None else ():
            attribute = inner.attributes.get(name)
            source = attribute.ref_attr_name if attribute is not None and attribute.is_ref() else None
            if source is None or source in node.attributes:
                continue
            default = function.attributes.get(source)
            if default is None or default.value is None:
                return (
                    f"a call of the function {node.op_type} lacks the attribute {source!r}",
                    f"{inner.op_type} in it needs it",
                )
    return None


def loose_reference(node: ir.Node, parameters: Container[str] | None) -> tuple[str, str] | None:
    """Which attribute refers to one of a function that there is not, and why; None where none does.

    Args:
        node: The node.
        parameters: Names of the attributes of the function that it stands in; None where it stands in none.
    """
    for name, attribute in node.attributes.items():
        if attribute.is_ref() and (parameters is None or attribute.ref_attr_name not in parameters):
            what = f"the attribute {name!r} of {node.op_type} refers to an attribute {attribute.ref_attr_name!r}"
            why = "it stands in no function" if parameters is None else "the function has none of that name"
            return what, why
    return None


def misfit(node: ir.Node, version: int) -> tuple[str, str] | None:
    """What is wrong between a node of control flow and the graphs that it holds, and why; None if nothing is."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "If":
        for name in ("then_branch", "else_branch"):
            branch = node.attributes[name].as_graph()
            if len(branch.inputs):
                return f"the {name} of an If has {len(branch.inputs)} inputs", "a branch takes none"
            if len(branch.outputs) != len(node.outputs):
                return (
                    f"the {name} of an If gives {len(branch.outputs)} outputs",
                    f"the node has {len(node.outputs)}",
                )
    if node.op_type == "Loop":
        body, states = node.attributes["body"].as_graph(), max(len(node.inputs) - 2, 0)
        if len(body.inputs) != states + 2:
            return f"the body of a Loop has {len(body.inputs)} inputs", f"the node makes {states + 2} of them"
        wanted = max(len(node.outputs), states) + 1
        if len(body.outputs) != wanted:
            return f"the body of a Loop gives {len(body.outputs)} outputs", f"the node needs {wanted}"
    return _misfit_of_scan(node) if node.op_type == "Scan" and version >= 9 else None


def _misfit_of_scan(node: ir.Node) -> tuple[str, str] | None:
    body, scans = node.attributes["body"].as_graph(), node.attributes["num_scan_inputs"]
    count = 1 if scans.is_ref() else scans.as_int()
    given = len(node.inputs)
    if not 1 <= count <= given:
        return f"num_scan_inputs of a Scan is {count}", f"the node has {given} inputs"
    if len(body.inputs) != given:
        return f"the body of a Scan has {len(body.inputs)} inputs", f"the node makes {given} of them"
    if len(body.outputs) != len(node.outputs):
        return f"the body of a Scan gives {len(body.outputs)} outputs", f"the node has {len(node.outputs)}"
    results = len(body.outputs) - (given - count)
    if results < 0:
        return f"the body of a Scan gives {len(body.outputs)} outputs", f"the node has {given - count} states"
    for kind, number in (("input", count), ("output", results)):
        for word, allowed in (("axes", None), ("directions", (0, 1))):
            attribute = node.attributes.get(f"scan_{kind}_{word}")
            values = () if attribute is None or attribute.is_ref() else attribute.as_ints()
            if values and len(values) != number:
                return f"a Scan has {len(values)} scan_{kind}_{word}", f"it scans {number} {kind}s"
            if allowed and any(value not in allowed for value in values):
                return f"scan_{kind}_{word} of a Scan are {list(values)}", "each must be 0 or 1"
    return None


def wrong_types(node: ir.Node, found: Signature, types: list[str | None]) -> tuple[str, str] | None:
    """How the types of a node's inputs contradict its operator, and why; None where they do not, as far as is known.

    Args:
        node: The node.
        found: Its signature.
        types: Types of the inputs as schemas write them; None where one is unknown or left out.
    """
    bound: dict[str, tuple[int, str]] = {}
    for index, name in enumerate(types):
        if name is None or not found.parameters:
            continue
        parameter = found.parameter(index)
        if name not in parameter.types:
            return f"input {index} of {node.op_type} is a {name}", f"version {found.since} of it takes no such type"
        if not parameter.label:
            continue
        first, other = bound.setdefault(parameter.label, (index, name))
        if other != name:
            return (
                f"inputs {first} and {index} of {node.op_type} are a {other} and a {name}",
                "they must have the same type",
            )
    return None


def kind_of(result: int, found: Signature) -> str:
    """What an output is before the brackets of its type, such as tensor or seq; empty where types of both are given.

    >>> found = signature("SequenceConstruct", 17, "")
    >>> kind_of(0, found) if found else None
    'seq'
    """
    if not found.results:
        return ""
    kinds = {name.partition("(")[0] for name in found.results[min(result, len(found.results) - 1)].types}
    return kinds.pop() if len(kinds) == 1 else ""


def faults_of_nodes(uses: Iterable[Use], model: ir.Model) -> Iterator[Fault]:
    """Faults of nodes against what their operators define."""
    for node, version, graph, parameters in uses:
        found = misuse(node, version, model)
        if found is None and node.attributes:
            found = misfit(node, version) or loose_reference(node, parameters)
        if found is not None:
            yield Fault(found[0], f"{place(node)} in {graph}", found[1])


def place(node: ir.Node) -> str:
    """A node by its name and what it gives."""
    outputs = ", ".join(repr(value.name) for value in node.outputs[:2])
    return f"node {node.name!r} ({node.op_type}) of {outputs}"
