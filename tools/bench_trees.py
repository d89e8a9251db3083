"""What slimming does to models of classical machine learning, by estimator.

    pip install skl2onnx onnxmltools lightgbm xgboost     # not part of this package's extras
    python tools/bench_trees.py --models DIR              # train and convert what DIR does not hold yet, slim, measure
    python tools/bench_trees.py --models DIR --fixtures tests/fixtures/classical   # the small models of the tests

Each estimator is trained on a data set of scikit-learn and converted by skl2onnx or onnxmltools, then slimmed by the
command that users call. Prints a Markdown table: bytes before and after, gzip of the file before, time before over time
after for one row and for 256 rows (interleaved, one thread), and the largest difference of a score, with the share of
labels that are the same.

The converters may need an older protobuf than onnx brings; train in an environment of its own then (``--train-only``).
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

OPSET, ML_OPSET = 18, 3
ROWS = (1, 256)
OTHERS = ("LGBMClassifier", "LGBMRegressor", "XGBClassifier", "XGBRegressor")
"""Models that may have been trained in another environment, which has their packages."""

Data = tuple[np.ndarray, np.ndarray]
Made = tuple[Any, Data]
"""An estimator that is not trained yet, and what it is trained on."""


def datasets() -> dict[str, Data]:
    """Features and what is to be predicted, float32."""
    from sklearn import datasets as source

    found = {
        "digits": source.load_digits(return_X_y=True),
        "cancer": source.load_breast_cancer(return_X_y=True),
        "iris": source.load_iris(return_X_y=True),
        "diabetes": source.load_diabetes(return_X_y=True),
    }
    return {name: (x.astype(np.float32), y) for name, (x, y) in found.items()}


def estimators() -> dict[str, Callable[[], Made]]:
    """What is measured, by name."""
    from sklearn import ensemble, linear_model, neighbors, neural_network, pipeline, preprocessing, svm
    from sklearn.impute import SimpleImputer

    data = datasets()
    digits, cancer, diabetes = data["digits"], data["cancer"], data["diabetes"]
    scaled = preprocessing.StandardScaler

    def chain(*steps: Any) -> Any:
        return pipeline.make_pipeline(*steps)

    found: dict[str, Callable[[], Made]] = {
        "StandardScaler + LogisticRegression": lambda: (
            chain(scaled(), linear_model.LogisticRegression(max_iter=1000)),
            digits,
        ),
        "SimpleImputer + StandardScaler + Ridge": lambda: (
            chain(SimpleImputer(), scaled(), linear_model.Ridge()),
            diabetes,
        ),
        "SimpleImputer + OneHotEncoder + LogisticRegression": lambda: (
            chain(
                SimpleImputer(strategy="most_frequent"),
                preprocessing.OneHotEncoder(handle_unknown="ignore"),
                linear_model.LogisticRegression(max_iter=300),
            ),
            digits,
        ),
        "StandardScaler + MLPClassifier": lambda: (
            chain(scaled(), neural_network.MLPClassifier((64,), max_iter=60, random_state=0)),
            digits,
        ),
        "StandardScaler + SVC": lambda: (chain(scaled(), svm.SVC()), cancer),
        "KNeighborsClassifier": lambda: (neighbors.KNeighborsClassifier(), cancer),
        "RandomForestClassifier, 10 classes": lambda: (ensemble.RandomForestClassifier(100, random_state=0), digits),
        "RandomForestClassifier, depth 6": lambda: (
            ensemble.RandomForestClassifier(50, max_depth=6, random_state=0),
            digits,
        ),
        "RandomForestClassifier, 2 classes": lambda: (ensemble.RandomForestClassifier(100, random_state=0), cancer),
        "RandomForestRegressor": lambda: (ensemble.RandomForestRegressor(100, random_state=0), diabetes),
        "ExtraTreesClassifier": lambda: (ensemble.ExtraTreesClassifier(50, random_state=0), digits),
        "GradientBoostingClassifier": lambda: (ensemble.GradientBoostingClassifier(random_state=0), cancer),
        "GradientBoostingClassifier, 1000 trees": lambda: (
            ensemble.GradientBoostingClassifier(n_estimators=1000, random_state=0),
            cancer,
        ),
        "GradientBoostingRegressor": lambda: (ensemble.GradientBoostingRegressor(random_state=0), diabetes),
        "HistGradientBoostingClassifier": lambda: (ensemble.HistGradientBoostingClassifier(random_state=0), cancer),
        "IsolationForest": lambda: (ensemble.IsolationForest(random_state=0), cancer),
    }
    if importlib.util.find_spec("lightgbm"):
        lightgbm = importlib.import_module("lightgbm")

        found["LGBMClassifier"] = lambda: (lightgbm.LGBMClassifier(verbose=-1, random_state=0), cancer)
        found["LGBMRegressor"] = lambda: (lightgbm.LGBMRegressor(verbose=-1, random_state=0), diabetes)
    if importlib.util.find_spec("xgboost"):
        xgboost = importlib.import_module("xgboost")

        found["XGBClassifier"] = lambda: (xgboost.XGBClassifier(n_estimators=100, random_state=0), cancer)
        found["XGBRegressor"] = lambda: (xgboost.XGBRegressor(n_estimators=100, random_state=0), diabetes)
    return found


def fixtures() -> dict[str, Callable[[], Made]]:
    """Small models, each less than 60 kB, one of each form that the rules tell apart."""
    from sklearn import ensemble, linear_model, neural_network, pipeline, preprocessing

    data = datasets()
    iris, cancer, diabetes = data["iris"], data["cancer"], data["diabetes"]
    words = (iris[0], np.array(["setosa", "versicolor", "virginica"])[iris[1]])
    holes = (np.where(np.random.default_rng(0).random(cancer[0].shape) < 0.1, np.nan, cancer[0]), cancer[1])
    half = (iris[0][:, :2], iris[1])
    return {
        "forest_of_three": lambda: (ensemble.RandomForestClassifier(12, random_state=0), iris),
        "forest_of_words": lambda: (ensemble.ExtraTreesClassifier(8, random_state=0), words),
        "forest_mixed": lambda: (ensemble.RandomForestClassifier(8, max_depth=3, random_state=0), iris),
        "forest_of_two": lambda: (ensemble.RandomForestClassifier(12, random_state=0), cancer),
        "forest_regressor": lambda: (ensemble.RandomForestRegressor(4, max_depth=6, random_state=0), diabetes),
        "boosting_of_two": lambda: (ensemble.GradientBoostingClassifier(n_estimators=20, random_state=0), cancer),
        "boosting_of_three": lambda: (ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0), half),
        "boosting_regressor": lambda: (ensemble.GradientBoostingRegressor(n_estimators=20, random_state=0), diabetes),
        "boosting_missing": lambda: (ensemble.HistGradientBoostingClassifier(max_iter=8, random_state=0), holes),
        "scaled_logistic": lambda: (
            pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
            iris,
        ),
        "scaled_ridge": lambda: (
            pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()),
            diabetes,
        ),
        "scaled_network": lambda: (
            pipeline.make_pipeline(
                preprocessing.StandardScaler(), neural_network.MLPClassifier((8,), max_iter=300, random_state=0)
            ),
            iris,
        ),
    }


def train(made: Made, path: Path) -> None:
    """Trains and converts; writes the model and, beside it, rows to run it on."""
    model, (x, y) = made
    model.fit(x, y)
    kind = type(model).__module__.split(".", maxsplit=1)[0]
    if kind in ("lightgbm", "xgboost"):
        convert = getattr(importlib.import_module("onnxmltools"), f"convert_{kind}")
        kinds = importlib.import_module("onnxmltools.convert.common.data_types")
        types = [("X", kinds.FloatTensorType([None, x.shape[1]]))]
        extra = {"zipmap": False} if kind == "lightgbm" and hasattr(model, "classes_") else {}
        proto = convert(model, initial_types=types, target_opset=15, **extra)
    else:
        options = {"zipmap": False} if hasattr(model, "classes_") else None
        proto = importlib.import_module("skl2onnx").to_onnx(
            model, x[:1], options=options, target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET}
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(proto.SerializeToString())
    np.save(path.with_suffix(".npy"), x[:: max(1, len(x) // 600)])


def file_of(folder: Path, name: str) -> Path:
    """The model's file."""
    return folder / ("".join(each if each.isalnum() else "_" for each in name) + ".onnx")


