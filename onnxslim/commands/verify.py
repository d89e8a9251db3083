"""``onnxslim verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from onnxslim.commands import options
from onnxslim.commands.frameworks import framework_options
from onnxslim.commands.output import console, print_json, progress
from onnxslim.commands.samples import samples_options, take_samples
from onnxslim.errors import InputError

if TYPE_CHECKING:
    from onnxslim.api.verify import Verified


@click.command("verify", short_help="Compare the outputs of two models")
@click.argument("reference", type=click.Path())
@click.argument("candidate", type=click.Path())
@samples_options()
@click.option(
    "--tier",
    type=click.Choice(["exact", "numeric", "lossy"]),
    help="How closely: the same bits, floats reordered, or quantized  [default: by what CANDIDATE is]",
)
@click.option(
    "--compare",
    is_flag=True,
    help="REFERENCE and CANDIDATE are what `verify --json` or `bench --json` printed on two machines: compare those",
)
@options.run_options("labels", "metric")
@click.option(
    "--max-drop",
    type=options.finite,
    metavar="D",
    help="How much of the metric CANDIDATE may lose on the samples; outputs are then compared at the lossy tier",
)
@click.option(
    "--max-size", type=options.byte_size, metavar="SIZE", help="Size that CANDIDATE may have, external data included"
)
@click.option(
    "--min-speedup",
    type=options.finite,
    metavar="X",
    help="Times as fast as REFERENCE that CANDIDATE must be: measured as `bench` does, and the median counts",
)
@options.run_options("min_sqnr", "trust_data_dir")
@options.custom_ops_option
@framework_options
@options.run_options("freeze_initializers", "threads", "report")
@options.json_option
@options.quiet_option
def verify(
    reference: str,
    candidate: str,
    tier: str | None,
    compare: bool,
    report: str | None,
    as_json: bool,
    quiet: bool,
    **arguments: Any,
) -> int:
    """Compare the outputs of two models.

    Names, dtypes, shapes, NaN and values are compared, on --samples or else on random inputs of several sizes. Every
    limit that is given is measured and shown. The exit code is 1 where the outputs do not agree or a limit is broken.
    With --compare it is results from two machines that are compared.
    """
    if compare and report is not None:
        raise InputError("--compare has no report", where="--report", mend="leave one of the two out")
    if compare:
        return _compare(reference, candidate, as_json=as_json, quiet=quiet)
    from onnxslim.api.page import check_report, save_comparison
    from onnxslim.api.verify import verify as run

    check_report(report, {"reference": reference, "candidate": candidate}, arguments.get("samples"))
    samples = take_samples(arguments, reference)
    with progress(quiet or as_json) as say:
        found = run(reference, candidate, samples=samples, tier=tier, progress=say, **arguments)
    if report is not None:
        kept = ("threads", "trust_data_dir", "freeze_initializers")
        save_comparison(
            report,
            "verify",
            "passed" if found.passed else "failed",
            (reference, candidate),
            samples,
            parity=found,
            evidence=found.evidence,
            **{name: arguments[name] for name in kept},
        )
    if as_json:
        from onnxslim.api.comparing import provenance
        from onnxslim.report import envelope

        made = provenance(reference, candidate, found.feeds_used, arguments["threads"])
        print_json(envelope("verify", reference=reference, candidate=candidate, **found.to_json(), **made))
    elif not quiet:
        _print(found, arguments["metric"])
    return 0 if found.passed else 1


def _print(found: Verified, metric: str | None) -> None:
    from onnxslim.report.document import document_of_parity
    from onnxslim.report.terminal import print_document
    from onnxslim.report.wording import score_line

    shown = found.scores and found.drop is None  # a limited drop is among the limits
    score = score_line(found.scores, metric or "") if shown else ""
    print_document(document_of_parity(found.parity, found.checks, warnings=found.warnings, score=score), console())


def _compare(a: str, b: str, *, as_json: bool, quiet: bool) -> int:
    from onnxslim.api.comparing import compare_results, read_result

    rows = compare_results(read_result(a), read_result(b))
    agree = all(row.agrees is not False for row in rows)
    if as_json:
        from onnxslim.report import envelope

        print_json(envelope("verify --compare", a=a, b=b, agree=agree, rows=rows))
    elif not quiet:
        from onnxslim.report.blocks import Document, Fit, Frame, Heading, Line, Section, cells, data_table
        from onnxslim.report.terminal import print_document

        verdicts = {True: "same", False: "DIFFERENT", None: ""}
        table = data_table(
            (Heading(text, fit=Fit.CUT) for text in ("", a, b, "")),
            (cells(row.what, _shown(row.a), _shown(row.b), verdicts[row.agrees]) for row in rows),
            Frame.RULED,
        )
        verdict = Line("the results agree" if agree else "the results do not agree")
        print_document(Document((Section("comparison", (table, verdict)),)), console())
    return 0 if agree else 1


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
