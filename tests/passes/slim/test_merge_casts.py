import itertools

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.passes.slim.merge_casts import FLOATS, SIGNED, UNSIGNED, MergeCasts, holds, same_from_either
from tests.passes.slim.tidy import Tidy
from tests.rewriting import assert_declines, assert_rewrites

RULE = Tidy(MergeCasts())
TEXT = '<ir_version: 8, opset_import: ["" : 17]> g ({0}[N] x) => ({1}[N] y) {{ {2} }}'
NUMBER = {"float": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float16": 10, "double": 11}


def model(*types: str) -> str:
    casts = f"m = Cast <to = {NUMBER[types[1]]}> (x) y = Cast <to = {NUMBER[types[2]]}> (m)"
    return TEXT.format(types[0], types[2], casts)


@pytest.mark.parametrize(
    "types",
    [
        ("int32", "int64", "float"),
        ("int32", "int64", "int8"),
        ("float", "double", "float16"),
        ("bool", "float", "int64"),
        ("uint8", "float", "int32"),
        ("int32", "double", "bool"),
        ("float16", "float", "double"),
    ],
)
def test_one_cast_for_two(types: tuple[str, str, str]) -> None:
    if types == ("int32", "int64", "float"):  # runtimes round in more than one way
        assert_declines(model(*types), RULE, reason="may be another number")
        return
    after = TEXT.format(types[0], types[2], f"y = Cast <to = {NUMBER[types[2]]}> (x)")
    assert_rewrites(model(*types), after, RULE)


def test_there_and_back() -> None:
    nodes = "r = Neg(x) m = Cast <to = 11> (r) b = Cast <to = 1> (m) y = Exp(b)"
    assert_rewrites(TEXT.format("float", "float", nodes), TEXT.format("float", "float", "r = Neg(x) y = Exp(r)"), RULE)


@pytest.mark.parametrize(
    ("types", "reason"),
    [
        (("float", "float16", "float"), "does not hold"),
        (("int64", "float", "int64"), "does not hold"),
        (("float", "int64", "float"), "does not hold"),
        (("float", "double", "int32"), "may be another number"),
        (("int32", "double", "int8"), "may be another number"),
        (("float", "double", "float"), "joins an input"),
    ],
)
def test_left_alone(types: tuple[str, str, str], reason: str) -> None:
    assert_declines(model(*types), RULE, reason=reason)


def test_another_use_of_what_is_between() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float16[N] y, double[N] m) '
    assert_declines(text + "{ m = Cast <to = 11> (x) y = Cast <to = 10> (m) }", RULE, reason="another use")


def test_holds_is_true_of_the_extremes() -> None:
    types = [t for t in (*SIGNED, *UNSIGNED, *FLOATS) if t != ir.DataType.BFLOAT16]
    for wide, narrow in itertools.product(types, types):
        if not holds(wide, narrow) or narrow in FLOATS:
            continue
        info = np.iinfo(narrow.numpy())
        for number in (info.min, info.max, info.max - 1):
            assert int(np.array(number, narrow.numpy()).astype(wide.numpy())) == number, (wide, narrow)


def test_any_two_casts_that_merge_agree_in_numpy() -> None:
    types = [t for t in (*SIGNED, *UNSIGNED, *FLOATS) if t != ir.DataType.BFLOAT16]
    for source, between, last in itertools.product(types, types, types):
        if not (holds(between, source) and same_from_either(source, between, last)):
            continue
        if source in FLOATS:
            x = np.array([0.1, -3.7, 1e-5, 60000.0], source.numpy())
        else:
            info = np.iinfo(source.numpy())
            x = np.array([info.min, info.max, 0, 1, info.max // 3], source.numpy())
        with np.errstate(over="ignore"):
            at_once, through = x.astype(last.numpy()), x.astype(between.numpy()).astype(last.numpy())
        assert at_once.tobytes() == through.tobytes(), (source, between, last)
