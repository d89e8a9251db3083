from onnxslim.graph import parse
from onnxslim.pipeline.action import Action
from onnxslim.pipeline.context import Context
from onnxslim.rewriter.shape_facts import forget_shape_facts, shape_facts

TEXT = '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { y = Abs(x) }'


def test_facts_hold_until_something_but_a_removal_happens() -> None:
    model, context = parse(TEXT), Context()
    first = shape_facts(model, context)
    context.allow(Action("remove-node", ("z",)))
    assert shape_facts(model, context) is first
    context.allow(Action("fold-constant", ("z",)))
    second = shape_facts(model, context)
    assert second is not first
    assert shape_facts(model, context) is second


def test_facts_are_of_one_model_and_one_run() -> None:
    model, context = parse(TEXT), Context()
    first = shape_facts(model, context)
    assert shape_facts(parse(TEXT), context) is not first
    again = shape_facts(model, context)
    replay = Context()
    replay.scratch = context.scratch
    assert shape_facts(model, replay) is not again
    forget_shape_facts(replay)
    assert not context.scratch
