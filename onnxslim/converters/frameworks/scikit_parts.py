"""What a fitted estimator of scikit-learn tells of its inputs: which are strings, and what range numbers have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np


def parts_of(estimator: Any) -> Iterator[Any]:
    """An estimator and all fitted ones in it, in the order of computation."""
    yield estimator
    inner: list[Any] = [step for _, step in getattr(estimator, "steps", ())]
    inner += [each[1] for each in getattr(estimator, "transformers_", ())]
    inner += [each for _, each in getattr(estimator, "transformer_list", ())]
    for name in ("estimator_", "best_estimator_", "base_estimator_", "regressor_"):
        inner += [getattr(estimator, name)] if hasattr(estimator, name) else []
    several = getattr(estimator, "estimators_", ())
    inner += list(np.asarray(several, dtype=object).reshape(-1)) if len(several) else []
    for each in inner:
        if hasattr(each, "get_params"):
            yield from parts_of(each)


def columns_of(estimator: Any) -> dict[str, list[str]]:
    """Name of a column -> the words that it may be, none for numbers; empty where it takes one array."""
    names = getattr(estimator, "feature_names_in_", None)
    split = next((each for each in parts_of(estimator) if hasattr(each, "transformers_")), None)
    if names is None or split is None:
        return {}
    words: dict[str, list[str]] = {}
    for _, step, columns in split.transformers_:
        if not isinstance(columns, Sequence | np.ndarray) or not hasattr(step, "get_params"):
            continue
        named = [str(names[each]) if isinstance(each, int | np.integer) else str(each) for each in columns]
        known = categories_of(step)
        words |= {name: known[place] for place, name in enumerate(named) if place in known}
    return {str(name): words.get(str(name), []) for name in names}


def categories_of(estimator: Any) -> dict[int, list[str]]:
    """Column -> the strings that its first encoder, imputer or vectorizer knows."""
    for each in parts_of(estimator):
        if hasattr(each, "categories_"):
            lists = {place: list(found) for place, found in enumerate(each.categories_)}
            return {place: [str(w) for w in found] for place, found in lists.items() if _is_text(found)}
        if hasattr(each, "vocabulary_"):
            return {0: [str(word) for word in each.vocabulary_]}
    for each in parts_of(estimator):
        statistics = getattr(each, "statistics_", None)
        if statistics is not None and np.asarray(statistics).dtype == object:
            return {place: [str(word)] for place, word in enumerate(statistics)}
    return {}


def _is_text(found: Sequence[Any]) -> bool:
    return any(isinstance(each, str) for each in found)


def strings_in(estimator: Any, width: int) -> set[int]:
    """The columns that hold strings, of so many."""
    return set(categories_of(estimator)) & set(range(width))


def takes_text(estimator: Any) -> bool:
    """Whether it takes one string for each sample, which a vectorizer cuts into words."""
    first = next((each for each in parts_of(estimator) if not hasattr(each, "steps")), estimator)
    return hasattr(first, "vocabulary_") or hasattr(first, "build_analyzer")


def ranges_of(estimator: Any) -> dict[int, tuple[float, float]]:
    """Column -> centre and spread of what an estimator was fitted on, from scalers and from the splits of trees."""
    found: dict[int, tuple[float, float]] = {}
    splits: dict[int, list[float]] = {}
    for each in parts_of(estimator):
        if getattr(each, "mean_", None) is not None and getattr(each, "scale_", None) is not None and not found:
            pairs = zip(np.ravel(each.mean_), np.ravel(each.scale_), strict=True)
            return {place: (float(mean), float(scale)) for place, (mean, scale) in enumerate(pairs)}
        if hasattr(each, "data_min_"):
            pairs = zip(each.data_min_, each.data_max_, strict=True)
            return {place: (float(a + b) / 2, float(b - a) / 3 or 1.0) for place, (a, b) in enumerate(pairs)}
        tree = getattr(each, "tree_", None)
        if tree is not None:
            for place, threshold in zip(tree.feature, tree.threshold, strict=True):
                if place >= 0:
                    splits.setdefault(int(place), []).append(float(threshold))
    for place, thresholds in splits.items():
        found[place] = float(np.mean(thresholds)), float(np.std(thresholds)) or 1.0
    return found
