"""What a fitted estimator of scikit-learn tells of its inputs: which are strings, and what range numbers have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.utils import get_tags


def parts_of(estimator: Any) -> Iterator[Any]:
    """An estimator and all fitted ones in it, in the order of computation."""
    yield estimator
    inner: list[Any] = [step for _, step in getattr(estimator, "steps", ())]
    inner += [each[1] for each in getattr(estimator, "transformers_", ())]
    inner += [each for _, each in getattr(estimator, "transformer_list", ())]
    for name in ("estimator_", "best_estimator_", "base_estimator_", "regressor_", "final_estimator_"):
        inner += [getattr(estimator, name)] if hasattr(estimator, name) else []
    inner += [each.estimator for each in getattr(estimator, "calibrated_classifiers_", ())]
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
    for step, columns in _shares(split, names):
        known = categories_of(step)
        words |= {name: known[place] for place, name in enumerate(columns) if place in known}
    return {str(name): words.get(str(name), []) for name in names}


def column_ranges(estimator: Any) -> dict[str, tuple[float, float]]:
    """Name of a column of numbers -> centre and spread, as far as the steps that take it tell."""
    split = next((each for each in parts_of(estimator) if hasattr(each, "transformers_")), None)
    found: dict[str, tuple[float, float]] = {}
    for step, columns in () if split is None else _shares(split, estimator.feature_names_in_):
        ranges = ranges_of(step)
        found |= {name: ranges[place] for place, name in enumerate(columns) if place in ranges}
    return found


def _shares(split: Any, names: Sequence[str]) -> Iterator[tuple[Any, list[str]]]:
    """The steps of a ColumnTransformer, each with the names of its columns, however these were chosen."""
    every = np.asarray([str(each) for each in names])
    for _, step, columns in split.transformers_:
        if not hasattr(step, "get_params"):
            continue
        if isinstance(columns, str):
            yield step, [columns]
        elif isinstance(columns, slice) and isinstance(columns.start or columns.stop, str):
            first, last = ((each is not None and list(every).index(each)) for each in (columns.start, columns.stop))
            stop = len(every) if columns.stop is None else int(last) + 1
            yield step, list(every[int(first) : stop])
        elif isinstance(columns, slice | int | np.integer):
            yield step, list(np.atleast_1d(every[columns]))
        elif len(columns) and isinstance(columns[0], str):
            yield step, [str(each) for each in columns]
        else:
            yield step, list(every[np.asarray(columns)])


def expects_missing(estimator: Any) -> bool:
    """Whether an estimator of one array fills in missing numbers (NaN) before anything else."""
    return not _has_columns(estimator) and type(_first(estimator)).__name__.endswith("Imputer")


def accepts_missing(estimator: Any) -> bool:
    """Whether it takes missing numbers, perhaps without having seen any: files of trees then answer otherwise."""
    return not _has_columns(estimator) and bool(get_tags(_first(estimator)).input_tags.allow_nan)


def _has_columns(estimator: Any) -> bool:
    return any(hasattr(each, "transformers_") for each in parts_of(estimator))


def _first(estimator: Any) -> Any:
    while getattr(estimator, "steps", None):
        estimator = next(step for _, step in estimator.steps if step not in (None, "passthrough"))
    return estimator


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
