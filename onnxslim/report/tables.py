"""The tables of a report: what one model is made of, what its weights hold, and what changed between two models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from onnxslim.report.blocks import Align, Cell, DataTable, Fit, Heading, Row, Tone, cells, data_table
from onnxslim.report.side_by_side import MAX_PORTS
from onnxslim.report.wording import QDQ, change, shorten, size

if TYPE_CHECKING:
    from onnxslim.packing import TensorFacts
    from onnxslim.report.facts import ModelFacts, PortFacts

TOP_OPS = 12
"""Operators shown of those whose count changed; the rest are summed up."""
ENCODINGS = ("dense", "standard", "folded")
_LABELS = Heading(fit=Fit.KEEP)


def facts_table(facts: ModelFacts) -> DataTable:
    """What one model is made of."""
    return data_table((_LABELS, Heading("model")), (cells(*row) for row in _facts(facts)))


def _facts(facts: ModelFacts) -> Iterator[tuple[str, str]]:
    yield "file", facts.path or "-"
    yield "bytes", size(facts.bytes)
    yield "IR version, opsets", f"{facts.ir_version}, {_opsets(facts)}"
    yield "producer", facts.producer or "-"
    for label, ports in (("input", facts.inputs), ("output", facts.outputs)):
        for port in ports[:MAX_PORTS]:
            yield f"{label} {port.name}", _port(port)
        if len(ports) > MAX_PORTS:
            yield f"{label} ...", f"{len(ports) - MAX_PORTS:,} more"
    yield "parameters", f"{facts.parameters:,} in {size(facts.weight_bytes)}"
    yield "operators", f"{facts.nodes:,}"
    for name, count in facts.ops.items():
        yield f"  {name}", f"{count:,}"


def weights_table(tensors: Sequence[TensorFacts], *, top: int | None = None) -> DataTable:
    """What the weights hold, and what they take in each encoding.

    Args:
        tensors: Weights of a model.
        top: How many of the largest weights are shown, in that order; the others are summed up. None shows all of
            them in the order of ``tensors``.
    """
    ordered = sorted(tensors, key=lambda each: -(each.bytes["dense"] or 0)) if top is not None else tensors
    shown, rest = ordered[:top], ordered[len(ordered) if top is None else top :]
    headings = map(Heading, ("weight", "shape", "zeros", "values", "mean |w|", *ENCODINGS, "entropy", "stored"))
    sums = [_sum(label, some) for label, some in ((f"{len(rest)} others", rest), ("all", ordered)) if some]
    return data_table(headings, [*map(_weight, shown), *sums])


def _weight(each: TensorFacts) -> Row:
    dead = sum(1 for neuron in each.neurons if neuron == 0)
    span = f" ({min(each.neurons):.2g} to {max(each.neurons):.2g})" if len(each.neurons) > 1 else ""
    return cells(
        shorten(each.name, 40),
        "x".join(map(str, each.shape)),
        f"{each.zeros / max(each.elements, 1):.0%}" + (f", {dead} outputs" if dead else ""),
        str(each.distinct) if each.distinct is not None else "many",
        f"{each.mean_abs:.2g}{span}",
        *_encodings([each]),
        each.stored,
    )


def _sum(label: str, tensors: Sequence[TensorFacts]) -> Row:
    elements, zeros = sum(each.elements for each in tensors), sum(each.zeros for each in tensors)
    return cells(label, f"{elements:,}", f"{zeros / elements:.0%}", "", "", *_encodings(tensors), "")


def _encodings(tensors: Sequence[TensorFacts]) -> list[str]:
    """Bytes dense, and as little as each encoding and the bound make of it."""
    folded = sum(each.bytes["folded"] or each.bytes["dense"] or 0 for each in tensors)
    way = f" {tensors[0].packing}" if len(tensors) == 1 and tensors[0].packing else ""
    dense, standard = (sum(each.bytes[key] or 0 for each in tensors) for key in ("dense", "standard"))
    return [size(dense), size(standard), f"{size(folded)}{way}", size(round(sum(each.bound for each in tensors)))]


def before_after(before: ModelFacts, after: ModelFacts, macs: Mapping[str, int | None]) -> DataTable:
    """Sizes and counts of two models, and how they changed.

    Args:
        before: The model as it came.
        after: The model that came out.
        macs: Multiply-accumulates of both (``input``, ``output``); empty where no channels were to be removed, and
            neither these nor the parameters are shown then.
    """
    headings = [_LABELS, *(Heading(text, Align.RIGHT) for text in ("before", "after", "change"))]
    return data_table(headings, [*_sizes(before, after, macs), *_operators(before, after)])


def _sizes(before: ModelFacts, after: ModelFacts, macs: Mapping[str, int | None]) -> Iterator[Row]:
    for label, old, new in (
        ("bytes", before.bytes, after.bytes),
        ("weights", before.weight_bytes, after.weight_bytes),
    ):
        yield cells(label, size(old), size(new), _judged(old, new))
    if macs:
        for label, old, new in (
            ("parameters", before.parameters, after.parameters),
            ("MACs", macs["input"], macs["output"]),
        ):
            shown = ("unknown" if count is None else f"{count:,}" for count in (old, new))
            yield cells(label, *shown, _judged(old, new))
    yield cells("opsets", _opsets(before), _opsets(after), "")


def _operators(before: ModelFacts, after: ModelFacts) -> Iterator[Row]:
    """How many operators there are, those whose count changed most; apart from them, marks of int8 and what unpacks."""

    def both(names: Sequence[str]) -> tuple[int, int]:
        old, new = (
            sum(facts.ops.get(name, 0) - facts.unpacking.get(name, 0) for name in names) for facts in (before, after)
        )
        return old, new

    old_marks, new_marks = both(QDQ)
    old_once, new_once = (sum(facts.unpacking.values()) for facts in (before, after))
    old, new = before.nodes - old_marks - old_once, after.nodes - new_marks - new_once
    yield cells("operators", f"{old:,}", f"{new:,}", _judged(old, new))
    differences = {name: abs(new - old) for name in before.ops.keys() | after.ops.keys() for old, new in [both([name])]}
    changed = sorted(
        (name for name, difference in differences.items() if difference and name not in QDQ),
        key=lambda name: (-differences[name], name),
    )
    groups = [(name, [name]) for name in changed[:TOP_OPS]]
    if rest := changed[TOP_OPS:]:
        groups.append((f"{len(rest)} others", rest))
    for label, names in groups:
        old, new = both(names)
        yield cells(f"  {label}", f"{old:,}", f"{new:,}", change(old, new))
    if old_once or new_once:
        yield cells("run once, at load", f"{old_once:,}", f"{new_once:,}", change(old_once, new_once))
    if old_marks or new_marks:
        yield cells("int8 marks (Q/DQ)", f"{old_marks:,}", f"{new_marks:,}", change(old_marks, new_marks))


def _judged(before: int | None, after: int | None) -> Cell:
    """The change, good where it is less."""
    text = change(before, after)
    if not text or before is None or after is None:
        return Cell(text)
    return Cell(text, Tone.GOOD if after < before else Tone.BAD)


def _opsets(facts: ModelFacts) -> str:
    return ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in facts.opsets.items())


def _port(port: PortFacts) -> str:
    dims = "unknown rank" if port.shape is None else ", ".join("?" if d is None else str(d) for d in port.shape)
    return f"{port.dtype}[{dims}]"
