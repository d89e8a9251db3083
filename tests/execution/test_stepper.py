"""A model run in pieces computes what a whole run computes, each node once, and holds only what is still needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import models_zoo
from onnxslim.errors import CannotRun
from onnxslim.execution import Forward, open_session, stepper
from onnxslim.execution.executor import tapped
from onnxslim.graph import load
from onnxslim.graph.edit import constant_tensor, set_constant
from onnxslim.samples import Sample
from tests.ops.channels.nets import Node, Weight, model, node
from tests.passes.prune.nets import feeds, loaded, samples


def branching() -> onnx.ModelProto:
    """An If whose branches read an activation and a weight of the main graph, and have their own values."""
    then = helper.make_graph(
        [node("Mul a scale -> inner"), node("Add inner own -> then_out")],
        "then",
        [],
        [helper.make_tensor_value_info("then_out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(0.5, np.float32), "own")],
    )
    other = helper.make_graph(
        [node("Neg a -> else_out")], "else", [], [helper.make_tensor_value_info("else_out", TensorProto.FLOAT, None)]
    )
    nodes: list[str | Node] = [
        "Conv x w -> a",
        node("ReduceSum a -> total", keepdims=0),
        "Greater total zero -> positive",
        helper.make_node("If", ["positive"], ["b"], then_branch=then, else_branch=other),
        "Conv b v -> c",
        "Add c a -> y",
    ]
    weights: dict[str, Weight] = {"w": (3, 3, 1, 1), "v": (3, 3, 1, 1), "scale": (3, 1, 1), "zero": np.float32(0)}
    return model(nodes, weights)


def in_constants() -> onnx.ModelProto:
    """Weights in Constant nodes, of which some are no tensors; a Split; an output that is read further."""
    proto = model(
        ["Conv x w -> a", node("Split a -> b c", axis=1), "Add b c -> d", "Mul d two -> e", "Relu e -> y"],
        {"w": (4, 3, 1, 1)},
        outputs=("y", "d"),
        opset=13,
    )
    (weight,) = proto.graph.initializer
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=weight))
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["two"], value_float=2.0))
    del proto.graph.initializer[:]
    return proto


def cases() -> dict[str, tuple[ir.Model, list[Sample]]]:
    digits = models_zoo.get("digits_cnn")
    return {
        "digits": (load(digits.path()), list(digits.samples("calibration").first(3))),
        "branches": (loaded(branching()), samples(branching(), 4)),
        "constants": (loaded(in_constants()), samples(in_constants(), 3)),
    }


def everything(whole: ir.Model, given: list[Sample]) -> list[dict[str, np.ndarray]]:
    """All values of the main graph, of one run each."""
    shown = {value.name for value in whole.graph.outputs}
    values = [value for each in whole.graph for value in each.outputs if value.name and value.name not in shown]
    with tapped(whole, [value for value in values if value.producer() is not None]):
        session = open_session(whole, optimize=False)
    return [dict(session.run(feed)) | feed for feed in feeds(given)]


@pytest.mark.parametrize("name", ["digits", "branches", "constants"])
def test_every_place_is_as_in_a_whole_run_and_holds_what_is_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, given = cases()[name]
    wanted = everything(whole, given)
    ran: list[str] = []

    def spy(proto: onnx.ModelProto, threads: int) -> object:
        ran.extend(each.output[0] for each in proto.graph.node)
        return open_session(proto, threads=threads, optimize=False)

    monkeypatch.setattr(stepper, "open_session", spy)
    run = Forward(whole, feeds(given), 1)
    nodes = [each for each in whole.graph if constant_tensor(each.outputs[0]) is None]
    for place, each in enumerate(nodes):
        assert run.before(each.outputs[-1].name or "") == place
        run.advance(place + 1)
        for held, right in zip(run.held, wanted, strict=True):
            assert each.outputs[0].name in held
            for key, array in held.items():
                np.testing.assert_allclose(array, right[key], rtol=1e-5, atol=1e-6)
        needed = {value.name for later in nodes[place + 1 :] for value in later.inputs if value is not None}
        bodies = {"a"} if name == "branches" else set()  # is read in a branch too
        allowed = needed | bodies | {value.name for value in whole.graph.outputs}
        assert set(run.held[0]) <= allowed
    assert sorted(ran) == sorted(each.outputs[0].name or "" for each in nodes)
    assert set(run.held[0]) == {value.name for value in whole.graph.outputs}


def test_nothing_runs_twice_and_what_nobody_reads_is_not_held() -> None:
    whole, given = cases()["digits"]
    run = Forward(whole, feeds(given), 1)
    run.advance(5)
    before = [dict(values) for values in run.held]
    run.advance(3)
    assert [list(values) for values in run.held] == [list(values) for values in before]
    run.advance(sum(constant_tensor(each.outputs[0]) is None for each in whole.graph))
    assert [list(values) for values in run.held] == [["logits"]] * 3


def test_a_weight_that_changes_counts_from_then_on() -> None:
    proto = model(["Conv x w -> a", "Relu a -> b", "Conv b v -> y"], {"w": (4, 3, 1, 1), "v": (2, 4, 1, 1)})
    whole, given = loaded(proto), samples(proto, 2)
    run = Forward(whole, feeds(given), 1)
    run.advance(run.before("y"))
    value = whole.graph.initializers["v"]
    assert value.const_value is not None
    set_constant(value, 2 * value.const_value.numpy())
    run.refresh(value, value.const_value)
    run.advance(run.before("y") + 1)
    session = open_session(whole)
    for held, feed in zip(run.held, feeds(given), strict=True):
        np.testing.assert_allclose(held["y"], session.run(feed)["y"], rtol=1e-5, atol=1e-6)


def test_weights_in_files_are_read_where_they_lie(tmp_path: Path) -> None:
    proto = model(["Conv x w -> a", "Conv a v -> y"], {"w": (64, 3, 3, 3), "v": (2, 64, 1, 1)})
    given = samples(proto, 2)
    expected = open_session(loaded(proto)).run(given[0].feed)["y"]
    path = tmp_path / "model.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    run = Forward(load(path), feeds(given), 1)
    run.advance(1)
    run.advance(2)
    np.testing.assert_allclose(run.held[0]["y"], expected, rtol=1e-5, atol=1e-5)


def test_a_default_of_an_input_counts_where_the_input_is_not_given() -> None:
    proto = model(["Conv x w -> a", "Mul a s -> y"], {"w": (4, 3, 1, 1), "s": (4, 1, 1)})
    proto.graph.input.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, [4, 1, 1]))
    (sample,) = samples(proto, 1)
    own = sample.feed | {"s": np.full((4, 1, 1), 3, np.float32)}
    for feed in (sample.feed, own):
        run = Forward(loaded(proto), [feed], 1)
        run.advance(1)
        run.advance(2)
        np.testing.assert_allclose(run.held[0]["y"], open_session(loaded(proto)).run(feed)["y"], rtol=1e-5, atol=1e-5)


def test_samples_for_which_there_is_no_memory_are_left_out() -> None:
    proto = model(["Conv x w -> a", "Relu a -> b", "Conv b v -> y"], {"w": (40, 3, 1, 1), "v": (2, 40, 1, 1)})
    given = samples(proto, 10)
    each = 4 * 40 * 16 * 4
    run = Forward(loaded(proto), feeds(given), 1, memory=4 * each)
    run.advance(2)
    assert len(run.held) == 4
    assert sum(array.nbytes for values in run.held for array in values.values()) <= 4 * each
    run.advance(3)
    assert len(run.held) == 4
    none = Forward(loaded(proto), feeds(given), 1, memory=1)
    none.advance(2)
    assert len(none.held) == 1


def test_what_is_no_tensor_cannot_be_held() -> None:
    proto = model(["Conv x w -> a", "SequenceConstruct a a -> s", "SequenceAt s i -> y"], {"w": (4, 3, 1, 1), "i": []})
    proto.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.array(0), "i"))
    run = Forward(loaded(proto), feeds(samples(proto, 2)), 1)
    with pytest.raises(CannotRun, match="no tensor"):
        run.advance(2)
