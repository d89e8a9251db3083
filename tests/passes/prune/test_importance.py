"""Greedy OBS against brute force: what is told is the least squares error, and each step is the best one."""

from __future__ import annotations

import tracemalloc

import numpy as np
import onnx
import pytest

from onnxslim.analysis.channels import Channels, Group, find_channels
from onnxslim.calibration import Request
from onnxslim.linalg import Lowrank
from onnxslim.passes.prune import importance
from onnxslim.passes.prune.importance import positions_in, rank_channels, share_of_work
from onnxslim.passes.prune.reads import Moments, Read, damped, reads_of
from tests.ops.channels.nets import Node, model, node
from tests.passes.prune.nets import loaded, measured, samples

DENSE = model(["MatMul x w -> a", "Relu a -> b", "MatMul b v -> y"], {"w": (5, 7), "v": (7, 4)}, inputs={"x": ["N", 5]})
TWO_READS = model(
    ["MatMul x w -> a", "Relu a -> b", "MatMul b u -> c", "MatMul b v -> d", node("Concat c d -> y", axis=1)],
    {"w": (5, 7), "u": (7, 2), "v": (7, 4)},
    inputs={"x": ["N", 5]},
)
BLOCKS = model(  # each channel takes four columns of v
    ["Conv x w -> a", "Relu a -> b", "Flatten b -> c", "MatMul c v -> y"],
    {"w": (6, 2, 1, 1), "v": (24, 3)},
    inputs={"x": ["N", 2, 2, 2]},
)
NETS = {"dense": DENSE, "two reads": TWO_READS, "blocks": BLOCKS}


def best_error(
    group: Group, channels: Channels, reads: list[Read], moments: dict[Request, Moments], gone: list[int]
) -> float:
    """The least squares error of all reads without some atoms, as a share of what they compute."""
    total = 0.0
    for read in reads:
        places = positions_in(group, channels, read)
        if places is None:
            continue
        found, weights = moments[read.request], read.matrix().astype(np.float64)
        root = np.linalg.cholesky(damped(found.second, found.rows)).T  # rows that have this Gram matrix
        kept = np.setdiff1d(np.arange(len(root)), places[gone])
        wanted = root @ weights.T
        fitted = np.linalg.lstsq(root[:, kept], wanted, rcond=None)[0]
        total += np.square(root[:, kept] @ fitted - wanted).sum() / np.square(wanted).sum()
    return total


