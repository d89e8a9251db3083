"""``onnxslim verify``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.output import console, print_json, progress
from onnxslim.commands.samples import samples_options, take_samples
from onnxslim.errors import InputError


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
@options.run_options("min_sqnr", "trust_data_dir")
@options.custom_ops_option
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

    Names, dtypes, shapes, NaN and values are compared, on --samples or else on random inputs of several sizes. The exit
    code is 1 where they do not agree. With --compare it is results from two machines that are compared.
    """
    if compare and report is not None:
        raise InputError("--compare has no report", where="--report", mend="leave one of the two out")
    if compare:
        return _compare(reference, candidate, as_json=as_json, quiet=quiet)
    from onnxslim.api.page import check_report, save_comparison
    from onnxslim.api.verify import find_parity

    check_report(report, {"reference": reference, "candidate": candidate}, arguments.get("samples"))
    options.drop_unset(arguments, "min_sqnr")
    samples = take_samples(arguments, reference)
    with progress(quiet or as_json) as say:
        say("compare outputs")
        found = find_parity(reference, candidate, samples=samples, tier=tier, **arguments)
    parity = found.parity
    if report is not None:
        arguments.pop("min_sqnr", None)
        decision = "passed" if parity.passed else "failed"
        save_comparison(
            report,
            "verify",
            decision,
            (reference, candidate),
            samples,
            parity=parity,
            evidence=parity.evidence,
            **arguments,
        )
    if as_json:
        from onnxslim.api.comparing import provenance
        from onnxslim.report import envelope

        made = provenance(reference, candidate, found.feeds, arguments["threads"])
        print_json(envelope("verify", reference=reference, candidate=candidate, parity=parity, **made))
    elif not quiet:
        from onnxslim.report.document import document_of_parity
        from onnxslim.report.terminal import print_document

        print_document(document_of_parity(parity), console())
    return 0 if parity.passed else 1


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
