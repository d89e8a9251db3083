"""``onnxslim score``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.frameworks import framework_options
from onnxslim.commands.output import console, print_json, progress
from onnxslim.commands.samples import samples_options, take_samples


@click.command("score", short_help="Take a metric of a model on samples, with its interval")
@click.argument("model", type=click.Path())
@samples_options(required=True)
@options.run_options("labels")
@click.option(
    "--metric",
    required=True,
    metavar="NAME",
    help="top1, or module:function, which takes (run, samples) and returns a float, higher is better; with --reference "
    "also sqnr, cosine, agreement",
)
@click.option("--reference", type=click.Path(), help="Model that sqnr, cosine and agreement compare with")
@click.option(
    "--min-score", type=options.finite, metavar="X", help="The least that the score may be: exit code 1 below it"
)
@options.run_options("trust_data_dir")
@options.custom_ops_option
@framework_options
@options.run_options("freeze_initializers", "threads")
@options.json_option
@options.quiet_option
def score(model: str, as_json: bool, quiet: bool, **arguments: Any) -> int:
    """Take a metric of MODEL on samples.

    The score is printed with the number of samples and a confidence interval, in which the score on all inputs of this
    kind is expected to lie. The exit code is 1 where the score is less than --min-score.
    """
    from onnxslim.api.score import score as run

    samples = take_samples(arguments, model)
    assert samples is not None
    with progress(quiet or as_json) as say:
        say("score the model")
        found = run(model, samples=samples, **arguments)
    if as_json:
        from onnxslim.report import envelope

        print_json(envelope("score", model=model, reference=arguments["reference"], passed=found.passed, score=found))
    elif not quiet:
        from onnxslim.report.blocks import Document, Line, Section
        from onnxslim.report.document import limit_blocks
        from onnxslim.report.terminal import print_document

        checks = () if found.check is None else (found.check,)
        print_document(Document((Section("score", (Line(str(found)), *limit_blocks(checks))),)), console())
    return 0 if found.passed else 1
