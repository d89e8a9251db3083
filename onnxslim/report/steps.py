"""What a report says of its passes: what they did, what was reverted, and what they skipped and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from onnxslim.report.blocks import Block, Line, Listing, Tone
from onnxslim.report.wording import common, kind_of, shorten

if TYPE_CHECKING:
    from onnxslim.pipeline import Action, Guilty, Step

TOP_REASONS = 8
"""Kinds of reasons shown without --explain."""
EXAMPLES = 5
"""Places that --explain names for each kind."""


def step_blocks(steps: Sequence[Step], guilty: Sequence[Guilty], *, explain: bool) -> Iterator[Block]:
    """A list for each pass, a line for each kind of rewrite that was reverted, and a list of what was skipped.

    Args:
        steps: The passes that were run.
        guilty: Rewrites that were reverted; they are not told again among those that were skipped.
        explain: Whether to show every kind of rewrite and of reason, with several examples.
    """
    for step in steps:
        yield _done(step, explain)
    examples = EXAMPLES if explain else 1
    back = {(each.action.rule, each.action.site or ",".join(each.action.outputs)): each.reason for each in guilty}
    for line in _grouped([(rule, place, reason) for (rule, place), reason in back.items()], examples):
        yield Line(f"reverted: {line}", Tone.WARN)
    declined = [each for step in steps for each in step.result.declined if (each.rule, each.site) not in back]
    if declined:
        count = len(declined) + sum(step.result.declined_beyond for step in steps)
        lines = list(_grouped([(each.rule, each.site, each.reason) for each in declined], examples))
        shown = lines if explain else lines[:TOP_REASONS]
        if len(lines) > len(shown):
            more = f"... {len(lines) - len(shown)} more reasons; --explain shows them, --json every place"
            shown = [*shown, more]
        yield Listing(Line(f"skipped: {count:,} (count x rule: reason: example)"), tuple(map(Line, shown)))


def _done(step: Step, explain: bool) -> Listing:
    rules: dict[str, list[Action]] = {}
    for action in step.result.actions:
        rules.setdefault(action.rule, []).append(action)
    counts = Counter({rule: len(actions) for rule, actions in rules.items()}).most_common()
    done = ", ".join(f"{rule} {count:,}x" for rule, count in counts) or "no rewrite applies"
    explained = (
        Line(f"{rule} {count:,}x: {_examples([_place(action) for action in rules[rule]], EXAMPLES, 88)}")
        for rule, count in (counts if explain else ())
    )
    return Listing(Line(f"pass {step.name} ({step.seconds:.1f} s): {done}"), tuple(explained))


def _grouped(entries: Iterable[tuple[str, str, str]], examples: int) -> Iterator[str]:
    """(rule, place, reason) by rule and kind of reason, most frequent first."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for rule, place, reason in entries:
        _, _, name = place.partition(" ")
        for said in (place, name):  # the example names it already
            reason = reason.replace(said, "it") if len(said) > 2 else reason
        groups.setdefault((rule, kind_of(reason)), []).append((place, reason))
    for (rule, _), found in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        why = common(reason for _, reason in found)
        yield f"{len(found):>5,} x {rule}: {why}: {_examples([place for place, _ in found], examples)}"


def _place(action: Action) -> str:
    return (action.site or ", ".join(action.outputs)) + (f" ({action.detail})" if action.detail else "")


def _examples(places: Sequence[str], count: int, width: int = 56) -> str:
    more = ", ..." if len(places) > count else ""
    return ("e.g. " if more else "") + ", ".join(shorten(place, width) for place in places[:count]) + more
