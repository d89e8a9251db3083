from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from onnxslim.calibration import (
    Request,
    Statistics,
    collect,
    collect_in_groups,
    fingerprints,
    percentile,
)
from onnxslim.calibration.stream import WORKSPACE
from onnxslim.errors import CheckFailed, InputError
from onnxslim.execution import open_session
from onnxslim.ops.unfold import Unfold
from onnxslim.samples import Sample, sample_set_hash
from tests.calibration.nets import conv_model, images, unfold_of, value


def everything(model: ir.Model) -> list[Request]:
    unfolds = {node.op_type: unfold_of(node) for node in model.graph}
    conv, matmul = unfolds["Conv"], unfolds["MatMul"]
    assert isinstance(conv, Unfold)
    assert isinstance(matmul, Unfold)
    return [
        *(Request(name, kind) for name in ("x", "c", "r", "p", "y") for kind in ("range", "histogram", "mean")),
        *(Request(name, kind, axis=1) for name in ("x", "r") for kind in ("range", "mean")),
        Request("x", "gram", unfold=conv),
        Request("f", "gram", unfold=matmul),
    ]


def reference(model: ir.Model, names: list[str], samples: list[Sample]) -> dict[str, np.ndarray]:
    """All activations, by a plain onnx model with more outputs."""
    proto = ir.to_proto(model)
    known = {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    session = open_session(proto, optimize=False)
    runs = [session.run(sample.feed) for sample in samples]
    return {name: np.stack([run[name] for run in runs]) for name in names}


def same(one: Statistics, other: Statistics) -> bool:
    """Bit for bit."""
    if one.entries.keys() != other.entries.keys() or (one.samples, one.covered) != (other.samples, other.covered):
        return False
    return all(
        {name: (a.tobytes(), a.shape) for name, a in one.entries[key].to_arrays().items()}
        == {name: (a.tobytes(), a.shape) for name, a in other.entries[key].to_arrays().items()}
        for key in one.entries
    )


def test_statistics_are_those_of_the_activations() -> None:
    model, samples = conv_model(), images(37)
    before = ir.to_proto(model).SerializeToString()
    found = collect(model, samples, everything(model))
    assert ir.to_proto(model).SerializeToString() == before
    assert found.complete
    assert found.declined == {}
    assert found.samples == sample_set_hash(samples)
    data = reference(model, ["c", "r", "p", "f", "y"], samples) | {"x": np.stack([s.feed["x"] for s in samples])}
    marks = fingerprints(model)
    for name in ("x", "c", "r", "p", "y"):
        mark = marks[value(model, name)]
        spread, histogram, mean = found.range(mark), found.histogram(mark), found.mean(name)
        assert spread is not None
        assert histogram is not None
        assert mean is not None
        assert (spread.low, spread.high) == (data[name].min(), data[name].max())
        assert np.array_equal(histogram.counts, np.histogram(data[name].astype(np.float64), histogram.edges)[0])
        assert percentile(histogram, 99)[1] == pytest.approx(
            np.percentile(data[name], 99.5, method="inverted_cdf"), abs=histogram.width
        )
        assert mean.value == pytest.approx(data[name].mean(dtype=np.float64), rel=1e-9)
    channels = found.mean("r", axis=1)
    assert channels is not None
    assert channels.value == pytest.approx(data["r"].mean(axis=(0, 1, 3, 4), dtype=np.float64), rel=1e-9)
    unfold = unfold_of(model.graph[4])
    assert isinstance(unfold, Unfold)
    gram = found.gram("f", unfold)
    assert gram is not None
    rows = data["f"].reshape(-1, 4).astype(np.float64)
    assert np.allclose(gram.matrix[0], rows.T @ rows, rtol=1e-12)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_shards_merge_to_the_same_bits_in_any_order(count: int, tmp_path: Path) -> None:
    model, samples = conv_model(), images(16 * 5 + 3)
    requests = everything(model)
    whole = collect(model, samples, requests)
    shards = [collect(model, samples, requests, shard=(index, count)) for index in range(count)]
    for number, shard in enumerate(shards):  # through files, as between machines
        shard.save(tmp_path / f"{number}.npz")
    shards = [Statistics.load(tmp_path / f"{number}.npz") for number in range(count)]
    merged = shards.pop()
    for shard in shards[1::2] + shards[::2]:
        merged = merged.merge(shard)
    assert merged.complete
    assert same(merged, whole)


class Source:
    """Counts its readings, and gives no access by index."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples, self.readings = samples, 0

    def __iter__(self) -> Iterator[Sample]:
        self.readings += 1
        return iter(self.samples)


def test_a_small_budget_means_more_readings_and_the_same_bits() -> None:
    model, samples = conv_model(), images(20)
    requests = everything(model)
    rich, poor = Source(samples), Source(samples)
    whole = collect(model, rich, requests)
    steps: list[str] = []
    pieces = collect(model, poor, requests, memory=WORKSPACE + 110_000, progress=steps.append)
    assert rich.readings == 2
    assert poor.readings > 4
    assert len(steps) == poor.readings
    assert same(whole, pieces)
    assert pieces.declined == {}


def test_what_does_not_fit_at_all_is_declined() -> None:
    model, samples = conv_model(), images(20)
    big = Request("x", "gram", unfold=unfold_of(model.graph[0]))  # type: ignore[arg-type]
    found = collect(model, samples, [big, Request("y", "range")], memory=WORKSPACE + 5000)
    assert "bytes, 5,000 of the memory budget are free for it" in found.declined[big]
    assert found.range("y") is not None
    with pytest.raises(InputError, match="a memory budget of 100 bytes is too small"):
        collect(model, samples, [big], memory=100)


ODD = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,4] x, bool b, int64[N] i) => (float[N,4] y, float[M] z) <float[4] k = {1.0, 2.0, 3.0, 4.0}> {
  a = Abs(x)
  q = Constant<value = float[1] {2.0}>()
  s = SequenceConstruct(a, x)
  j = Add(i, i)
  t = If(b) <then_branch = one () => (float[N,4] u) { inner = Add(a, k) u = Mul(inner, q) },
             else_branch = two () => (float[N,4] v) { v = Neg(x) }>
  y = ConcatFromSequence<axis=0>(s)
  d = Cast<to=11>(t)
  h = Cast<to=10>(t)
  n = Log(x)
  m = Reshape(x, minus)
  z = Neg(m)
  minus = Constant<value = int64[1] {-1}>()
}"""


def odd_model() -> ir.Model:
    lines = ODD.splitlines()
    place = next(i for i, line in enumerate(lines) if "minus = " in line)
    lines.insert(2, lines.pop(place))
    return ir.from_proto(onnx.parser.parse_model("\n".join(lines)))


def odd_samples(count: int = 5) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [
        Sample(
            str(n),
            {
                "x": rng.standard_normal((n + 1, 4), np.float32),
                "b": np.array(n % 2 == 0),
                "i": np.zeros(n + 1, np.int64),
            },
        )
        for n in range(count)
    ]


def test_what_cannot_be_measured_says_why() -> None:
    reasons = {
        Request("inner", "range"): "inside a subgraph",
        Request("k", "range"): "constant",
        Request("q", "range"): "constant",
        Request("s", "range"): "seq|no tensor",
        Request("j", "histogram"): r"tensor\(int64\)",
        Request("b", "histogram"): r"tensor\(bool\)",
        Request("z", "mean", axis=0): "sample '1': axis 0 has size 4 in one sample and 8 in another",
        Request("t", "range", axis=2): r"there is no axis 2 in a tensor of shape \[1, 4\]",
        Request("x", "gram", unfold=Unfold(3)): "has not 3 features",
        Request("n", "gram", unfold=Unfold(4)): "NaN or Inf",
    }
    served = [Request("t", "range"), Request("d", "histogram"), Request("h", "mean"), Request("n", "range")]
    found = collect(odd_model(), odd_samples(), [*reasons, *served])
    assert found.declined.keys() == reasons.keys()
    for request, reason in reasons.items():
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(found.declined[request])
    assert len(found.entries) == len(served)
    logs = found.range("n")
    assert logs is not None
    assert logs.nonfinite > 0
    assert logs.high is not None
    assert np.isfinite(logs.high)


def test_samples_of_growing_size_are_measured_at_their_largest() -> None:
    samples = [*images(6), Sample("big", images(1, size=64)[0].feed)]
    proto = ir.to_proto(conv_model())
    for axis in (2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"s{axis}"
    model = ir.from_proto(proto)
    request = Request("c", "range")  # 4 * 32 * 32 floats in the big sample, copied once: 32 KiB
    assert request in collect(model, samples, [request], memory=WORKSPACE + 30_000).declined
    assert collect(model, samples, [request], memory=WORKSPACE + 34_000).declined == {}


def test_bad_usage() -> None:
    model = conv_model()
    with pytest.raises(InputError, match=r"no value 'cc'.*did you mean 'c'"):
        collect(model, images(2), [Request("cc", "range")])
    with pytest.raises(InputError, match="no samples to calibrate"):
        collect(model, [], [Request("c", "range")])
    with pytest.raises(InputError, match="shard 2 of 2 does not exist"):
        collect(model, images(2), [Request("c", "range")], shard=(2, 2))
    with pytest.raises(InputError, match=r"sample 's001' has no array for input 'x'|'s001' has an array 'z'"):
        collect(model, [images(1)[0], Sample("s001", {"z": np.ones(1)})], [Request("c", "range")])
    with pytest.raises(ValueError, match="a request for gram"):
        Request("c", "gram")


def test_a_failing_run_names_the_sample() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x, float[M] z) => (float[K] y) { y = Add(x, z) }'
    model = ir.from_proto(onnx.parser.parse_model(text))
    sizes = [(2, 2), (2, 3)]
    samples = [Sample(f"{a} and {b}", {"x": np.ones(a, np.float32), "z": np.ones(b, np.float32)}) for a, b in sizes]
    with pytest.raises(CheckFailed, match="sample '2 and 3'"):
        collect(model, samples, [Request("y", "range")])


class Fickle:
    def __init__(self) -> None:
        self.seed = 0

    def __iter__(self) -> Iterator[Sample]:
        self.seed += 1
        return iter(images(3, seed=self.seed))


class Shrinking:
    def __init__(self, counts: list[int]) -> None:
        self.counts = counts

    def __iter__(self) -> Iterator[Sample]:
        return iter(images(self.counts.pop(0)))


@pytest.mark.parametrize("source", [Fickle(), Shrinking([3, 2]), Shrinking([3, 4])])
def test_a_source_that_changes_is_found_out(source: Any) -> None:
    with pytest.raises(InputError, match="is not what it was at the first reading"):
        collect(conv_model(), source, [Request("c", "range")])


@pytest.mark.slow
def test_long_chains(tmp_path: Path) -> None:
    last = ir.val("x", ir.DataType.FLOAT, (1, 4))
    inputs, nodes = [last], []
    for number in range(20_000):
        nodes.append(ir.node("Relu", [last], outputs=[ir.val(f"v{number}")]))
        last = nodes[-1].outputs[0]
    last.type, last.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape((1, 4))
    model = ir.Model(ir.Graph(inputs, [last], nodes=nodes, opset_imports={"": 17}, name="chain"), ir_version=8)
    samples = [Sample("a", {"x": np.ones((1, 4), np.float32)})]
    found = collect(model, samples, [Request(f"v{number}", "range") for number in range(0, 20_000, 100)])
    assert len(found.entries) == 200


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the resident set from /proc")
def test_memory_stays_within_the_budget() -> None:
    width, count, budget = 1024, 8, 96 << 20
    rng = np.random.default_rng(0)
    weight = ir.Value(name="w", const_value=ir.tensor(rng.standard_normal((width, width), np.float32) / 32))
    last = ir.val("x", ir.DataType.FLOAT, ("N", width))
    inputs, nodes = [last], []
    for number in range(count):
        nodes.append(ir.node("MatMul", [last, weight], outputs=[ir.val(f"v{number}")]))
        last = nodes[-1].outputs[0]
    last.type, last.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(("N", width))
    graph = ir.Graph(inputs, [last], nodes=nodes, initializers=[weight], opset_imports={"": 17}, name="wide")
    model = ir.Model(graph, ir_version=8)
    samples = Source([Sample(str(i), {"x": rng.standard_normal((128, width), np.float32)}) for i in range(20)])
    requests = [Request(f"v{number}", "gram", unfold=Unfold(width)) for number in range(count)]
    list(collect_in_groups(model, samples, requests[:1]))  # what onnxruntime and BLAS keep for themselves
    start, peak, done = resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, resident())
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    served = sum(len(group.entries) for group in collect_in_groups(model, samples, requests, memory=budget))
    done.set()
    watcher.join()
    assert served == count  # all matrices together, each with its tree, would be 8 * 5 * 8 MiB
    assert samples.readings > 4
    assert peak - start < budget + (64 << 20)
