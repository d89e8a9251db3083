"""What removing channels promises of any model, checked on one.

Four oracles, of which the last two know nothing of where channels are read:

- the silenced original (`passes.prune.apply.silence_channels`) computes the same as the pruned model;
- the outputs keep their shapes;
- a permutation of a group's channels at all of its weights changes no output;
- where the weights of channels are zero at all of their sites, nothing changes when they are removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from onnxslim.analysis.channels import Channels, Group, Site, find_channels
from onnxslim.errors import CannotRun, OnnxSlimError
from onnxslim.execution.feeds import Feed, Outputs
from onnxslim.execution.session import open_session
from onnxslim.graph import load, problems, to_bytes
from onnxslim.graph.edit import Names, add_initializer, constant_tensor, set_constant
from onnxslim.passes.prune.apply import Removal, remove_channels, silence_channels

TOLERANCE = 2e-4
"""Of the root mean square of an output."""
FLOATS = {"session.disable_quant_qdq": "1"}
"""Products with quantized weights are not fused to ones that round activations too."""


@dataclass(frozen=True)
class Finding:
    """What was wrong, if anything.

    Attributes:
        kind: Empty where all is well; "skipped" where onnxruntime does not run the original.
        detail: What was seen.
        removed: Channels that were removed.
        permuted: Groups that were permuted.
        told: Whether the outputs depend on what was removed: an oracle of this graph can fail.
    """

    kind: str = ""
    detail: str = ""
    removed: int = 0
    permuted: int = 0
    told: bool = False

    @property
    def wrong(self) -> bool:
        return self.kind not in ("", "skipped")


def check(model: onnx.ModelProto, feeds: Sequence[Feed], seed: int) -> Finding:
    """Removes random channels from ``model`` and looks for anything that got wrong."""
    data = model.SerializeToString()
    try:
        before = _run(data, feeds)
    except CannotRun as error:
        return Finding("skipped", error.why or error.what)
    if not all(np.isfinite(array).all() for outputs in before for array in outputs.values()):
        return Finding("skipped", "its outputs are not finite")
    try:
        return _check(data, before, feeds, np.random.default_rng([seed, 1]))
    except Exception as error:  # whatever it is, it is what is looked for
        return Finding("crash", f"{type(error).__name__}: {error}")


def _check(data: bytes, before: list[Outputs], feeds: Sequence[Feed], rng: np.random.Generator) -> Finding:
    channels = find_channels(load(data))
    removal = random_removal(channels, rng)
    removed = sum(map(len, removal.values()))
    if not channels.groups:
        return Finding()

    def finding(kind: str, detail: str) -> Finding:
        return Finding(kind, f"{detail}; removed: {dict(removal)}", removed)

    pruned, silent, zeroed = load(data), load(data), load(data)
    remove_channels(pruned, find_channels(pruned), removal)
    found = problems(pruned)
    if found:
        return finding("invalid", "; ".join(found))
    after = to_bytes(pruned)
    refused = _refused(data, after)
    if refused:
        return finding("invalid", refused)
    try:
        results = _run(after, feeds)
    except OnnxSlimError as error:
        return finding("does not run", str(error))
    silence_channels(silent, find_channels(silent), removal)
    expected = _run(to_bytes(silent), feeds)
    wrong = difference(expected, results)
    if wrong:
        return finding("different", wrong)
    wrong = _optimized(after, expected, feeds)
    if wrong and not _optimized(data, before, feeds):
        return finding("optimized differently", wrong)
    if any(a[name].shape != b[name].shape for a, b in zip(before, results, strict=True) for name in a):
        return finding("reshaped", "an output has another shape")
    zero_atoms(zeroed, find_channels(zeroed), removal)
    wrong = difference(_run(to_bytes(zeroed), feeds), results)
    if wrong:
        return finding("zeros mattered", wrong)
    permuted, turned = load(data), 0
    again = find_channels(permuted)
    for group in again.groups:
        order = rng.permutation(len(group))
        if is_automorphism(again, group, order):
            permute_atoms(permuted, again, group, order)
            turned += 1
    wrong = difference(before, _run(to_bytes(permuted), feeds))
    if wrong:
        return finding("order mattered", wrong)
    return Finding("", "", removed, turned, bool(difference(before, expected)))


def _run(data: bytes, feeds: Sequence[Feed], optimize: bool = False) -> list[Outputs]:
    session = open_session(data, optimize=optimize, config=FLOATS)
    return [session.run(feed) for feed in feeds]


def _optimized(data: bytes, expected: Sequence[Outputs], feeds: Sequence[Feed]) -> str:
    """How the model differs under onnxruntime's optimizations.

    Some graphs they break: the original shows it too.
    """
    try:
        return difference(expected, _run(data, feeds, optimize=True))
    except CannotRun as error:
        return str(error)


def _refused(before: bytes, after: bytes) -> str:
    """What onnx's checker says of the result alone."""
    for data, last in ((before, False), (after, True)):
        try:
            onnx.checker.check_model(onnx.ModelProto.FromString(data), full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            return str(error) if last else ""
    return ""


def difference(expected: Sequence[Outputs], found: Sequence[Outputs]) -> str:
    """Which output differs how much; empty where none does."""
    for at, (left, right) in enumerate(zip(expected, found, strict=True)):
        for name, a in left.items():
            b = right[name]
            if a.shape != b.shape:
                return f"{name} of feed {at} has shape {b.shape} instead of {a.shape}"
            scale = float(np.sqrt(np.mean(np.square(a.astype(np.float64))))) if a.size else 0.0
            if not np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE * scale + 1e-6, equal_nan=True):
                worst = float(np.nanmax(np.abs(a.astype(np.float64) - b)))
                return f"{name} of feed {at} differs by {worst:.3g} at a root mean square of {scale:.3g}"
    return ""


