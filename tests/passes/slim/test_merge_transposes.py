import pytest

from onnxslim.passes.slim.merge_transposes import MergeTransposes
from tests.passes.slim.tidy import Tidy
from tests.rewriting import assert_declines, assert_rewrites

RULE = Tidy(MergeTransposes())
HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[B, 3, N] x) => '


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ("<perm = [1, 2, 0]>", "<perm = [1, 0, 2]>", "<perm = [2, 1, 0]>"),
        ("<perm = [1, 2, 0]>", "<perm = [1, 2, 0]>", "<perm = [2, 0, 1]>"),
        ("", "<perm = [0, 2, 1]>", "<perm = [2, 0, 1]>"),
        ("<perm = [1, 2, 0]>", "", "<perm = [0, 2, 1]>"),
    ],
)
def test_two_become_one(first: str, second: str, both: str) -> None:
    before = HEAD + f"(float[P, Q, R] y) {{ m = Transpose {first} (x) y = Transpose {second} (m) }}"
    assert_rewrites(before, HEAD + f"(float[P, Q, R] y) {{ y = Transpose {both} (x) }}", RULE)


@pytest.mark.parametrize(("first", "second"), [("<perm = [1, 2, 0]>", "<perm = [2, 0, 1]>"), ("", "")])
def test_they_cancel_and_other_uses_stay(first: str, second: str) -> None:
    nodes = f"r = Relu(x) m = Transpose {first} (r) {{}} z = Neg(m)"
    outputs = "(float[P, Q, R] y, float[S, T, U] z)"
    before = f"{HEAD}{outputs} {{ {nodes.format(f't = Transpose {second} (m) y = Exp(t)')} }}"
    assert_rewrites(before, f"{HEAD}{outputs} {{ {nodes.format('y = Exp(r)')} }}", RULE)


def test_one_that_only_transposes_use_dies() -> None:
    outputs = "(float[P, Q, R] y, float[S, T, U] z)"
    nodes = "m = Transpose <perm = [1, 2, 0]> (x) y = Transpose <perm = [1, 0, 2]> (m) "
    nodes += "z = Transpose <perm = [0, 2, 1]> (m)"
    after = "y = Transpose <perm = [2, 1, 0]> (x) z = Transpose <perm = [1, 0, 2]> (x)"
    assert_rewrites(f"{HEAD}{outputs} {{ {nodes} }}", f"{HEAD}{outputs} {{ {after} }}", RULE)


@pytest.mark.parametrize(
    ("nodes", "outputs", "reason"),
    [
        (
            "m = Transpose <perm = [1, 2, 0]> (x) y = Transpose <perm = [1, 0, 2]> (m)  z = Exp(m)",
            "float[P, Q, R] y, float[S, T, U] z",
            "another use",
        ),
        (
            "z = Transpose <perm = [1, 2, 0]> (x) y = Transpose <perm = [1, 0, 2]> (z)",
            "float[P, Q, R] y, float[S, T, U] z",
            "another use",
        ),
        ("m = Transpose (x) y = Transpose (m)", "float[P, Q, R] y", "joins an input"),
    ],
)
def test_left_alone(nodes: str, outputs: str, reason: str) -> None:
    assert_declines(f"{HEAD}({outputs}) {{ {nodes} }}", RULE, reason=reason)
