"""``onnxslim bench``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.output import console, print_json, progress
from onnxslim.commands.samples import samples_options, take_samples


@click.command("bench", short_help="Measure the latency of a model, or of two against each other")
@click.argument("a", type=click.Path())
@click.argument("b", type=click.Path(), required=False)
@samples_options()
@options.trust_option
@options.threads_option
@options.json_option
@options.quiet_option
def bench(a: str, b: str | None, as_json: bool, quiet: bool, **arguments: Any) -> int:
    """Measure the latency of A, or of B against A.

    Both run interleaved in several processes. "Faster" and "slower" are said only where the interval of the ratio
    excludes 1 and the difference exceeds what the machine shows for a model against itself.
    """
    from onnxslim.api.bench import bench as run

    samples = take_samples(arguments, a)
    with progress(quiet) as say:
        say("measure the latency")
        latency = run(a, b, samples=samples, **arguments)
    if as_json:
        from onnxslim.report import envelope

        print_json(envelope("bench", a=a, b=b, latency=latency))
    elif not quiet:
        from onnxslim.report.terminal import latency_line

        line = latency_line(latency) if b is not None else f"latency: {latency.a_ms:.3g} ms"
        console().print(line, highlight=False, markup=False)
    return 0
