from onnxslim.passes.slim import RemoveIdentity
from onnxslim.passes.slim.plain_cast import PlainCast
from tests.passes.slim.tidy import Tidy
from tests.rewriting import assert_declines, assert_rewrites

HEADER = '<ir_version: 8, opset_import: ["" : 18]> g (float[N,4] x, int64[N,4] numbers) => (float[N,4] y)'


def test_a_cast_to_the_type_that_the_value_has_does_nothing() -> None:
    assert_rewrites(
        f"{HEADER} {{ a = Neg(x) b = CastLike(a, x) y = Exp(b) }}",
        f"{HEADER} {{ a = Neg(x) y = Exp(a) }}",
        RemoveIdentity(),
    )


def test_the_type_is_named_and_what_gave_it_is_not_needed() -> None:
    before = f"""{HEADER} {{
        a = Neg(x)
        gives_the_type = Exp(a)
        b = CastLike(numbers, gives_the_type)
        y = Add(a, b)
    }}"""
    assert_rewrites(before, f"{HEADER} {{ a = Neg(x) b = Cast<to = 1>(numbers) y = Add(a, b) }}", Tidy(PlainCast()))


def test_a_type_that_is_not_known_stays_with_its_value() -> None:
    text = """<ir_version: 8, opset_import: ["" : 18, "my" : 1]> g (float[N] x) => (float[N] y) {
        t = my.unknown(x)
        y = CastLike(x, t)
    }"""
    assert_declines(text, PlainCast(), reason="is not known")
