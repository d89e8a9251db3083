"""``onnxslim bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from onnxslim.commands import options
from onnxslim.commands.frameworks import framework_options
from onnxslim.commands.output import console, print_json, progress
from onnxslim.commands.samples import how_to_load, samples_options, take_samples

if TYPE_CHECKING:
    from onnxslim.execution.feeds import Feed


@click.command("bench", short_help="Measure the latency of a model, or of two against each other")
@click.argument("a", type=click.Path())
@click.argument("b", type=click.Path(), required=False)
@samples_options()
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="Time to spend in timing; loading comes on top  [default: 4; 1 for a single model]",
)
@options.run_options("trust_data_dir")
@options.custom_ops_option
@framework_options
@options.run_options("freeze_initializers", "threads", "report")
@options.json_option
@options.quiet_option
def bench(a: str, b: str | None, report: str | None, as_json: bool, quiet: bool, **arguments: Any) -> int:
    """Measure the latency of A, or of B against A.

    Both run interleaved in several processes, on --samples or else on one random input. "Faster" and "slower" are said
    only where the interval of the ratio excludes 1 and the difference exceeds what the machine shows for a model
    against itself.
    """
    from onnxslim.api.bench import bench as run
    from onnxslim.api.page import check_report, save_comparison
    from onnxslim.errors import InputError
    from onnxslim.samples import Sample

    if report is not None and b is None:
        raise InputError("a report compares two models", where="--report", mend="name B too, or leave --report out")
    check_report(report, {"first model": a, "second model": b}, arguments.get("samples"))
    samples, feed = take_samples(arguments, a), None
    if samples is None:
        feed = _random_feed(a, how_to_load(arguments))
        samples = [Sample("random", feed)]
    with progress(quiet or as_json) as say:
        latency = run(a, b, samples=samples, progress=say, **arguments)
    if report is not None and b is not None:
        del arguments["seconds"]
        given = samples if feed is None else None
        save_comparison(report, "bench", latency.verdict, (a, b), given, latency=latency, **arguments)
    shapes = None if feed is None else {name: list(array.shape) for name, array in feed.items()}
    if as_json:
        from onnxslim.api.comparing import digest, file_digest, machine
        from onnxslim.report import envelope
        from onnxslim.report.facts import file_bytes
        from onnxslim.report.record import size_ratio

        made = {
            "machine": machine(),
            "files": {"a": file_digest(a), "b": file_digest(b) if b is not None else None},
            "inputs": digest((name, feed[name]) for name in sorted(feed)) if feed is not None else "samples",
        }
        smaller = None if b is None else size_ratio(file_bytes(a), file_bytes(b))
        print_json(envelope("bench", a=a, b=b, latency=latency, size_ratio=smaller, random_inputs=shapes, **made))
    elif not quiet:
        from onnxslim.report.wording import latency_line

        line = latency_line(latency) if b is not None else f"latency: {latency.a_ms:.3g} ms"
        console().print(line, highlight=False, markup=False)
        if shapes is not None:
            inputs = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            said = f"on a random input: {inputs}; --samples gives inputs of your own"
            console().print(said, highlight=False, markup=False, soft_wrap=True)
    return 0


def _random_feed(model: str, how: dict[str, Any]) -> Feed:
    from onnxslim.execution import random_feeds
    from onnxslim.graph import load

    return random_feeds(load(model, **how), enough=1)[0]
