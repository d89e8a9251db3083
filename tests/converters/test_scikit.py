"""scikit-learn estimators by skl2onnx in the child, and in this process by the export step."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx_ir as ir
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

import onnxslim
from onnxslim.converters.inputs import resembling
from onnxslim.converters.local import LocalFramework
from onnxslim.converters.verify import verified
from onnxslim.errors import CheckFailed, InputError
from onnxslim.execution import open_session

X, Y = load_iris(return_X_y=True)
X = X.astype(np.float32)


def saved(folder: Path, estimator: Any) -> Path:
    path = folder / "estimator.joblib"
    joblib.dump(estimator, path)
    return path


ESTIMATORS = {
    "classifier": (make_pipeline(StandardScaler(), LogisticRegression()), ["label", "probabilities"]),
    "forest": (RandomForestClassifier(10, random_state=0), ["label", "probabilities"]),
    "scores only": (make_pipeline(StandardScaler(), LinearSVC()), ["label", "probabilities"]),
    "regressor": (LinearRegression(), ["variable"]),
    "transformer": (StandardScaler(), ["variable"]),
    "outliers": (IsolationForest(n_estimators=10, random_state=0), ["label", "scores"]),
}


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_an_estimator_is_converted_and_compared(tmp_path: Path, kind: str) -> None:
    estimator, outputs = ESTIMATORS[kind]
    target = tmp_path / "net.onnx"
    report = onnxslim.convert(saved(tmp_path, estimator.fit(X, Y)), target, trust_code=True).report
    assert report.parity.passed
    assert report.parity.feeds == 6
    session = open_session(str(target))
    assert [port.name for port in session.outputs] == outputs
    found = session.run({"X": X})
    if hasattr(estimator, "predict"):
        np.testing.assert_array_equal(
            np.ravel(found[outputs[0]]).round(3), np.ravel(estimator.predict(X)).astype(np.float32).round(3)
        )


def test_text_in_columns(tmp_path: Path) -> None:
    words = np.array([["a", "x"], ["b", "y"], ["a", "y"], ["c", "x"]] * 5, dtype=object)
    estimator = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(words, [0, 1] * 10)
    report = onnxslim.convert(saved(tmp_path, estimator), trust_code=True).report
    assert report.parity.passed
    assert report.inputs[0].dtype == "string"


def test_what_cannot_be_converted_is_said_and_not_written(tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    estimator = SequentialFeatureSelector(LinearRegression(), n_features_to_select=2).fit(X, Y)
    with pytest.raises(CheckFailed, match="skl2onnx cannot convert"):
        onnxslim.convert(saved(tmp_path, estimator), target, trust_code=True)
    path = saved(tmp_path, LinearRegression().fit(X, Y))
    with pytest.raises(InputError, match="--trust-code"):
        onnxslim.convert(path, target)
    (tmp_path / "hostile.pkl").write_bytes(pickle.dumps({"no": "estimator"}))
    with pytest.raises(InputError, match="not an estimator"):
        onnxslim.convert(tmp_path / "hostile.pkl", target, trust_code=True)
    with pytest.raises(InputError, match="not fitted"):
        onnxslim.convert(saved(tmp_path, LinearRegression()), target, trust_code=True)
    assert not target.exists()


def test_a_hostile_pickle_is_not_read_unless_it_is_trusted(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "touched",))

    (tmp_path / "hostile.pkl").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(InputError, match="--trust-code"):
        onnxslim.convert(tmp_path / "hostile.pkl")
    assert not (tmp_path / "touched").exists()


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_the_export_step_compresses_and_leaves_the_estimator_alone(tmp_path: Path) -> None:
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    net = MLPClassifier((64,), max_iter=60, random_state=0).fit(x[:1200], y[:1200])
    with onnxslim.record(net, n=200) as samples:
        net.predict_proba(x[1200:])
    assert len(samples) == 200
    assert samples[0].feed["X"].shape == (1, 64)
    assert "predict_proba" not in vars(net)
    target, report = tmp_path / "small.onnx", tmp_path / "report.json"
    result = onnxslim.export(
        net, output=target, samples=samples, min_sqnr=20.0, goal="smallest", time=8.0, bench=False, report=report
    )
    assert result.report.converted is not None
    assert result.report.converted.framework.startswith("scikit-learn")
    assert result.report.decision in ("compressed", "weights in few bits")
    assert target.stat().st_size < result.report.converted.size / 2
    assert '"framework": "scikit-learn' in report.read_text()
    assert "converted from scikit-learn" in str(result.report)


def test_an_export_that_fails_writes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    net = LinearRegression().fit(X, Y)
    with pytest.raises(InputError, match="goal needs samples"):
        onnxslim.export(net, output=target, goal="smallest")
    with pytest.raises(InputError, match="no converter knows"):
        onnxslim.export(object(), output=target)
    with pytest.raises(InputError, match="not fitted"):
        onnxslim.export(LinearRegression(), output=target)
    assert not target.exists()
    assert onnxslim.export(net, output=target).report.decision in ("unchanged", "slimmed")


def test_missing_numbers_are_compared_where_they_are_allowed(tmp_path: Path) -> None:
    holes = X.copy()
    holes[::7, 1] = np.nan
    estimator = make_pipeline(SimpleImputer(strategy="median"), LogisticRegression(max_iter=500)).fit(holes, Y)
    framework = LocalFramework(estimator)
    example = framework.example()
    assert example is not None
    assert np.isnan(example["X"]).any()
    assert all(np.isnan(each["X"]).any() for each in resembling(example))
    assert onnxslim.convert(saved(tmp_path, estimator), trust_code=True).report.parity.passed
    path = str(tmp_path / "wrong.onnx")
    framework.export(path)
    model = onnxslim.load(path)
    imputer = next(node for node in model.graph if node.op_type == "Imputer")
    wrong = [each + 1 for each in imputer.attributes["imputed_value_floats"].as_floats()]
    imputer.attributes["imputed_value_floats"] = ir.AttrFloat32s("imputed_value_floats", wrong)
    onnxslim.save(model, path)
    assert not verified(framework, path, resembling(example), evidence="random inputs").passed


def test_columns_of_a_table_keep_their_scales() -> None:
    table = np.column_stack([np.linspace(0, 1, 32), np.linspace(1e4, 2e4, 32)]).astype(np.float32)
    for feed in resembling({"X": table})[1:]:
        assert feed["X"][:, 0].max() < 3
        assert feed["X"][:, 1].min() > 5e3
