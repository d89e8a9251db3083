import pytest

from onnxslim.passes.slim.merge_concats import MergeConcats
from tests.passes.slim.tidy import Tidy
from tests.rewriting import assert_declines, assert_rewrites

RULE = Tidy(MergeConcats())
HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[N, M] a, float[N, K] b, float[N, L] c) => '


@pytest.mark.parametrize(
    ("nodes", "merged"),
    [
        ("m = Concat <axis = 1> (a, b) y = Concat <axis = 1> (m, c)", "y = Concat <axis = 1> (a, b, c)"),
        ("m = Concat <axis = -1> (b, c) y = Concat <axis = 1> (a, m)", "y = Concat <axis = 1> (a, b, c)"),
        ("m = Concat <axis = 1> (a, b) y = Concat <axis = -1> (m, c, m)", "y = Concat <axis = -1> (a, b, c, a, b)"),
        (
            "m = Concat <axis = 1> (a, b) k = Concat <axis = 1> (m, c) y = Concat <axis = 1> (k, a)",
            "y = Concat <axis = 1> (a, b, c, a)",
        ),
    ],
)
def test_one_concat_for_several(nodes: str, merged: str) -> None:
    assert_rewrites(f"{HEAD}(float[P, Q] y) {{ {nodes} }}", f"{HEAD}(float[P, Q] y) {{ {merged} }}", RULE)


@pytest.mark.parametrize(
    ("nodes", "outputs", "reason"),
    [
        ("m = Concat <axis = 0> (a, a) k = Concat <axis = 0> (b, b) y = Concat <axis = 1> (m, k)", "", "another axis"),
        ("m = Concat <axis = 1> (a, b) z = Exp(m) y = Concat <axis = 1> (m, c)", ", float[R, S] z", "another use"),
        ("m = Concat <axis = 1> (a, b) y = Concat <axis = 1> (m, c)", ", float[R, S] m", "another use"),
    ],
)
def test_left_alone(nodes: str, outputs: str, reason: str) -> None:
    assert_declines(f"{HEAD}(float[P, Q] y{outputs}) {{ {nodes} }}", RULE, reason=reason)
