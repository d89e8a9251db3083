"""Small models around one operator, and what is asserted of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from onnxslim.analysis.channels import Channels, find_channels
from onnxslim.execution.feeds import Feed
from onnxslim.graph import load
from tests.fuzz.prune_check import check

Node: TypeAlias = onnx.NodeProto
Weight: TypeAlias = tuple[int, ...] | list[int] | np.ndarray[Any, np.dtype[Any]] | np.float32
"""The shape of random floats, integers, or an array."""

IMAGE: Mapping[str, Sequence[str | int]] = {"x": ["N", 3, 4, 4]}
STEM = "Conv x w -> a"


def node(text: str, **attributes: Any) -> Node:
    """``"Conv x w -> y"``; a dash stands for what is left out."""
    left, right = text.split(" -> ")
    op, *inputs = left.split()
    names = ["" if name == "-" else name for name in inputs]
    return helper.make_node(op, names, ["" if name == "-" else name for name in right.split()], **attributes)


def model(
    nodes: Sequence[str | Node],
    weights: Mapping[str, Weight],
    *,
    inputs: Mapping[str, Sequence[str | int]] = IMAGE,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    integers: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model with float inputs, the named ones of integers."""
    generator = np.random.default_rng(0)
    made = []
    for name, weight in weights.items():
        array = generator.normal(0, 0.7, weight).astype(np.float32) if isinstance(weight, tuple) else np.array(weight)
        made.append(numpy_helper.from_array(array, name))
    kinds = {name: TensorProto.INT64 if name in integers else TensorProto.FLOAT for name in (*inputs, *outputs)}
    graph = helper.make_graph(
        [each if isinstance(each, Node) else node(each) for each in nodes],
        "g",
        [helper.make_tensor_value_info(name, kinds[name], dims) for name, dims in inputs.items()],
        [helper.make_tensor_value_info(name, kinds[name], None) for name in outputs],
        made,
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    result = helper.make_model(graph, opset_imports=imports, ir_version=8)
    # Outputs without a shape would keep onnx's checker from looking at anything.
    inferred = onnx.shape_inference.infer_shapes(result).graph.output
    for output, found in zip(result.graph.output, inferred, strict=True):
        output.CopyFrom(found)
    return result


def feeds(proto: onnx.ModelProto) -> list[Feed]:
    """One feed for each of two sizes of what is dynamic."""
    constant = {tensor.name for tensor in proto.graph.initializer}
    result = []
    for size in (1, 2):
        generator, feed = np.random.default_rng(size), {}
        for value in proto.graph.input:
            kind = value.type.tensor_type
            shape = [dim.dim_value or size for dim in kind.shape.dim]
            if value.name not in constant and kind.elem_type == TensorProto.INT64:
                feed[value.name] = generator.integers(0, 3, shape)
            elif value.name not in constant:
                feed[value.name] = generator.normal(0, 1, shape).astype(np.float32)
        result.append(feed)
    return result


def channels_of(proto: onnx.ModelProto) -> Channels:
    return find_channels(load(proto.SerializeToString()))


def groups(proto: onnx.ModelProto) -> dict[str, int]:
    """Key of each group and its channels."""
    return {group.key: len(group) for group in channels_of(proto).groups}


def reasons(proto: onnx.ModelProto, weight: str, axis: int) -> set[tuple[str, str]]:
    """Why entries of an axis of a value must stay; empty where none must."""
    channels = channels_of(proto)
    value = named(channels, weight)
    ids = channels.links.axis(value, axis)
    assert ids is not None
    return {channels.reasons[label] for label in channels.labels[ids[channels.pinned[ids]]].tolist()}


def named(channels: Channels, name: str) -> ir.Value:
    return next(value for value, _ in channels.links.axes if value.name == name)


def assert_removable(proto: onnx.ModelProto, expected: Mapping[str, int], seeds: int = 4) -> None:
    """The groups are these, and whatever is removed of them, all oracles agree (see `tests.fuzz.prune_check`)."""
    assert groups(proto) == expected
    found = [check(proto, feeds(proto), seed) for seed in range(seeds)]
    assert not [finding for finding in found if finding.kind]
    assert any(finding.removed and finding.told for finding in found)
