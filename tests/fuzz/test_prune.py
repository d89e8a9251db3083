"""Removing channels is never wrong: random networks against four oracles, and planted bugs, which they find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from onnxslim.ops.channels import UPDATES, Op, movers, operator
from onnxslim.passes.prune import apply
from tests.fuzz.nets import generate
from tests.fuzz.prune_check import check
from tools.fuzz_prune import campaign, main, report, run

GRAPHS = 100


def test_removing_channels_is_never_wrong_on_random_networks() -> None:
    outcome = run(range(GRAPHS))
    assert not outcome.found, report(outcome)
    assert outcome.skipped <= GRAPHS // 10
    assert outcome.told >= GRAPHS // 2  # a net whose outputs do not depend on what was removed shows nothing
    assert len(outcome.blocks) >= 50


@pytest.mark.slow
def test_every_block_is_pruned_often_in_ten_thousand_networks() -> None:
    outcome = campaign(0, 10_000, jobs=2)
    assert not outcome.found, report(outcome)
    assert min(outcome.blocks.values()) >= 10, report(outcome)


def test_a_seed_gives_the_same_network_everywhere() -> None:
    for seed in range(20):
        one, other = generate(seed), generate(seed)
        assert one.model.SerializeToString() == other.model.SerializeToString()
        assert one.built == other.built


def forgets(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.delitem(UPDATES, name)


def turns_depth_to_space(patch: pytest.MonkeyPatch) -> None:
    def wrong(op: Op) -> None:
        mode = op.text
        op.text = lambda name, default: {"DCR": "CRD", "CRD": "DCR"}[mode(name, default)]  # type: ignore[method-assign]
        right(op)

    right = operator.LINKS["DepthToSpace"]
    patch.setitem(operator.LINKS, "DepthToSpace", wrong)


def rolls_what_is_picked(patch: pytest.MonkeyPatch) -> None:
    right = movers.picked
    patch.setattr(movers, "picked", lambda op, axis, out, places: right(op, axis, out, np.roll(places, 1)))


def takes_softmax_for_elementwise(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(operator.LINKS, "Softmax", operator.LINKS["Relu"])


def freezes_no_shape(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(apply, "freeze", lambda *_: None)


def pins_nothing_unclaimed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Op, "close", lambda self: None)


PLANTED: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], tuple[str, ...]]] = {
    "groups are not told": (forgets("Conv"), ("conv", "grouped", "depthwise")),
    "reshapes are not told": (forgets("Reshape"), ("conv", "shuffle")),
    "splits are not told": (forgets("Split"), ("conv", "chunks")),
    "slices are not told": (forgets("Slice"), ("conv", "cut")),
    "gathers are not told": (forgets("Gather"), ("conv", "picked")),
    "pads are not told": (forgets("Pad"), ("conv", "padded")),
    "targets of Expand are not told": (forgets("Expand"), ("conv", "expanded")),
    "states are not told": (forgets("ConstantOfShape"), ("linear", "recurrent", "filled")),
    "hidden sizes are not told": (forgets("LSTM"), ("linear", "recurrent")),
    "DCR for CRD": (turns_depth_to_space, ("conv", "depth_to_space")),
    "entries of a Gather in another order": (rolls_what_is_picked, ("conv", "picked")),
    "Softmax over what is pruned": (takes_softmax_for_elementwise, ("conv", "channel_softmax", "scaled")),
    "shapes tell the new sizes": (freezes_no_shape, ("linear", "scaled_by_width")),
    "what is not claimed may go": (pins_nothing_unclaimed, ("conv", "resized", "branches")),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, blocks = PLANTED[name]
    plant(monkeypatch)
    found: Any = None
    for seed in range(200):
        case = generate(seed, only=blocks)
        found = check(case.model, case.feeds, seed)
        if found.wrong:
            return
    pytest.fail(f"two hundred networks did not show it: {found}")


def test_a_counterexample_says_its_seed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delitem(UPDATES, "Reshape")
    outcome = run(range(60), only=("conv", "shuffle"))
    assert outcome.found
    first = outcome.found[0]
    assert f"seed {first.seed}: {first.kind}: " in report(outcome)
    again = generate(first.seed, only=("conv", "shuffle"))
    assert check(again.model, again.feeds, first.seed).kind == first.kind
    monkeypatch.undo()
    monkeypatch.setattr("sys.argv", ["fuzz_prune", "--graphs", "3", "--jobs", "1"])
    assert main() == 0
    assert "0 counterexamples" in capsys.readouterr().out
