"""Which tensors are unpacked together: nodes take bytes in the file, and time when it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from . import sizes
from .content import Content, Words
from .packing import Packing, bits_for, payload

MOST = 1 << 19
"""Elements of a group of several: arrays beyond a cache are unpacked more slowly, and all are in memory at once."""


@dataclass(eq=False)
class Together:
    """Tensors of one dtype that are packed in one way.

    Attributes:
        packing: The way.
        kind: Only what is of the same kind can be together.
        members: Places of the tensors among those that were given.
        count: Elements of them all.
        palette: Their values, where there is a codebook.
    """

    packing: Packing
    kind: str
    members: list[int] = field(default_factory=list)
    count: int = 0
    palette: Words | None = None

    def takes(self, kind: str, content: Content) -> bool:
        """Whether a content can be added."""
        if kind != self.kind or (self.members and self.count + content.count > MOST):
            return False
        if not self.packing.value_bits:
            return True
        if content.palette is None:
            return False
        zero = self.packing.places != "all"  # a mask and gaps have one for what they skip
        return bits_for(len(self._joined(content)) + zero) <= self.packing.value_bits

    def add(self, place: int, content: Content) -> None:
        """Adds a tensor."""
        self.members.append(place)
        self.count += content.count
        if self.packing.value_bits:
            self.palette = self._joined(content)

    def _joined(self, content: Content) -> Words:
        palette = content.palette
        assert palette is not None
        if self.packing.places == "all" and content.zeros:
            palette = np.union1d(palette, np.zeros(1, palette.dtype))
        return palette if self.palette is None else np.union1d(self.palette, palette)


def together(contents: Sequence[Content], kinds: Sequence[str], chosen: Sequence[Packing]) -> list[Together]:
    """Groups tensors that are packed alike, then small groups with others where that takes fewer bytes.

    Args:
        contents: Of the tensors.
        kinds: Of each, such as its dtype.
        chosen: The best packing of each alone.
    """
    groups: list[Together] = []
    for place, (content, kind, packing) in enumerate(zip(contents, kinds, chosen, strict=True)):
        fits = (each for each in groups if each.packing == packing and each.takes(kind, content))
        group = next(fits, None)
        if group is None:
            group = Together(packing, kind)
            groups.append(group)
        group.add(place, content)
    for small in sorted(groups, key=lambda each: each.count):
        others = [each for each in groups if each is not small]
        cost = {each: _moved(small, each, contents) for each in others}
        other = min(cost, key=lambda each: cost[each], default=None)
        if other is not None and cost[other] < sizes.shared(small.packing):
            for place in small.members:
                other.add(place, contents[place])
            groups.remove(small)
    for group in groups:
        group.members.sort()
    return groups


def _moved(small: Together, other: Together, contents: Sequence[Content]) -> float:
    """Bytes that the members of one group take more in another; infinite where they cannot be there."""
    if other.count + small.count > MOST or bool(other.packing.value_bits) != bool(small.packing.value_bits):
        return float("inf")
    trial = Together(other.packing, other.kind, list(other.members), other.count, other.palette)
    extra = 0
    for place in small.members:
        if not trial.takes(small.kind, contents[place]):
            return float("inf")
        trial.add(place, contents[place])
        extra += payload(contents[place], other.packing) - payload(contents[place], small.packing)
    return extra
