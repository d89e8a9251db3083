"""Permutations of axes: what undoes them, what is left of them, and which move nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

Perm: TypeAlias = tuple[int, ...]
"""``x.transpose(perm)`` is what stands for ``x``: axis ``a`` of ``x`` is axis ``perm.index(a)`` there."""


def inverse(perm: Sequence[int]) -> Perm:
    """The permutation that undoes ``perm``.

    >>> inverse((2, 0, 1))
    (1, 2, 0)
    """
    return tuple(perm.index(axis) for axis in range(len(perm)))


def without(perm: Perm, axes: Sequence[int]) -> Perm:
    """The permutation of the axes that remain when ``axes`` are removed.

    >>> without((0, 3, 1, 2), (1,))
    (0, 2, 1)
    """
    rest = [axis for axis in range(len(perm)) if axis not in axes]
    return tuple(rest.index(axis) for axis in perm if axis not in axes)


def moves_only_ones(perm: Perm, shape: Sequence[Any]) -> bool:
    """Whether all dims but those of size 1 keep their order, so that the elements do, too."""
    kept = [axis for axis in perm if shape[axis] != 1]
    return kept == sorted(kept)
