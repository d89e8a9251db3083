import pytest

from onnxslim.passes.slim.fuse_reduce_mean import FuseReduceMean
from tests.passes.slim.fused import Fused
from tests.rewriting import assert_declines, assert_rewrites


def model(body: str, *, opset: int = 13, dtype: str = "float", number: float = 0.25, dims: str = "N, 4, 5") -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]> g ({dtype}[{dims}] x) => ({dtype}[N, A, 5] y)
        <{dtype} n = {{{number}}}{", int64[1] axis = {1}" if "axis)" in body else ""}> {{ {body} }}"""


def after(node: str, **options: object) -> str:
    text = model(f"y = {node}", **options)  # type: ignore[arg-type]
    return text.replace("<float n = {0.25}, int64", "<int64").replace("<float n = {0.25}>", "")


SUM = "s = ReduceSum(x, axis)  y = Mul(n, s)"


def test_mean() -> None:
    old = "s = ReduceSum <axes = [-2]> (x)  y = Div(s, n)"
    assert_rewrites(
        model(old, opset=11, number=4.0), after("ReduceMean <axes = [1]> (x)", opset=11), Fused(FuseReduceMean())
    )
    assert_rewrites(model(SUM), after("ReduceMean <axes = [1]> (x)"), Fused(FuseReduceMean()))
    assert_rewrites(model(SUM, opset=18), after("ReduceMean(x, axis)", opset=18), Fused(FuseReduceMean()))
    flat = SUM.replace("ReduceSum", "ReduceSum <keepdims = 0, noop_with_empty_axes = 1>")
    assert_rewrites(
        model(flat).replace("N, A, 5", "N, 5"),
        after("ReduceMean <axes = [1], keepdims = 0> (x)").replace("N, A, 5", "N, 5"),
        Fused(FuseReduceMean()),
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (model(SUM, number=0.2), None),
        (model(SUM.replace("Mul(n, s)", "Div(n, s)"), number=4), None),
        (model(SUM, dims="N, K, 5"), "not known"),
        (model(SUM).replace("5] y)", "5] y, float[N, A, 5] s)"), "others need"),
        (model("s = ReduceSum <noop_with_empty_axes = 1> (x)  y = Mul(s, n)"), "not known"),
        (model(SUM, dims="N, 0, 5"), "not known"),
        (model(SUM).replace("5] x)", "5] x, int64[1] axis)").replace(", int64[1] axis = {1}", ""), "not known"),
    ],
)
def test_near_misses(text: str, reason: str | None) -> None:
    assert_declines(text, FuseReduceMean(), reason=reason)
