import pytest

from onnxslim.passes.slim.sink_below_concat import SinkBelowConcat
from tests.passes.slim.tidy import TidyNumeric
from tests.rewriting import assert_declines, assert_rewrites

RULE = TidyNumeric(SinkBelowConcat())
HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[N, M, 3] a, float[N, K, 3] b) => '


@pytest.mark.parametrize(
    ("nodes", "merged"),
    [
        ("p = Exp(a) q = Exp(b) y = Concat <axis = 1> (p, q)", "c = Concat <axis = 1> (a, b) y = Exp(c)"),
        ("p = Relu(a) q = Relu(b) y = Concat <axis = -2> (p, q)", "c = Concat <axis = 1> (a, b) y = Relu(c)"),
        (
            "p = LeakyRelu <alpha = 0.01> (a) q = LeakyRelu (b) y = Concat <axis = 1> (p, q)",
            "c = Concat <axis = 1> (a, b) y = LeakyRelu <alpha = 0.01> (c)",
        ),
        (
            "p = Transpose <perm = [1, 2, 0]> (a) q = Transpose <perm = [1, 2, 0]> (b) y = Concat <axis = 0> (p, q)",
            "c = Concat <axis = 1> (a, b) y = Transpose <perm = [1, 2, 0]> (c)",
        ),
        (
            "p = Transpose (a) q = Transpose <perm = [2, 1, 0]> (b) y = Concat <axis = -2> (p, q)",
            "c = Concat <axis = 1> (a, b) y = Transpose <perm = [2, 1, 0]> (c)",
        ),
    ],
)
def test_one_for_all_parts(nodes: str, merged: str) -> None:
    assert_rewrites(f"{HEAD}(float[P, Q, R] y) {{ {nodes} }}", f"{HEAD}(float[P, Q, R] y) {{ {merged} }}", RULE)


@pytest.mark.parametrize(
    ("nodes", "outputs", "reason"),
    [
        ("p = Exp(a) q = Log(b) y = Concat <axis = 1> (p, q)", "", None),
        ("p = Exp(a) q = Exp(b) y = Concat <axis = 1> (p, q, a)", "", None),
        ("p = Exp(a) q = Exp(b) z = Neg(q) y = Concat <axis = 1> (p, q)", ", float[S, T, U] z", "another use"),
        ("p = Exp(a) q = Exp(b) y = Concat <axis = 1> (p, q)", ", float[S, T, U] q", "another use"),
        ("p = Exp(a) y = Concat <axis = 1> (p, p)", "", "twice"),
        ("p = Elu(a) q = Elu <alpha = 0.5> (b) y = Concat <axis = 1> (p, q)", "", "attributes differ"),
        (
            "k = Cast <to = 6> (a) p = Cast <to = 7> (k) q = Cast <to = 7> (b) y = Concat <axis = 1> (p, q)",
            "",
            "dtypes",
        ),
        ("e = Add(a, a) p = Relu(e) q = Relu(b) y = Concat <axis = 1> (p, q)", "", "fuse"),
        (
            "e = Exp(a) p = Transpose (e) q = Transpose <perm = [0, 1, 2]> (b) y = Concat <axis = 1> (p, q)",
            "",
            "permutations",
        ),
    ],
)
def test_left_alone(nodes: str, outputs: str, reason: str | None) -> None:
    head = HEAD
    y = "int64[P, Q, R] y" if "Cast" in nodes else "float[P, Q, R] y"
    assert_declines(f"{head}({y}{outputs}) {{ {nodes} }}", RULE, reason=reason)
