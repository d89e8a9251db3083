"""scikit-learn: a fitted estimator or pipeline, by skl2onnx; its steps of LightGBM and XGBoost by onnxmltools."""

from __future__ import annotations

import itertools
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import sklearn
from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor

from .base import Exported, ExportOptions, Feed, LoadRequest, Operation, Refused, last_line
from .kinds import libraries
from .scikit_parts import (
    accepts_missing,
    categories_of,
    column_ranges,
    columns_of,
    expects_missing,
    parts_of,
    ranges_of,
    strings_in,
    takes_text,
)

INPUT = "X"
ROWS = 32
"""Rows of inputs that are made up."""
LOCALE = "C.UTF-8"
"""That text is lowercased in: the exporter's own, en_US.UTF-8, is missing on small systems."""
MISSING = 0.1
"""Share of numbers that are made up as missing, where that is allowed."""
CALLS = ("predict", "predict_proba", "decision_function", "transform", "score_samples")


class Estimator:
    """See `onnxslim.converters.frameworks.base.FrameworkModel`.

    Args:
        estimator: Fitted.
        notes: Of loading.
    """

    narrows = True

    def __init__(self, estimator: Any, notes: list[str]) -> None:
        self.estimator, self.notes = estimator, notes
        self.framework = f"scikit-learn {sklearn.__version__}"
        self.columns = columns_of(estimator)
        odd = [name for name in self.columns if not name.isidentifier()]
        if odd:
            raise Refused(
                f"the column {odd[0]!r} cannot be the name of an input",
                why="skl2onnx finds columns by the names of inputs",
                mend="rename the columns to identifiers before fit",
            )
        if not self.columns:
            width = getattr(estimator, "n_features_in_", None)
            if width is None and not takes_text(estimator):
                raise Refused("the estimator is not fitted", why="it does not know its number of inputs", mend="fit it")
            self.width = 1 if width is None else int(width)
            trees = any(hasattr(each, "tree_") for each in parts_of(estimator))
            if trees and accepts_missing(estimator) and not expects_missing(estimator):
                self.notes.append("missing numbers (NaN) were not compared: give --samples that have some if yours do")
            self.text = width is None or strings_in(estimator, self.width) == {*range(self.width)}

    def example(self) -> Feed | None:
        """Numbers around what the estimator was fitted on, as far as it tells; strings that it knows."""
        generator = np.random.default_rng(0)
        if self.columns:
            ranges = column_ranges(self.estimator)
            return {
                name: _words(generator, known, ROWS)
                if known
                else _numbers(generator, ROWS, 1, {0: ranges.get(name, (0.0, 1.0))})
                for name, known in self.columns.items()
            }
        if self.text:
            every = list(categories_of(self.estimator).values()) or [["a", "b"]]
            if takes_text(self.estimator):  # sentences of words that it knows
                words = every[0]
                every = [[" ".join(words[place : place + 3]) for place in range(0, min(len(words), 300), 3)]]
            return {INPUT: np.concatenate([_words(generator, words, ROWS) for words in every[: self.width]], axis=1)}
        numbers = _numbers(generator, ROWS, self.width, ranges_of(self.estimator))
        if expects_missing(self.estimator):  # what is done about them is a part of the model
            numbers[generator.random(numbers.shape) < MISSING] = np.nan
        return {INPUT: numbers}

    def export(self, options: ExportOptions) -> Exported:
        """By skl2onnx, with plain tensors of probabilities."""
        import skl2onnx
        from skl2onnx.common.data_types import FloatTensorType, StringTensorType

        boosted = _register(self.estimator)
        if self.columns:
            types = [
                (name, (StringTensorType if known else FloatTensorType)([None, 1]))
                for name, known in self.columns.items()
            ]
        else:
            types = [(INPUT, (StringTensorType if self.text else FloatTensorType)([None, self.width]))]
        wanted = {id(each): {"locale": LOCALE} for each in parts_of(self.estimator) if takes_text(each)}
        notes = [f"text is lowercased in the locale {LOCALE}, which the device must have"] if wanted else []
        ways: list[dict[int, Any]] = [{}]
        if is_classifier(self.estimator):  # plain tensors; each classifier knows one of the two options
            ways = [{id(self.estimator): {"zipmap": False}}, {id(_last(self.estimator)): {"raw_scores": True}}]
        # onnxmltools' converters, and some of skl2onnx itself, know no later ai.onnx.ml than 3.
        plain, old = options.opset, {"": options.opset or skl2onnx.__max_supported_opset__, "ai.onnx.ml": 3}
        made, why = None, ""
        for way, opset in itertools.product(ways, (old,) if boosted else (plain, old)):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    made = skl2onnx.convert_sklearn(
                        self.estimator, initial_types=types, options=wanted | way, target_opset=opset
                    )
                break
            except Exception as error:  # skl2onnx has a class of its own for each reason
                why = why or last_line(error)
        if made is None:
            raise Refused("skl2onnx cannot convert the estimator", why=why)
        with open(options.path, "wb") as file:
            file.write(made.SerializeToString())
        return Exported(f"skl2onnx {skl2onnx.__version__}", notes)

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The outputs that skl2onnx gives an estimator of this kind, as arrays of their shapes."""
        return outputs_of(self.estimator, self._given(feed))

    def _given(self, feed: Feed) -> Any:
        if self.columns:
            import pandas

            return pandas.DataFrame({name: feed[name][:, 0] for name in self.columns})
        array = feed[INPUT]
        return array[:, 0] if takes_text(self.estimator) else array

    def trace(self, feed: Feed) -> list[Operation] | None:
        """Step by step of a pipeline; None for anything else."""
        steps = getattr(self.estimator, "steps", None)
        if steps is None or self.columns:
            return None
        given, found = self._given(feed), list[Operation]()
        for name, step in steps[:-1]:
            if step in (None, "passthrough"):
                continue
            given = _dense(step.transform(given))
            found.append(Operation(f"{type(step).__name__} {name!r}", np.asarray(given, np.float32), [len(found) + 1]))
        last = outputs_of(steps[-1][1], given)[-1][1]
        found.append(Operation(f"{type(steps[-1][1]).__name__} {steps[-1][0]!r}", np.asarray(last)))
        return found if found[-1].output.dtype.kind == "f" else found[:-1]


def outputs_of(estimator: Any, given: Any) -> list[tuple[str, np.ndarray]]:
    """What an estimator answers: label and scores, values, or the transformed input."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if is_classifier(estimator):
            label = np.asarray(estimator.predict(given))
            if hasattr(estimator, "predict_proba"):
                return [("label", label), ("probabilities", _dense(estimator.predict_proba(given)))]
            scores = _dense(estimator.decision_function(given))
            return [("label", label), ("probabilities", np.stack([-scores, scores], 1) if scores.ndim == 1 else scores)]
        if is_outlier_detector(estimator):
            label = np.asarray(estimator.predict(given)).reshape(-1, 1)
            return [("label", label), ("scores", _dense(estimator.decision_function(given)).reshape(-1, 1))]
        if not any(hasattr(estimator, name) for name in ("predict", "transform")):
            raise Refused(f"{type(estimator).__name__} neither predicts nor transforms new samples")
        if is_clusterer(estimator):
            label = np.asarray(estimator.predict(given))
            return [("label", label), ("scores", _dense(estimator.transform(given)))]
        if is_regressor(estimator):
            value = _dense(estimator.predict(given))
            return [("variable", value.reshape(-1, 1) if value.ndim == 1 else value)]
        if not hasattr(estimator, "transform"):
            raise Refused(f"what {type(estimator).__name__} answers has no counterpart in a file of skl2onnx")
        return [("variable", _dense(estimator.transform(given)))]


