"""``onnxslim doctor``."""

from __future__ import annotations

import click

from onnxslim.commands import options
from onnxslim.commands.output import console, print_json
from onnxslim.errors import FIX

STYLES = {"ok": "green", "warn": "yellow", "bad": "red"}


@click.command("doctor", short_help="Check the environment")
@options.json_option
def doctor(as_json: bool) -> int:
    """Check the environment: versions, CPU, clashes, and whether a small model runs.

    The exit code is 3 where something is bad.
    """
    from onnxslim.api.doctor import doctor as run

    findings = run()
    if as_json:
        from onnxslim.report import envelope

        print_json(envelope("doctor", findings=findings))
    else:
        from rich.text import Text

        for finding in findings:
            line = Text(f"{finding.state:<4} ", style=STYLES[finding.state])
            line.append(f"{finding.subject}: {finding.fact}", style="default")
            if finding.mend:
                line.append(f"{FIX}{finding.mend}", style="default")
            console().print(line, highlight=False, soft_wrap=True)
    return 3 if any(finding.state == "bad" for finding in findings) else 0
