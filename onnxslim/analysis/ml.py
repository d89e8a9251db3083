"""Shape rules of ``ai.onnx.ml``, as onnxruntime computes them: onnx knows some of these operators, and types at most.

Rows are the first dim of a matrix; a vector is one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx_ir as ir

from onnxslim.analysis.dims import Dim
from onnxslim.analysis.facts import Fact
from onnxslim.analysis.operator import Operator, Rule, registering
from onnxslim.ops.ml import class_labels

ML_RULES: Final[dict[str, Rule]] = {}
rule = registering(ML_RULES)

FLOAT, INT64, STRING = ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.STRING


@rule("Scaler", "Normalizer")
def _scaled(op: Operator) -> Sequence[Fact]:
    return [Fact(FLOAT, op.shape(0))]


@rule("Binarizer", "Imputer")
def _same(op: Operator) -> Sequence[Fact]:
    return [Fact(op.fact(0).dtype, op.shape(0))]


@rule("LabelEncoder")
def _label_encoder(op: Operator) -> Sequence[Fact]:
    """Version 1 turns strings into integers and integers into strings; others give what the attribute holds."""
    if op.version < 2:
        return [Fact(_other(op.fact(0).dtype), op.shape(0))]
    table = op.attribute("values_tensor")
    dtype = table.value.dtype if table is not None else None
    for name, kind in (("values_strings", STRING), ("values_int64s", INT64), ("values_floats", FLOAT)):
        if op.attribute(name) is not None:
            dtype = kind
    return [Fact(dtype, op.shape(0))]


@rule("CategoryMapper")
def _category_mapper(op: Operator) -> Sequence[Fact]:
    return [Fact(_other(op.fact(0).dtype), op.shape(0))]


@rule("OneHotEncoder")
def _one_hot(op: Operator) -> Sequence[Fact]:
    x, count = op.shape(0), _length(op, "cats_strings", "cats_int64s")
    return [Fact(FLOAT, None if x is None or not count else (*x, count))]


@rule("ArrayFeatureExtractor")
def _extractor(op: Operator) -> Sequence[Fact]:
    """The last dim becomes as long as there are places; of a vector one row is made."""
    x, places = op.shape(0), op.shape(1)
    shape = None
    if x and places is not None:
        count: Dim = 1
        for dim in places:
            count = dim if count == 1 else count * dim
        shape = (1, count) if len(x) == 1 else (*x[:-1], count)
    return [Fact(op.fact(0).dtype, shape)]


@rule("FeatureVectorizer")
def _vectorizer(op: Operator) -> Sequence[Fact]:
    sizes = op.attribute("inputdimensions")
    width: Dim = sum(sizes.as_ints()) if sizes is not None else op.symbols.dim()
    return [Fact(FLOAT, (_rows(op), width))]


@rule("DictVectorizer")
def _dict_vectorizer(op: Operator) -> Sequence[Fact]:
    count = _length(op, "string_vocabulary", "int64_vocabulary")
    return [Fact(None, (1, count if count else op.symbols.dim()))]


@rule("LinearRegressor")
def _linear_regressor(op: Operator) -> Sequence[Fact]:
    return [Fact(FLOAT, (_rows(op), op.get("targets", 1)))]


@rule("SVMRegressor")
def _svm_regressor(op: Operator) -> Sequence[Fact]:
    return [Fact(FLOAT, (_rows(op), 1))]


@rule("TreeEnsembleRegressor")
def _tree_regressor(op: Operator) -> Sequence[Fact]:
    return [Fact(FLOAT, (_rows(op), _targets(op)))]


@rule("TreeEnsemble")
def _tree_ensemble(op: Operator) -> Sequence[Fact]:
    return [Fact(op.fact(0).dtype, (_rows(op), _targets(op)))]


@rule("TreeEnsembleClassifier")
def _tree_classifier(op: Operator) -> Sequence[Fact]:
    labels = class_labels(op.node)
    return _classified(op, op.symbols.dim() if labels is None else labels[0])


@rule("LinearClassifier")
def _linear_classifier(op: Operator) -> Sequence[Fact]:
    """A score for each intercept; two where there is one intercept and two labels."""
    labels, intercepts = class_labels(op.node), _length(op, "intercepts")
    width: Dim = intercepts or op.symbols.dim()
    if intercepts == 1 and labels is not None and labels[0] == 2:
        width = 2
    return _classified(op, width)


@rule("SVMClassifier")
def _svm_classifier(op: Operator) -> Sequence[Fact]:
    """How many scores there are depends on kernel and probabilities; it is left open."""
    return _classified(op, op.symbols.dim())


def _classified(op: Operator, width: Dim) -> Sequence[Fact]:
    """The label and the scores of each row."""
    labels, rows = class_labels(op.node), _rows(op)
    return [Fact(None if labels is None else labels[1], (rows,)), Fact(FLOAT, (rows, width))]


def _rows(op: Operator) -> Dim:
    x = op.shape(0)
    if not x:
        return op.symbols.dim()
    return 1 if len(x) == 1 else x[0]


def _targets(op: Operator) -> Dim:
    count = op.get("n_targets", 0)
    return count if count > 0 else op.symbols.dim()


def _length(op: Operator, *names: str) -> int:
    """Length of the first of these attributes that is there; 0 where none is."""
    return next((len(found.value) for name in names if (found := op.attribute(name)) is not None), 0)


def _other(dtype: ir.DataType | None) -> ir.DataType | None:
    """The type that an operator between strings and integers gives."""
    return {STRING: INT64, INT64: STRING}.get(dtype) if dtype is not None else None
