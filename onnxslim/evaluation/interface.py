"""What callers of a model rely on besides its numbers: names, order, types and declared shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnxslim.evaluation.compare import Difference, Kind
from onnxslim.execution.session import Port

Ports = tuple[Sequence[Port], Sequence[Port]]


def interface_differences(before: Ports, after: Ports, seen: Mapping[str, Sequence[set[int]]]) -> list[Difference]:
    """How the inputs and outputs of two sessions differ.

    Inputs must be declared the same, names of dynamic axes included. Outputs too, except that a size which was unknown
    or symbolic may have become a number, if every run gave that number.

    Args:
        before: Inputs and outputs of the original.
        after: Those of the candidate.
        seen: For each output the sizes that its axes had in the candidate's runs.
    """
    found = _names([p.name for p in before[0]], [p.name for p in after[0]], "inputs", "inputs", "inputs", "input")
    found += _names(
        [p.name for p in before[1]],
        [p.name for p in after[1]],
        "missing output",
        "extra output",
        "output order",
        "output",
    )
    for old_ports, new_ports, is_output in ((before[0], after[0], False), (before[1], after[1], True)):
        new_by_name = {port.name: port for port in new_ports}
        for old in old_ports:
            new = new_by_name.get(old.name)
            if new is None:
                continue
            if old.type != new.type:
                found.append(Difference("declared type", old.name, f"{old.type} before, {new.type} after"))
            elif old.shape != new.shape and not (is_output and _refines(old.shape, new.shape, seen.get(old.name))):
                detail = f"{_text(old.shape)} before, {_text(new.shape)} after"
                found.append(Difference("declared shape", old.name, detail))
    return found


def _names(before: list[str], after: list[str], missing: Kind, extra: Kind, order: Kind, word: str) -> list[Difference]:
    gone = [name for name in before if name not in after]
    new = [name for name in after if name not in before]
    if len(gone) == len(new) == 1 and before.index(gone[0]) == after.index(new[0]):
        return [Difference(missing, gone[0], f"the {word} is named {new[0]!r} after")]
    found = [Difference(missing, name, f"the {word} is gone") for name in gone]
    found += [Difference(extra, name, f"the {word} is new") for name in new]
    if not found and before != after:
        found.append(Difference(order, "", f"{', '.join(before)} before, {', '.join(after)} after"))
    return found


def _refines(
    old: tuple[int | str | None, ...], new: tuple[int | str | None, ...], seen: Sequence[set[int]] | None
) -> bool:
    """Whether ``new`` only puts numbers in the place of what was unknown, and the runs bear it out."""
    if not old:  # unknown rank; the ranks that were seen decide, where there are any
        old = (None,) * len(new)
    if len(old) != len(new):
        return False
    for axis, (before, after) in enumerate(zip(old, new, strict=True)):
        if before == after or (before is None and isinstance(after, str)):
            continue
        if isinstance(before, int) or not isinstance(after, int):
            return False
        if seen is not None and (axis >= len(seen) or seen[axis] - {after}):
            return False
    return True


def _text(shape: tuple[int | str | None, ...]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
