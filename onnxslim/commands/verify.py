"""``onnxslim verify``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.output import console, print_json, progress
from onnxslim.commands.samples import samples_options, take_samples


@click.command("verify", short_help="Compare the outputs of two models")
@click.argument("reference", type=click.Path())
@click.argument("candidate", type=click.Path())
@samples_options()
@click.option(
    "--tier",
    type=click.Choice(["exact", "numeric", "lossy"]),
    help="How closely: the same bits, floats reordered, or quantized; chosen by what CANDIDATE is, unless said",
)
@options.min_sqnr_option
@options.trust_option
@options.threads_option
@options.json_option
@options.quiet_option
def verify(reference: str, candidate: str, tier: str | None, as_json: bool, quiet: bool, **arguments: Any) -> int:
    """Compare the outputs of two models.

    Names, dtypes, shapes, NaN and values are compared, on --samples or else on random inputs of several sizes. The exit
    code is 1 where they do not agree.
    """
    from onnxslim.api.verify import verify as run

    options.drop_unset(arguments, "min_sqnr")
    samples = take_samples(arguments, reference)
    with progress(quiet or as_json) as say:
        say("compare outputs")
        parity = run(reference, candidate, samples=samples, tier=tier, **arguments)
    if as_json:
        from onnxslim.report import envelope

        print_json(envelope("verify", reference=reference, candidate=candidate, parity=parity))
    elif not quiet:
        from onnxslim.report.terminal import print_parity

        print_parity(parity, console())
    return 0 if parity.passed else 1
