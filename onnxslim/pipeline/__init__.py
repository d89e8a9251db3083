"""Passes: what they are, how they run, how they are found and checked."""

from typing import TYPE_CHECKING

from onnxslim.lazy import lazy_exports

if TYPE_CHECKING:
    from onnxslim.pipeline.context import Context
    from onnxslim.pipeline.graphsurgeon import GraphSurgeonPass
    from onnxslim.pipeline.options import Option, make_pass, options_of, values_of
    from onnxslim.pipeline.pipeline import Guilty, Outcome, Pipeline, Step
    from onnxslim.pipeline.recipe import dump_recipe, load_recipe, parse_recipe
    from onnxslim.pipeline.registry import get_pass, pass_table
    from onnxslim.pipeline.rewrite import Action, Declined, Pass, PassResult

__all__ = [
    "Action",
    "Context",
    "Declined",
    "GraphSurgeonPass",
    "Guilty",
    "Option",
    "Outcome",
    "Pass",
    "PassResult",
    "Pipeline",
    "Step",
    "dump_recipe",
    "get_pass",
    "load_recipe",
    "make_pass",
    "options_of",
    "parse_recipe",
    "pass_table",
    "values_of",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "Action": ".rewrite",
        "Context": ".context",
        "Declined": ".rewrite",
        "GraphSurgeonPass": ".graphsurgeon",
        "Guilty": ".pipeline",
        "Option": ".options",
        "Outcome": ".pipeline",
        "Pass": ".rewrite",
        "PassResult": ".rewrite",
        "Pipeline": ".pipeline",
        "Step": ".pipeline",
        "dump_recipe": ".recipe",
        "get_pass": ".registry",
        "load_recipe": ".recipe",
        "make_pass": ".options",
        "options_of": ".options",
        "parse_recipe": ".recipe",
        "pass_table": ".registry",
        "values_of": ".options",
    },
)