def load(request: LoadRequest) -> Any:
    """An estimator from a file or an object; one of a boosting library has a module of its own.

    Raises:
        Refused: The file holds no estimator.
    """
    notes: list[str] = []
    found = request.loaded
    if request.form != "module:object":
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = _read(request.source, request.form)
        notes = list(dict.fromkeys(str(each.message).split(". ")[0] for each in said if "version" in str(each.message)))
    known = libraries(found)
    if known & {"lightgbm", "xgboost", "catboost"}:
        from . import boosting

        return boosting.of_object(found, notes)
    if "sklearn" not in known and not hasattr(found, "get_params"):
        raise Refused(f"the file holds a {type(found).__name__}, not an estimator")
    return Estimator(found, notes)


def _read(path: str, form: str) -> Any:
    if form == ".skops":
        import skops.io

        try:
            return skops.io.load(path)
        except skops.io.exceptions.UntrustedTypesFoundException as error:
            raise Refused(
                "the .skops file holds types that skops does not trust", why=str(error), mend="save it as .joblib"
            ) from error
    if form == ".joblib":
        import joblib

        return joblib.load(path)
    with open(path, "rb") as file:
        return pickle.load(file)


@contextmanager
def recording(estimator: Any, take: Callable[[dict[str, np.ndarray]], None]) -> Iterator[None]:
    """Hands over what an estimator's methods are called with from outside."""
    inside = [False]

    def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(given: Any, *args: Any, **kwargs: Any) -> Any:
            if not inside[0]:
                take(feed_of(given))
            before, inside[0] = inside[0], True
            try:
                return method(given, *args, **kwargs)
            finally:
                inside[0] = before

        return call

    with ExitStack() as stack:
        for name in CALLS:
            if hasattr(estimator, name):
                setattr(estimator, name, wrapped(getattr(estimator, name)))
                stack.callback(delattr, estimator, name)
        yield


def feed_of(given: Any) -> dict[str, np.ndarray]:
    """A batch as the exported file takes it: an array, or a column for each input."""
    if hasattr(given, "columns"):
        return {str(name): _plain(np.asarray(given[name])).reshape(-1, 1) for name in given.columns}
    return {INPUT: _plain(np.asarray(given))}


def _plain(array: np.ndarray) -> np.ndarray:
    return array.astype(object) if array.dtype.kind in "OUS" else array.astype(np.float32)


def _dense(value: Any) -> np.ndarray:
    return np.asarray(value.toarray() if hasattr(value, "toarray") else value)


def _numbers(generator: Any, rows: int, width: int, ranges: Mapping[int, tuple[float, float]]) -> np.ndarray:
    pairs = [ranges.get(place, (0.0, 1.0)) for place in range(width)]
    centre, spread = np.array(pairs, np.float64).T
    return np.asarray(generator.normal(centre, 1.2 * spread, (rows, width)), np.float32)


def _words(generator: Any, known: Sequence[str], rows: int) -> np.ndarray:
    return np.array([known[place] for place in generator.integers(len(known), size=rows)], dtype=object).reshape(-1, 1)


def _last(estimator: Any) -> Any:
    steps = getattr(estimator, "steps", None)
    return estimator if not steps else _last(steps[-1][1])


def _register(estimator: Any) -> bool:
    """Lets skl2onnx convert steps of boosting libraries, by onnxmltools; whether there are any."""
    known = set[str]().union(*(libraries(each) for each in parts_of(estimator)))
    if not known & {"lightgbm", "xgboost"}:
        return False
    from . import boosting

    boosting.register(known)
    return True
