"""The table of converters. Third parties add theirs with an entry point of the group ``onnxslim.converters``."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.metadata import entry_points

from onnxslim.errors import InputError, SetupError, did_you_mean

GROUP = "onnxslim.converters"
OBJECT = "module:object"
"""The form of what Python imports."""
PICKLE = "unpickling a file runs whatever code it names"
OWN_CODE = "it may bring code of its own that is run"


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which models of a framework are stored.

    Attributes:
        name: A suffix (``.pt2``), or the name of a file by which a folder is known (``saved_model.pb``,
            ``*.pdiparams``).
        danger: Why loading it runs code that the file brings; empty where it does not.
        folder: Whether ``name`` is of a file in a folder.
    """

    name: str
    danger: str = ""
    folder: bool = False

    def __str__(self) -> str:
        return f"folder with {self.name}" if self.folder else self.name


@dataclass(frozen=True, slots=True)
class Converter:
    """How models of one framework become ONNX files.

    Attributes:
        kind: Its name, for ``--from``.
        module: A module of `onnxslim.converters.frameworks`, or the path of a .py file that has a function ``load`` as
            they have; empty where what the file holds decides.
        forms: In which models come, besides `OBJECT`.
        packages: Distributions that the environment needs, as pip is given them.
        imports: What is imported from them.
        exporter: Whose code makes the graph.
        named_forms: Further forms, which others have too: only where the kind is named.
    """

    kind: str
    module: str
    forms: tuple[Form, ...]
    packages: tuple[str, ...]
    imports: tuple[str, ...]
    exporter: str
    named_forms: tuple[Form, ...] = ()


BUILT_IN = (
    Converter(
        "torch",
        "pytorch",
        (Form(".pt2"), Form(".pt", PICKLE), Form(".pth", PICKLE), Form(".torchscript", PICKLE), Form(".ts", PICKLE)),
        ("torch", "onnx", "onnxscript"),
        ("torch", "onnx", "onnxscript"),
        "torch.onnx.export",
    ),
    Converter(
        "sklearn",
        "scikit",
        (Form(".joblib", PICKLE), Form(".pkl", PICKLE), Form(".pickle", PICKLE), Form(".skops")),
        ("scikit-learn", "skl2onnx"),
        ("sklearn", "skl2onnx"),
        "skl2onnx",
    ),
    Converter(
        "lightgbm",
        "boosting",
        (Form(".lgb"),),
        ("lightgbm", "onnxmltools", "skl2onnx"),
        ("lightgbm", "onnxmltools"),
        "onnxmltools",
        (Form(".txt"),),
    ),
    Converter(
        "xgboost",
        "boosting",
        (Form(".ubj"), Form(".xgb")),
        ("xgboost", "onnxmltools", "skl2onnx"),
        ("xgboost", "onnxmltools"),
        "onnxmltools",
        (Form(".json"),),
    ),
    Converter("catboost", "boosting", (Form(".cbm"),), ("catboost", "onnx"), ("catboost",), "CatBoost itself"),
    Converter(
        "keras",
        "keras_models",
        (Form(".keras"), Form(".h5", OWN_CODE), Form(".hdf5", OWN_CODE)),
        ("tensorflow-cpu", "tf2onnx"),
        ("keras",),
        "keras.Model.export",
    ),
    Converter(
        "tensorflow",
        "saved_models",
        (Form("saved_model.pb", folder=True),),
        ("tensorflow-cpu", "tf2onnx"),
        ("tensorflow", "tf2onnx"),
        "tf2onnx",
    ),
    Converter(
        "tflite",
        "tflite_models",
        (Form(".tflite"),),
        ("tensorflow-cpu", "tf2onnx"),
        ("tensorflow", "tf2onnx"),
        "tf2onnx",
    ),
    Converter("jax", "jax_functions", (), ("jax", "jax2onnx"), ("jax", "jax2onnx"), "jax2onnx"),
    Converter(
        "huggingface",
        "huggingface",
        (Form("config.json", folder=True),),
        ("torch", "transformers", "optimum-onnx", "onnxruntime"),
        ("torch", "transformers", "optimum"),
        "optimum",
    ),
    Converter(
        "paddle",
        "paddle_models",
        (Form(".pdmodel"), Form(".pdiparams"), Form("*.pdiparams", folder=True)),
        ("paddlepaddle", "paddle2onnx", "packaging"),
        ("paddle", "paddle2onnx", "packaging"),
        "paddle2onnx",
        (Form(".json"),),
    ),
)


@functools.cache
def converters() -> dict[str, Converter]:
    """Kind -> converter, of all that are installed, the built-in ones first.

    Raises:
        SetupError: Two claim one kind, or an entry point holds none.
    """
    table = {each.kind: each for each in BUILT_IN}
    for entry in sorted(entry_points(group=GROUP), key=lambda each: (each.name, each.value)):
        try:
            found = entry.load()
        except Exception as error:
            raise SetupError(
                f"the converter {entry.name!r} cannot be imported",
                where=entry.value,
                why=f"{type(error).__name__}: {error}",
                mend="uninstall the package that brings it, or mend it",
            ) from error
        if not isinstance(found, Converter):
            raise SetupError(f"{entry.value} is no Converter", where=f"entry point {entry.name!r} of {GROUP}")
        if found.kind in table:
            raise SetupError(
                f"two converters are of the kind {found.kind!r}", where=entry.value, mend="uninstall one of them"
            )
        table[found.kind] = found
    return table


def converter_of(kind: str) -> Converter:
    """The converter of a kind.

    Raises:
        InputError: There is none; the message lists near names.
    """
    table = converters()
    if kind not in table:
        raise InputError(f"there is no converter {kind!r}", where="--from", mend=did_you_mean(kind, table))
    return table[kind]
