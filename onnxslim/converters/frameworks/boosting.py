"""Boosted trees: LightGBM and XGBoost by onnxmltools, CatBoost by its own export."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from .base import Exported, ExportOptions, Feed, LoadRequest, Operation, Refused, last_line
from .kinds import libraries

INPUT = "X"
ROWS = 32


class Booster:
    """See `onnxslim.converters.frameworks.base.FrameworkModel`.

    Args:
        model: A booster or an estimator of one of the libraries.
        library: Its name.
        notes: Of loading.
    """

    narrows = True

    def __init__(self, model: Any, library: str, notes: list[str]) -> None:
        self.model, self.library, self.notes = model, library, notes
        module = __import__(library)
        self.framework = f"{_TITLES[library]} {module.__version__}"
        self.input = "features" if library == "catboost" else INPUT

    @property
    def width(self) -> int:
        """Columns of the input."""
        for name in ("n_features_in_", "n_features_"):
            if isinstance(found := getattr(self.model, name, None), int) and found:
                return found
        if self.library == "xgboost":
            booster = self.model if hasattr(self.model, "num_features") else self.model.get_booster()
            return int(booster.num_features())
        if self.library == "lightgbm":
            return int(self.model.num_feature())
        return len(self.model.feature_names_)

    def example(self) -> Feed | None:
        """Numbers around the splits where the library tells them, else standard normal ones."""
        generator = np.random.default_rng(0)
        centre, spread = np.zeros(self.width), np.ones(self.width)
        for place, splits in self._splits().items():
            centre[place], spread[place] = np.mean(splits), np.std(splits) or 1.0
        return {self.input: np.asarray(generator.normal(centre, 1.2 * spread, (ROWS, self.width)), np.float32)}

    def _splits(self) -> dict[int, list[float]]:
        found: dict[int, list[float]] = {}
        if self.library == "lightgbm":
            booster = getattr(self.model, "booster_", self.model)
            stack = [each["tree_structure"] for each in booster.dump_model()["tree_info"]]
            while stack:
                node = stack.pop()
                if "split_feature" in node:
                    if isinstance(node["threshold"], int | float):
                        found.setdefault(int(node["split_feature"]), []).append(float(node["threshold"]))
                    stack += [node["left_child"], node["right_child"]]
        elif self.library == "xgboost":
            booster = self.model if hasattr(self.model, "num_features") else self.model.get_booster()
            names = booster.feature_names or [f"f{place}" for place in range(self.width)]
            table = booster.get_dump(dump_format="text")
            for line in "\n".join(table).splitlines():
                if "[" in line and "<" in line:
                    name, _, threshold = line.partition("[")[2].partition("]")[0].partition("<")
                    if name in names:
                        found.setdefault(names.index(name), []).append(float(threshold))
        else:
            for place, borders in (self.model.get_borders() or {}).items():
                if borders:
                    found[int(place)] = [float(each) for each in borders]
        return found

    def export(self, options: ExportOptions) -> Exported:
        """By the library's exporter."""
        if self.library == "catboost":
            try:
                self.model.save_model(options.path, format="onnx")
            except Exception as error:
                raise Refused("CatBoost cannot export the model", why=last_line(error)) from error
            return Exported(f"CatBoost's own export ({self.framework})")
        import onnxmltools
        from onnxmltools.convert.common.data_types import FloatTensorType

        convert = getattr(onnxmltools, f"convert_{self.library}")
        types = [(INPUT, FloatTensorType([None, self.width]))]
        more: dict[str, Any] = {} if options.opset is None else {"target_opset": options.opset}
        if self.library == "lightgbm":
            more["zipmap"] = False
        try:
            made = convert(self.model, initial_types=types, **more)
        except Exception as error:
            raise Refused("onnxmltools cannot convert the model", why=last_line(error)) from error
        with open(options.path, "wb") as file:
            file.write(made.SerializeToString())
        return Exported(f"onnxmltools {onnxmltools.__version__}")

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """Label and probabilities of a classifier, else values; boosters answer as their objective says."""
        given = feed[self.input]
        if hasattr(self.model, "predict_proba"):
            label = np.asarray(self.model.predict(given)).reshape(-1)
            return [("label", label), ("probabilities", np.asarray(self.model.predict_proba(given)))]
        if self.library == "xgboost" and not hasattr(self.model, "get_booster"):
            import xgboost

            given = xgboost.DMatrix(given, feature_names=self.model.feature_names)
        found = np.asarray(self.model.predict(given))
        objective = self._objective()
        if "multi" in objective and found.ndim == 1:  # labels alone; the file gives probabilities, too
            margins = np.asarray(self.model.predict(given, output_margin=True))
            powers = np.exp(margins - margins.max(1, keepdims=True))
            return [("label", found.astype(np.int64)), ("probabilities", powers / powers.sum(1, keepdims=True))]
        if "multi" in objective or (found.ndim == 2 and found.shape[1] > 1):
            return [("label", found.argmax(1)), ("probabilities", found)]
        if "binary" in objective or "logistic" in objective:
            chance = found.reshape(-1)
            return [("label", (chance > 0.5).astype(np.int64)), ("probabilities", np.stack([1 - chance, chance], 1))]
        return [("variable", found.reshape(-1, 1))]

    def _objective(self) -> str:
        if self.library == "lightgbm":
            booster = getattr(self.model, "booster_", self.model)
            return str(booster.dump_model(num_iteration=1).get("objective", ""))
        if self.library == "xgboost":
            import json

            booster = self.model if hasattr(self.model, "save_config") else self.model.get_booster()
            return str(json.loads(booster.save_config())["learner"]["objective"]["name"])
        return ""

    def trace(self, feed: Feed) -> list[Operation] | None:
        """Nothing: a sum of trees has no steps."""
        return None


_TITLES = {"lightgbm": "LightGBM", "xgboost": "XGBoost", "catboost": "CatBoost"}


def load(request: LoadRequest) -> Booster:
    """A model from a file in the library's own format, or an object."""
    if request.form == "module:object":
        return of_object(request.loaded, [])
    if request.form in (".lgb", ".txt"):
        import lightgbm

        return Booster(lightgbm.Booster(model_file=request.source), "lightgbm", [])
    if request.form == ".cbm":
        import catboost

        found = catboost.CatBoost()
        found.load_model(request.source)
        kind = catboost.CatBoostClassifier if len(getattr(found, "classes_", ())) else catboost.CatBoostRegressor
        found = kind()
        found.load_model(request.source)
        return Booster(found, "catboost", [])
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(request.source)
    return Booster(booster, "xgboost", [])


def of_object(model: Any, notes: list[str]) -> Booster:
    """A booster or an estimator."""
    library = next(each for each in _TITLES if each in libraries(model))
    return Booster(model, library, notes)


def register(known: Collection[str]) -> None:
    """Tells skl2onnx how estimators of these libraries are converted."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    classes, values = calculate_linear_classifier_output_shapes, calculate_linear_regressor_output_shapes
    if "lightgbm" in known:
        from lightgbm import LGBMClassifier, LGBMRegressor
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        update_registered_converter(LGBMClassifier, "LGBMClassifier", classes, convert_lightgbm, options=options)
        update_registered_converter(LGBMRegressor, "LGBMRegressor", values, convert_lightgbm)
    if "xgboost" in known:
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
        from xgboost import XGBClassifier, XGBRegressor

        update_registered_converter(XGBClassifier, "XGBClassifier", classes, convert_xgboost, options=options)
        update_registered_converter(XGBRegressor, "XGBRegressor", values, convert_xgboost)
