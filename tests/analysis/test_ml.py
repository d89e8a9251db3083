"""Shapes and types of ``ai.onnx.ml``, compared with what onnxruntime gives."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from onnxslim.analysis import infer_shapes
from onnxslim.graph import parse, to_proto

HEAD = '<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : %d]> g '
LEAF = (
    'nodes_treeids = [0], nodes_nodeids = [0], nodes_featureids = [0], nodes_modes = ["LEAF"], nodes_values = [0.0], '
    "nodes_truenodeids = [0], nodes_falsenodeids = [0]"
)
FLOATS, INTS, TEXTS = np.ones((4, 3), np.float32), np.ones((4, 3), np.int64), np.array([["a", "b", "a"]] * 4, object)

CASES = {
    "Scaler": ("<offset = [0.0], scale = [2.0]> (x)", FLOATS, 1, "float"),
    "Scaler of integers": ("<offset = [0.0], scale = [2.0]> (x)", INTS, 1, "float"),
    "Normalizer": ('<norm = "L2"> (x)', FLOATS, 1, "float"),
    "Imputer": ("<imputed_value_floats = [0.0], replaced_value_float = 1.0> (x)", FLOATS, 1, "float"),
    "Binarizer": ("<threshold = 0.5> (x)", FLOATS, 1, "float"),
    "OneHotEncoder": ("<cats_int64s = [1, 2], zeros = 1> (x)", INTS, 1, "float"),
    "OneHotEncoder of words": ('<cats_strings = ["a", "b", "c"], zeros = 1> (x)', TEXTS, 1, "float"),
    "LabelEncoder of words": ('<keys_strings = ["a", "b"], values_int64s = [1, 2]> (x)', TEXTS, 3, "int64"),
    "LabelEncoder to words": ('<keys_int64s = [1, 2], values_strings = ["a", "b"]> (x)', INTS, 3, "string"),
    "LabelEncoder to floats": ('<keys_strings = ["a"], values_floats = [1.0]> (x)', TEXTS, 3, "float"),
    "LabelEncoder of version 1": ('<classes_strings = ["a", "b"]> (x)', TEXTS, 1, "int64"),
    "CategoryMapper": ('<cats_strings = ["a", "b"], cats_int64s = [0, 1]> (x)', TEXTS, 1, "int64"),
    "FeatureVectorizer": ("<inputdimensions = [3, 3]> (x, x)", FLOATS, 1, "float"),
    "ArrayFeatureExtractor": ("(x, places)", FLOATS, 1, "float"),
    "ArrayFeatureExtractor of a vector": ("(x, places)", FLOATS[0], 1, "float"),
    "LinearRegressor": ("<coefficients = [1.0,1.0,1.0,1.0,1.0,1.0], targets = 2> (x)", FLOATS, 1, "float"),
    "LinearClassifier": (
        "<coefficients = [1.0,1.0,1.0,1.0,1.0,1.0,1.0,1.0,1.0], intercepts = [0.0,0.0,0.0], classlabels_ints = [0,1,2]>"
        " (x)",
        FLOATS,
        1,
        "int64 float",
    ),
    "LinearClassifier of two": (
        '<coefficients = [1.0,1.0,1.0], intercepts = [0.0], classlabels_strings = ["a","b"]> (x)',
        FLOATS,
        1,
        "string float",
    ),
    "SVMRegressor": (
        '<coefficients = [1.0,1.0,1.0], kernel_type = "LINEAR", n_supports = 0, rho = [0.0], '
        "kernel_params = [0.0,0.0,3.0]> (x)",
        FLOATS,
        1,
        "float",
    ),
    "SVMClassifier": (
        '<coefficients = [1.0,-1.0], kernel_type = "LINEAR", rho = [0.0], classlabels_ints = [0,1], '
        "vectors_per_class = [1,1], support_vectors = [1.0,2.0,3.0,4.0,5.0,6.0], kernel_params = [0.0,0.0,3.0]> (x)",
        FLOATS,
        1,
        "int64 float",
    ),
    "TreeEnsembleRegressor": (
        f"<{LEAF}, n_targets = 2, target_treeids = [0], target_nodeids = [0], target_ids = [1], target_weights = [2.0]>"
        " (x)",
        FLOATS,
        3,
        "float",
    ),
    "TreeEnsembleClassifier": (
        f"<{LEAF}, classlabels_int64s = [4, 5, 6], class_treeids = [0], class_nodeids = [0], class_ids = [1], "
        "class_weights = [2.0]> (x)",
        FLOATS,
        3,
        "int64 float",
    ),
    "TreeEnsembleClassifier of two": (
        f'<{LEAF}, classlabels_strings = ["a", "b"], class_treeids = [0], class_nodeids = [0], class_ids = [0], '
        "class_weights = [2.0]> (x)",
        FLOATS,
        3,
        "string float",
    ),
    "TreeEnsemble": (
        "<n_targets = 2, tree_roots = [0], nodes_featureids = [0], nodes_splits = float[1] {1.0}, "
        "nodes_modes = uint8[1] {0}, nodes_truenodeids = [0], nodes_falsenodeids = [0], nodes_trueleafs = [1], "
        "nodes_falseleafs = [1], leaf_targetids = [1], leaf_weights = float[1] {2.0}> (x)",
        FLOATS,
        5,
        "float",
    ),
}
"""Attributes and inputs, the first input, the version of the domain, and types of the outputs."""


def model_of(case: str, x: str) -> ir.Model:
    rest, _, version, types = CASES[case]
    outputs = [f"{kind}[] y{at}" for at, kind in enumerate(types.split())]
    names = ", ".join(f"y{at}" for at in range(len(outputs)))
    places = " <int64[2] places = {0, 2}>" if "places" in rest else ""
    call = f"{names} = ai.onnx.ml.{case.split(maxsplit=1)[0]} {rest}"
    return parse(f"{HEAD % version}({x}) => ({', '.join(outputs)}){places} {{ {call} }}")


def kind_of(x: np.ndarray) -> str:
    return {"f": "float", "i": "int64", "O": "string"}[x.dtype.kind]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("symbolic", [False, True])
def test_onnxruntime_gives_what_was_inferred(case: str, symbolic: bool) -> None:
    x = CASES[case][1]
    dims = list(map(str, x.shape))
    if symbolic:
        dims[0] = "N"
    model = model_of(case, f"{kind_of(x)}[{', '.join(dims)}] x")
    facts = infer_shapes(model)
    session = ort.InferenceSession(to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    for value, found in zip(model.graph.outputs, session.run(None, {"x": x}), strict=True):
        shape = facts.shape(value)
        assert facts.dtype(value) is not None
        wanted = ir.DataType.STRING if found.dtype.kind == "O" else ir.DataType.from_numpy(found.dtype)
        assert facts.dtype(value) == wanted
        assert shape is not None
        assert len(shape) == found.ndim
        for dim, size in zip(shape, found.shape, strict=True):
            assert dim == size if isinstance(dim, int) else str(dim) in ("N", str(dim))
        if not symbolic and case != "SVMClassifier":
            assert all(isinstance(dim, int) for dim in shape)


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_known_stays_unknown(case: str) -> None:
    """Of an input without a shape no rank is made up but that of a matrix."""
    model = model_of(case, f"{kind_of(CASES[case][1])}[] x")
    facts = infer_shapes(model)
    assert not facts.problems
    for value in model.graph.outputs:
        shape = facts.shape(value)
        assert shape is None or not isinstance(shape[0], int)