# -- removals ----------------------------------------------------------------------------------------------------------


def random_removal(channels: Channels, rng: np.random.Generator) -> Removal:
    """Channels to remove: many, few, those that lie together, or all but one; of all groups, or of some."""
    way = rng.integers(6)
    removal: dict[str, list[int]] = {}
    for group in channels.groups:
        size = len(group)
        match way:
            case 0:
                count = size // 2
            case 1:
                count = int(rng.integers(size))
            case 2:
                count = size - 1
            case 3:
                count = 1
            case _:
                count = int(rng.integers(size)) if rng.random() < 0.5 else 0
        if not count:
            continue
        first = int(rng.integers(size - count + 1))
        run = way == 4
        places = np.arange(first, first + count) if run else np.sort(rng.choice(size, count, replace=False))
        removal[group.key] = places.tolist()
    return removal


# -- what the other oracles do to the weights --------------------------------------------------------------------------


def zero_atoms(model: ir.Model, channels: Channels, removal: Removal) -> None:
    """Sets the weights of channels to zero wherever they lie, and what inputs of the model give them."""
    for group in channels.groups:
        for site in _given(group):
            ids = channels.links.axis(site.value, site.axis)
            assert ids is not None
            mask = np.ones(
                [len(ids) if i == site.axis else 1 for i in range(channels.facts.rank(site.value) or 0)], "f"
            )
            np.moveaxis(mask, site.axis, 0)[site.positions[list(removal.get(group.key, ()))].reshape(-1)] = 0
            _after_input(model, site.value, "Mul", mask)
        for site in group.weights:
            array = _array(site.value)
            places = site.positions[list(removal.get(group.key, ()))].reshape(-1)
            zero = _zero_point(site.value, array.shape)
            np.moveaxis(array, site.axis, 0)[places] = np.moveaxis(zero, site.axis, 0)[places]
            set_constant(site.value, array)


def _zero_point(value: ir.Value, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    """What stands for zero in a constant: of quantized weights what is dequantized to it."""
    for node in (use.node for use in value.uses()):
        if node.op_type == "DequantizeLinear" and node.inputs[0] is value and len(node.inputs) > 2:
            axis = node.attributes.get_int("axis", 1) % len(shape)
            return np.broadcast_to(
                _array(node.inputs[2]).reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape
            )
    return np.zeros(shape, np.int8)


def permute_atoms(model: ir.Model, channels: Channels, group: Group, order: npt.NDArray[np.int64]) -> None:
    """Puts channel ``order[i]`` where channel i is, at all weights of a group and inputs of the model."""
    for site in _given(group):
        ids = channels.links.axis(site.value, site.axis)
        assert ids is not None
        places = np.arange(len(ids))
        places[site.positions.reshape(-1)] = site.positions[order].reshape(-1)
        _after_input(model, site.value, "Gather", places, axis=site.axis)
    for site in group.weights:
        array = _array(site.value)
        view = np.moveaxis(array, site.axis, 0)
        view[site.positions.reshape(-1)] = view[site.positions[order].reshape(-1)]
        set_constant(site.value, array)


def _given(group: Group) -> list[Site]:
    return [site for site in group.activations if site.value.is_graph_input()]


def _after_input(model: ir.Model, value: ir.Value, op_type: str, array: npt.NDArray[Any], **attributes: int) -> None:
    """Lets all that reads an input of the model read it through an operator."""
    uses, names = list(value.uses()), Names.of(model)
    made = ir.node(op_type, [value, add_initializer(model.graph, names.fresh("given"), array)], attributes)
    made.name = made.outputs[0].name = names.fresh("read")
    next(iter(model.graph)).prepend(made)
    for use in uses:
        use.node.replace_input_with(use.idx, made.outputs[0])


def _array(value: ir.Value | None) -> npt.NDArray[np.generic]:
    tensor = constant_tensor(value)
    assert tensor is not None
    return np.array(tensor.numpy())


def is_automorphism(channels: Channels, group: Group, order: npt.NDArray[np.int64]) -> bool:
    """Whether all that is said of the entries stays true when they are exchanged in the order of their positions.

    It need not: of x + shuffle(x) two atoms may be cycles of the shuffle, whose entries correspond in another order.
    """
    links = channels.links
    moved = np.arange(links.count)
    for site in (*group.weights, *group.activations):
        ids = links.axis(site.value, site.axis)
        assert ids is not None
        moved[ids[site.positions.reshape(-1)]] = ids[site.positions[order].reshape(-1)]
    options = [option.pairs for choice in links.choices for option in choice.options]
    chosen = [
        pair
        for pairs in options
        if all((channels.labels[a] == channels.labels[b]).all() for a, b in pairs)
        for pair in pairs
    ]
    pairs = [*links.pairs, *chosen]
    if not pairs:
        return True
    left, right = np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs])
    mine = moved[left] != left
    said = np.stack([left, right], axis=1)
    known = {(int(a), int(b)) for a, b in said}
    return all((int(a), int(b)) in known for a, b in zip(moved[left[mine]], moved[right[mine]], strict=True))
