"""What few bits offer to a search, and the same bits for a model that other passes have changed since."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxslim.analysis import infer_shapes, model_cost
from onnxslim.analysis.cost import bound
from onnxslim.evaluation import Lengths
from onnxslim.graph.edit import constant_tensor
from onnxslim.ops.int8 import WEIGHT
from onnxslim.pipeline import Context
from onnxslim.pipeline.offer import Effects, Offer
from onnxslim.samples.feeds import JUDGED, first_of

from .allocate import measured
from .form_search import FormSearch, noise_of, power
from .forms import BITS, PricedForm, cheapest
from .storable import Storable, StoredWeight
from .stored_model import StoredModel, constants_of

NOISES = (45.0, 40.0, 36.0, 33.0, 30.0, 27.0, 24.0, 21.0, 18.0, 15.0, 12.0)
"""dB under which the noise stays that weights add to the outputs."""
MIDDLE = 30.0
"""dB of the model that predictions are corrected by."""
NODE = 120
"""Bytes that a node takes in the file, about."""
SWEEPS = 6e9
"""Multiplications that all sweeps of an adapted plan may take, about 3 s: those of the fewest bits first, and of these
the shortest. The other weights are rounded to the nearest."""
MACS, FEWEST = 1 << 31, 2
"""Multiply-accumulates of the runs that an adapted plan is fitted to, and the fewest samples for it."""
FINE = 16
"""Bits from which on rounding hardly shows, and is not made up for."""


@dataclass(frozen=True, slots=True)
class StoreChoice:
    """The forms of constants.

    Attributes:
        forms: Name -> form; those of others stay to be said.
    """

    forms: Mapping[str, str] = field(default_factory=dict)


def offers_of(search: FormSearch, *, only_int8: bool) -> Iterator[Offer]:
    """The forms that take fewest bytes for some budgets of noise, by one table.

    All are predicted from what one form of each constant does. The sum of these is held against what a whole model
    measures in its worst part, once, and corrected by the ratio.

    Args:
        search: Of the constants.
        only_int8: Whether nothing else is offered.
    """
    model, context = search.model, search.context
    search.stored.keep_lengths(search.lengths, context)
    if not search.references or not search.items:
        return
    whole = sum(each.nbytes for value in constants_of(model) if (each := constant_tensor(value)) is not None)
    whole += NODE * sum(1 for _ in ir.traversal.RecursiveGraphIterator(model.graph))

    def share(forms: Mapping[str, str]) -> float:
        items = [(search.items[name], form) for name, form in forms.items()]
        return 1 - sum(each.bytes(each.forms()[-1]) - each.bytes(form) for each, form in items) / max(whole, 1)

    int8 = dict.fromkeys(search.items, "int8")
    tried = [int8]
    noise = search.added(int8) if share(int8) < 1 else math.inf  # unless it changes nothing
    if math.isfinite(noise):
        yield Offer("weights in int8", StoreChoice(int8), Effects(noise=noise, bytes=share(int8)))
    if only_int8:
        return
    tables = search.tables()
    middle = cheapest(tables, power(MIDDLE))
    predicted, found = noise_of(tables, middle), search.added(middle)
    factor = found / predicted if predicted > 0 and 0 < found < math.inf else 1.0
    tables = {
        name: [PricedForm(each.form, each.bytes, each.noise * factor) for each in table]
        for name, table in tables.items()
    }
    for db in NOISES:
        forms = cheapest(tables, power(db))
        if forms not in tried and share(forms) < 1:
            tried.append(forms)
            yield Offer(
                f"weights at {db:.0f} dB",
                StoreChoice(forms),
                Effects(noise=noise_of(tables, forms), bytes=share(forms)),
            )


def adapted(choice: StoreChoice, model: ir.Model, items: Sequence[Storable], context: Context) -> dict[str, str]:
    """The forms of a model's constants by those of a similar one; the items are fitted to what they multiply now.

    Nothing is compared: it is quick. Few samples are read, and what would take long to fit is rounded only.

    Args:
        choice: Whose names may be gone.
        model: Not changed.
        items: Its constants.
        context: Of the pass.

    Returns:
        Name -> form, without those that stay float.
    """
    stored = StoredModel(model, items)
    stored.keep_lengths(Lengths(model, (context.samples, context.selection), context.threads), context)
    forms = {name: _form(each, choice.forms) for name, each in stored.items.items()}
    asked: list[Storable] = []
    work = 0.0
    for each in sorted(stored.items.values(), key=lambda one: (bits_of(forms[one.name]), one.sweep_cost())):
        stays = each.tensor.dtype == ir.DataType.INT8 and forms[each.name] == "int8"
        if each.request is not None and not stays and bits_of(forms[each.name]) < FINE:
            work += each.sweep_cost()
            asked += [each] if work < SWEEPS else []
    if asked and context.samples is not None:
        samples = first_of(context.samples, _count(model, context))
        limits = {"memory": context.memory // 2, "threads": context.threads}
        for some, statistics in measured(model, asked, samples, progress=context.progress, **limits):
            for each in some:
                each.fit(statistics, [forms[each.name]])
    return {name: form for name, form in forms.items() if form != "float"}


def bits_of(form: str) -> int:
    """Of a number in a form, without scales.

    >>> [bits_of(form) for form in ("int4/128", "5 bits", "codebook", "float16", "float")]
    [4, 5, 4, 16, 32]
    """
    known = {str(name): bits for name, bits in BITS.items()}
    return known[form] if form in known else int(re.findall(r"\d+", form)[0])


def _form(item: Storable, chosen: Mapping[str, str]) -> str:
    """What was chosen for a constant, or for the float weight that a kernel's integers stand for: the same bits."""
    form = chosen.get(item.name)
    if form is None:
        base, suffix, number = item.name.rpartition(WEIGHT)
        form = chosen.get(base) if suffix and re.fullmatch(r"(_\d+)?", number) else None
    if form is None:
        return "int8"
    if isinstance(item, StoredWeight) and form in BITS:  # what its own forms are takes long to say
        return form
    offered = item.forms()
    if form in offered:
        return form
    # A table whose rows have another length has other blocks, and a kernel's weight has codebooks.
    return next((each for each in offered if bits_of(each) >= bits_of(form)), "int8")


def _count(model: ir.Model, context: Context) -> int:
    """As many samples as a quick fit is worth."""
    facts = infer_shapes(model)
    macs = model_cost(model, facts, bound(model, facts, {})).total.macs
    return int(min(max(MACS // max(macs or MACS, 1), FEWEST), JUDGED))
