import onnx_ir as ir

from onnxslim.graph import parse, to_bytes, to_proto
from onnxslim.passes.slim import LiftConstants
from onnxslim.pipeline.context import Context
from tests.rewriting import assert_declines, assert_rewrites

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'


def test_constants_become_initializers_in_every_graph() -> None:
    assert_rewrites(
        before=f"""{HEADER} g (bool c, float[2] x) => (float[2] y) {{
            w = Constant <value = float[2] {{1, 2}}> ()
            s = Constant <value_float = 2.0> ()
            a = Add(x, w)
            y = If(c) <
                then_branch = t () => (float[2] p) {{ k = Constant <value_floats = [3.0, 4.0]> ()  p = Mul(a, k) }},
                else_branch = f () => (float[2] q) {{ q = Mul(a, s) }}
            >
        }}""",
        after=f"""{HEADER} g (bool c, float[2] x) => (float[2] y) <float[2] w = {{1, 2}}, float s = {{2}}> {{
            a = Add(x, w)
            y = If(c) <
                then_branch = t () => (float[2] p) <float[2] k = {{3, 4}}> {{ p = Mul(a, k) }},
                else_branch = f () => (float[2] q) {{ q = Mul(a, s) }}
            >
        }}""",
        rewrite=LiftConstants(),
    )


def test_a_long_list_of_small_integers_is_shorter_as_a_list() -> None:
    numbers = ", ".join(["1"] * 40)
    text = (
        f"""{HEADER} g (int64[40] x) => (int64[40] y) {{ w = Constant <value_ints = [{numbers}]> ()  y = Add(x, w) }}"""
    )
    assert_declines(text, LiftConstants(), reason="the file would grow")


def test_an_output_stays_a_node() -> None:
    text = f"""{HEADER} g (float[2] x) => (float[2] y, float[1] w) {{
        w = Constant <value = float[1] {{1}}> ()
        y = Add(x, w)
    }}"""
    assert_declines(text, LiftConstants(), reason="an output of its graph")


def test_function_bodies_keep_their_nodes() -> None:
    assert_declines(
        """<ir_version: 8, opset_import: ["" : 17, "my" : 1]> g (float[2] x) => (float[2] y) { y = my.f(x) }
        <domain: "my", opset_import: ["" : 17]> f (a) => (b) { w = Constant <value_float = 2.0> ()  b = Mul(a, w) }""",
        LiftConstants(),
    )


def test_old_files_list_what_is_lifted_and_keep_what_would_then_be_longer() -> None:
    def model(name: str) -> ir.Model:
        nodes = f"{name} = Constant <value = float[1] {{1}}> ()  y = Add(x, {name})"
        made = parse(f"{HEADER} g (float[2] x) => (float[2] y) {{ {nodes} }}")
        made.ir_version = 3
        return made

    short, long = model("w"), model("a_name_of_such_a_length_that_to_list_it_takes_more")
    before = len(to_bytes(short))
    LiftConstants().run(short, Context())
    assert [info.name for info in to_proto(short).graph.input] == ["x", "w"]
    assert len(to_bytes(short)) <= before
    assert_declines(long, LiftConstants(), reason="the file would grow")


def test_the_file_shrinks_by_what_the_nodes_took() -> None:
    model = parse(
        f"{HEADER} g (float[2] x) => (float[2] y) {{ w = Constant <value = float[2] {{1, 2}}> ()  y = Add(x, w) }}"
    )
    before = len(to_bytes(model))
    LiftConstants().run(model, Context())
    assert len(to_bytes(model)) < before