@pytest.mark.parametrize("name", NETS)
def test_what_is_told_is_the_error_of_the_best_replacement(name: str) -> None:
    channels, reads, moments = measured(loaded(NETS[name]), samples(NETS[name], size=16))
    (group,) = channels.groups
    ranking = rank_channels(group, channels, reads, moments)
    assert sorted(ranking.order.tolist()) == list(range(len(group)))
    for gone in range(len(group)):
        expected = best_error(group, channels, reads, dict(moments), ranking.order[:gone].tolist())
        assert ranking.errors[gone] == pytest.approx(expected, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("block", [1, 2, 3, 5, 8])
def test_steps_may_be_taken_of_whole_matrices_at_any_time(
    name: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels, reads, moments = measured(loaded(NETS[name]), samples(NETS[name], size=16))
    (group,) = channels.groups
    expected = rank_channels(group, channels, reads, moments)
    monkeypatch.setattr(importance, "BLOCK", block)
    found = rank_channels(group, channels, reads, moments)
    assert found.order.tolist() == expected.order.tolist()
    np.testing.assert_allclose(found.errors, expected.errors, rtol=1e-9)


WIDE = model(
    ["MatMul x w -> a", "Relu a -> b", "MatMul b v -> y"], {"w": (40, 600), "v": (600, 6)}, inputs={"x": [4, 40]}
)


def test_few_rows_are_ranked_as_their_matrix_would_be() -> None:
    channels, reads, moments = measured(loaded(WIDE), samples(WIDE, 16))
    ((request, few),) = moments.items()
    assert few.table is not None
    assert isinstance(few.damped(), Lowrank)
    whole = {request: Moments(few.second, None, few.mean, few.rows)}
    (group,) = channels.groups
    found, expected = (rank_channels(group, channels, reads, each, count=60) for each in (moments, whole))
    assert not found.short
    assert found.order[:60].tolist() == expected.order[:60].tolist()
    assert sorted(found.order.tolist()) == list(range(600))
    np.testing.assert_allclose(found.errors, expected.errors, rtol=1e-6)  # W^T W is of single precision in one of them
    # What is not asked for is ranked by what each costs then, so that the first ones are those of the whole order.
    order = rank_channels(group, channels, reads, whole).order
    assert order[:60].tolist() == found.order[:60].tolist()


def test_readers_of_one_weight_are_one_read() -> None:
    nodes: list[str | Node] = ["MatMul x w -> a", "Relu a -> b", "MatMul b v -> c", "Neg b -> d", "MatMul d v -> e"]
    proto = model([*nodes, "Sub c e -> y"], {"w": (5, 7), "v": (7, 4)}, inputs={"x": ["N", 5]})
    channels, (read,), moments = measured(loaded(proto), samples(proto, size=16))
    alone, (single,), one = measured(loaded(DENSE), samples(DENSE, size=16))
    assert len(read.nodes) == 2
    np.testing.assert_allclose(moments[read.request].second, one[single.request].second)  # of b and of -b
    assert moments[read.request].rows == 2 * one[single.request].rows
    both, expected = rank_channels(channels.groups[0], channels, [read], moments), alone.groups[0]
    assert both.order.tolist() == rank_channels(expected, alone, [single], one).order.tolist()


def test_a_bound_of_work_ends_the_greedy_order_and_is_told() -> None:
    channels, reads, moments = measured(loaded(WIDE), samples(WIDE, 16))
    (group,) = channels.groups
    whole = rank_channels(group, channels, reads, moments)
    share = share_of_work([group, group], channels, reads)
    assert share == importance.WORK  # both together are far below it
    part = rank_channels(group, channels, reads, moments, work=3e7)
    assert part.short
    same = int(np.argmin(part.order == whole.order))
    assert 3 < same < 600
    assert sorted(part.order.tolist()) == list(range(600))
    assert (np.diff(part.errors) >= 0).all()
    none = rank_channels(group, channels, reads, moments, work=1)
    assert none.short
    assert none.order.tolist() == rank_channels(group, channels, reads, moments, "activation").order.tolist()


@pytest.mark.parametrize("name", NETS)
def test_each_step_takes_what_costs_least_then(name: str) -> None:
    channels, reads, moments = measured(loaded(NETS[name]), samples(NETS[name], size=16))
    (group,) = channels.groups
    order = rank_channels(group, channels, reads, moments).order.tolist()
    for step in range(len(group) - 1):
        errors = {
            atom: best_error(group, channels, reads, dict(moments), [*order[:step], atom]) for atom in order[step:]
        }
        assert order[step] == min(errors, key=lambda atom: errors[atom])


def test_a_channel_that_another_stands_for_goes_first_however_large_it_is() -> None:
    proto = onnx.ModelProto.FromString(DENSE.SerializeToString())
    w = onnx.numpy_helper.to_array(proto.graph.initializer[0]).copy()
    w[:, 2] = 3 * w[:, 5]
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(w, "w"))
    channels, reads, moments = measured(loaded(proto), samples(proto, size=64))
    (group,) = channels.groups
    obs = rank_channels(group, channels, reads, moments).order
    alone = rank_channels(group, channels, reads, moments, "activation").order
    assert obs[0] in (2, 5)
    assert obs[1] not in (2, 5)  # what is left of the two is no longer told by any other
    assert alone[-1] == 2  # by itself it is the loudest of all


def test_activations_and_magnitude_add_up_what_each_channel_makes_alone() -> None:
    channels, reads, moments = measured(loaded(DENSE), samples(DENSE))
    (group,) = channels.groups
    (read,) = reads
    weights, found = read.matrix().astype(np.float64), moments[read.request]
    for criterion, second in (("activation", damped(found.second, found.rows)), ("magnitude", np.eye(7))):
        scores = np.square(weights).sum(axis=0) * np.diagonal(second)
        ranking = rank_channels(group, channels, reads, moments, criterion)  # type: ignore[arg-type]
        assert ranking.order.tolist() == np.argsort(scores, kind="stable").tolist()
        share = np.cumsum(np.sort(scores)) / np.einsum("oi,ij,oj->", weights, second, weights)
        np.testing.assert_allclose(ranking.errors[1:], share, rtol=1e-4)


def test_reads_that_are_too_wide_for_cubes_are_ranked_by_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    channels, reads, moments = measured(loaded(DENSE), samples(DENSE))
    (group,) = channels.groups
    expected = rank_channels(group, channels, reads, moments, "activation")
    monkeypatch.setattr(importance, "LARGEST", 6)
    found = rank_channels(group, channels, reads, moments)
    assert found.order.tolist() == expected.order.tolist()
    assert found.errors.tolist() == expected.errors.tolist()


def test_one_read_that_is_too_wide_makes_all_reads_of_a_group_be_weighed_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = model(
        [
            *("MatMul x w -> a", "Relu a -> b", "MatMul b v -> c"),
            *(node("Concat b b -> d", axis=-1), "MatMul d u -> e", "Add c e -> y"),
        ],
        {"w": (5, 7), "v": (7, 2), "u": (14, 2)},
        inputs={"x": ["N", 5]},
    )
    channels, reads, moments = measured(loaded(proto), samples(proto))
    group = next(each for each in channels.groups if len(each) == 7)
    expected = rank_channels(group, channels, reads, moments, "activation")
    monkeypatch.setattr(importance, "LARGEST", 10)  # between the two
    assert rank_channels(group, channels, reads, moments).errors.tolist() == expected.errors.tolist()


def test_ranking_what_is_too_wide_takes_no_square_of_memory() -> None:
    proto = model(
        ["MatMul x w -> a", "Relu a -> b", "MatMul b v -> y"], {"w": (2, 6000), "v": (6000, 2)}, inputs={"x": ["N", 2]}
    )
    channels = find_channels(loaded(proto))
    reads = reads_of(channels)
    tracemalloc.start()
    try:
        rank_channels(channels.groups[0], channels, reads, {})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6000 * 6000


def test_channels_that_no_constant_reads_are_ranked_by_their_own_weights() -> None:
    proto = model(
        ["MatMul x q -> a", "MatMul x k -> b", node("Transpose b -> c", perm=[0, 2, 1]), "MatMul a c -> y"],
        {"q": (5, 6), "k": (5, 6)},
        inputs={"x": ["N", 3, 5]},
    )
    for tensor in proto.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        scaled = array / np.linalg.norm(array, axis=0) * np.array([3, 1, 6, 2, 5, 4], np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(scaled, tensor.name))
    channels, reads, moments = measured(loaded(proto), samples(proto))
    (group,) = channels.groups
    ranking = rank_channels(group, channels, reads, moments)
    assert ranking.order.tolist() == [1, 3, 0, 5, 4, 2]
    assert ranking.errors[-1] == pytest.approx(1)


def test_a_shrunk_matrix_keeps_its_diagonal_and_can_be_inverted() -> None:
    x = np.random.default_rng(0).normal(size=(3, 8))
    second = x.T @ x / 3
    found = damped(second, 3)
    assert np.linalg.eigvalsh(found).min() > 1e-2
    beside = ~np.eye(8, dtype=bool)
    np.testing.assert_allclose(found[beside], second[beside] * 3 / 11)
    np.testing.assert_allclose(np.diagonal(found), np.diagonal(second) + 1e-3 * np.diagonal(second).mean())
    assert np.linalg.matrix_rank(damped(np.zeros((4, 4)), 10)) == 4
