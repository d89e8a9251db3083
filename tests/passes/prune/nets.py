"""Small models with their samples, and how far two models are apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.analysis.channels import Channels, find_channels
from onnxslim.calibration import Request, collect
from onnxslim.execution import Feed, open_session
from onnxslim.graph import load
from onnxslim.passes.prune.reads import Moments, Read, moments_of, reads_of
from onnxslim.samples import Sample


def loaded(proto: onnx.ModelProto) -> ir.Model:
    return load(proto.SerializeToString())


def samples(proto: onnx.ModelProto, count: int = 16, size: int = 4) -> list[Sample]:
    """Normal floats; dims that are open are of this size."""
    generator = np.random.default_rng(5)
    constant = {tensor.name for tensor in proto.graph.initializer}
    shapes = {
        value.name: [dim.dim_value or size for dim in value.type.tensor_type.shape.dim]
        for value in proto.graph.input
        if value.name not in constant
    }
    dtypes = {
        value.name: onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for value in proto.graph.input
    }
    return [
        Sample(f"{i:03d}", {name: generator.normal(size=dims).astype(dtypes[name]) for name, dims in shapes.items()})
        for i in range(count)
    ]


def feeds(given: list[Sample]) -> list[Feed]:
    return [sample.feed for sample in given]


def measured(model: ir.Model, given: list[Sample]) -> tuple[Channels, list[Read], Mapping[Request, Moments]]:
    """Channels of a model, what reads them, and the moments of what is read."""
    channels = find_channels(model)
    reads = reads_of(channels)
    requests = list(dict.fromkeys(read.request for read in reads))
    return channels, reads, moments_of(reads, collect(model, given, requests))


def decibels(a: ir.Model, b: ir.Model, given: list[Sample]) -> float:
    """Signal to noise of all outputs of ``b``, ``a`` being right."""
    one, other = open_session(a), open_session(b)
    signal = noise = 0.0
    for feed in feeds(given):
        for x, y in zip(one.run(feed).values(), other.run(feed).values(), strict=True):
            signal += float(np.square(x, dtype=np.float64).sum())
            noise += float(np.square(x.astype(np.float64) - y).sum())
    return float(10 * np.log10(signal / max(noise, 1e-300)))
