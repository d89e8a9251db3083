"""Passes: what they are, how they run, how they are found and checked."""

from typing import TYPE_CHECKING

from onnxslim.lazy import lazy_exports

if TYPE_CHECKING:
    from onnxslim.pipeline.action import Action, Declined, PassResult
    from onnxslim.pipeline.config import RUN_OPTIONS, RunConfig
    from onnxslim.pipeline.context import Context
    from onnxslim.pipeline.graphsurgeon import GraphSurgeonPass
    from onnxslim.pipeline.offer import Effects, Offer
    from onnxslim.pipeline.options import Option, make_pass, options_of, values_of
    from onnxslim.pipeline.outcome import Guilty, Outcome, Step
    from onnxslim.pipeline.pipeline import Pipeline
    from onnxslim.pipeline.plan import Plan
    from onnxslim.pipeline.recipe import dump_recipe, load_recipe, parse_recipe
    from onnxslim.pipeline.registry import get_pass, pass_table
    from onnxslim.pipeline.rewrite import Pass
    from onnxslim.pipeline.store import Store

__all__ = [
    "RUN_OPTIONS",
    "Action",
    "Context",
    "Declined",
    "Effects",
    "GraphSurgeonPass",
    "Guilty",
    "Offer",
    "Option",
    "Outcome",
    "Pass",
    "PassResult",
    "Pipeline",
    "Plan",
    "RunConfig",
    "Step",
    "Store",
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
        "Action": ".action",
        "Context": ".context",
        "Declined": ".action",
        "Effects": ".offer",
        "GraphSurgeonPass": ".graphsurgeon",
        "Guilty": ".outcome",
        "Offer": ".offer",
        "Option": ".options",
        "Outcome": ".outcome",
        "Pass": ".rewrite",
        "PassResult": ".action",
        "Pipeline": ".pipeline",
        "Plan": ".plan",
        "RUN_OPTIONS": ".config",
        "RunConfig": ".config",
        "Step": ".outcome",
        "Store": ".store",
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
