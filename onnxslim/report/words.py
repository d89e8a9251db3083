"""The words of the verbs, and what a report of each shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Verb:
    """What a verb is called, what is said of its results, and what it may do.

    Attributes:
        name: On the command line.
        done: Decision where it did what it is for.
        kept: Decision where its lossy passes come to nothing.
        nothing: What is said where they find nothing to do.
        result: What its lossy result is called within a sentence.
        own: Passes without which its lossless part only slims; empty where the lossless part is what it is for.
        unpacks: Whether packed weights are made plain first, since its passes look at weights.
        may_grow: Whether a lossless result may be larger: its purpose is another.
        lists_weights: Whether the report lists the weights.
        side_by_side: Whether the report shows the models beside each other, and no speed.
    """

    name: str
    done: str
    kept: str = "kept float"
    nothing: str = "nothing could be changed"
    result: str = "the result"
    own: tuple[str, ...] = ()
    unpacks: bool = False
    may_grow: bool = False
    lists_weights: bool = False
    side_by_side: bool = False

    def of(self, lossy: Sequence[str]) -> Verb:
        """The verb with the words of the one that its only lossy pass belongs to."""
        other = VERBS.get(lossy[0]) if len(lossy) == 1 else None
        return self if other is None else replace(self, kept=other.kept, nothing=other.nothing, result=other.result)


VERBS = {
    verb.name: verb
    for verb in (
        Verb(name="convert", done="converted", may_grow=True),
        Verb(name="slim", done="slimmed", side_by_side=True),
        Verb(
            name="prune",
            done="pruned",
            kept="kept all channels",
            nothing="nothing could be pruned",
            result="the pruned model",
            unpacks=True,
        ),
        Verb(name="quantize", done="quantized", nothing="nothing could be quantized", result="int8", unpacks=True),
        Verb(
            name="sparsify",
            done="sparsified",
            kept="kept all weights",
            nothing="no weight could be made sparse",
            result="the sparse model",
            own=("encode",),
            unpacks=True,
            lists_weights=True,
        ),
        Verb(name="choose-forms", done="other forms", result="the model in other forms", unpacks=True),
        Verb(
            name="store",
            done="weights in few bits",
            nothing="no weight could be stored in fewer bits",
            result="the model with weights in few bits",
            unpacks=True,
        ),
        Verb(name="decode", done="decoded", may_grow=True),
        Verb(name="compress", done="compressed", unpacks=True),
    )
}
"""By name. A lossy pass has the name of the verb that it is the work of; ``store`` is part of several."""


def verb_named(name: str) -> Verb:
    """The verb of a name; one that rewrites nothing has no words of its own."""
    return VERBS.get(name) or Verb(name=name, done=name)