def measured(folder: Path, name: str) -> str:
    """One line of the table."""
    import onnxruntime as ort

    import onnxslim
    from onnxslim.execution import compare_latency

    path = file_of(folder, name)
    slimmed = path.with_name(f"slim_{path.name}")
    with contextlib.redirect_stdout(sys.stderr):  # it prints a table of its own
        onnxslim.slim(str(path), str(slimmed))
    rows = np.load(path.with_suffix(".npy"))
    sessions = [ort.InferenceSession(each, providers=["CPUExecutionProvider"]) for each in (path, slimmed)]
    feed = {sessions[0].get_inputs()[0].name: rows}
    labels, difference = 1.0, 0.0
    for a, b in zip(*(session.run(None, feed) for session in sessions), strict=True):
        if np.issubdtype(np.asarray(a).dtype, np.floating):
            difference = max(difference, float(np.abs(a - b).max()))
        else:
            labels = min(labels, float((np.asarray(a) == np.asarray(b)).mean()))
    ratios = []
    for count in ROWS:
        some = {name: np.resize(value, (count, value.shape[1])) for name, value in feed.items()}
        ratios.append(compare_latency(path, slimmed, [some], threads=1).speedup)
    before, after = path.stat().st_size, slimmed.stat().st_size
    packed = len(gzip.compress(path.read_bytes()))
    sizes = f"{before:,} | {after:,} | {before / after:.1f} | {packed:,}"
    times = " | ".join(f"{ratio:.2f}" for ratio in ratios)
    return f"| {name} | {sizes} | {times} | {difference:.1e} | {labels:.1%} |"


def lines(folder: Path, names: list[str]) -> Iterator[str]:
    """The table."""
    yield "| model | bytes | slimmed | ratio | gzip of the original | 1 row | 256 rows | score differs by | labels |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for name in names:
        yield measured(folder, name)


def main(arguments: list[str]) -> None:
    """Trains what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder of the models")
    parser.add_argument("--fixtures", type=Path, help="write the small models of the tests to this folder, and stop")
    parser.add_argument("--train-only", action="store_true", help="do not measure")
    parser.add_argument("--only", help="models whose names contain this")
    options = parser.parse_args(arguments)
    if options.fixtures:
        for name, make in fixtures().items():
            train(make(), options.fixtures / f"{name}.onnx")
            rows = options.fixtures / f"{name}.npy"
            np.save(rows, np.load(rows)[:60])
        return
    known = estimators()
    there = [name for name in OTHERS if name not in known and file_of(options.models, name).exists()]
    names = [name for name in (*known, *there) if (options.only or "") in name]
    for name in names:
        if not file_of(options.models, name).exists():
            train(known[name](), file_of(options.models, name))
    if not options.train_only:
        for line in lines(options.models, names):
            print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
