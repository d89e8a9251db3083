"""``onnxslim convert``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.commands import options
from onnxslim.commands.frameworks import convert_options
from onnxslim.commands.output import console, print_json, progress
from onnxslim.commands.samples import samples_options, take_samples
from onnxslim.errors import InputError


@click.command("convert", short_help="Make an ONNX file of a framework's model, and compare their outputs")
@click.argument("source", type=click.Path(), required=False)
@click.option("-o", "--output", type=click.Path(), help="Where the ONNX file goes")
@click.option("--list", "listed", is_flag=True, help="List the converters, and what the environment has of each")
@convert_options
@click.option("--opset", type=click.IntRange(min=7), metavar="N", help="Opset  [default: the exporter's own]")
@click.option(
    "--dynamic",
    multiple=True,
    metavar="INPUT:AXIS=NAME",
    help="An axis whose size may change, such as x:0=batch; it is tried at three sizes; may be repeated",
)
@click.option("--exporter", metavar="NAME", help="One of several exporters: dynamo or torchscript for PyTorch")
@samples_options()
@options.run_options("report")
@options.json_option
@options.quiet_option
def convert(
    source: str | None,
    output: str | None,
    listed: bool,
    report: str | None,
    as_json: bool,
    quiet: bool,
    **arguments: Any,
) -> int:
    """Make an ONNX file of a framework's model, and compare their outputs.

    SOURCE is a file or folder of the framework, or module:object: a model, or a function that returns (model, example
    inputs). The framework's own exporter runs in a process of its own, in the environment of --python. The framework's
    outputs are compared with onnxruntime's on --samples, or else on its example and on random inputs. The exit code is
    1, and nothing is written, where they differ.
    """
    if listed:
        return _list(arguments["python"], as_json=as_json)
    if source is None:
        raise InputError("no source was named", mend="onnxslim convert SOURCE -o OUT.onnx, or --list")
    if output is None:
        raise InputError("no output was named", where="-o", mend="add -o OUT.onnx")
    options.refuse_stdout(output)
    from onnxslim.api.convert import convert as run
    from onnxslim.api.page import check_report, save_conversion

    check_report(report, {"source": source, "output": output}, arguments["samples"])

    arguments |= {"threads": 1, "trust_data_dir": None, "freeze_initializers": False}
    samples = take_samples(arguments, source)
    given = {name: arguments[name] for name in ("source_kind", "python", "trust_code", "opset", "dynamic", "exporter")}
    with progress(quiet or as_json) as say:
        found = run(source, output, samples=samples, progress=say, **given)
    if report is not None:
        save_conversion(report, found)
    if as_json:
        from onnxslim.report import envelope, plain

        print_json(envelope("convert", **plain(found.report)))
    elif not quiet:
        from onnxslim.report.conversion import document_of_conversion
        from onnxslim.report.terminal import print_document

        print_document(document_of_conversion(found.report), console())
    return 0


def _list(python: str | None, *, as_json: bool) -> int:
    from onnxslim.converters.environment import installed
    from onnxslim.converters.kinds import converters

    table = converters()
    versions = installed(python, [each for kind in table.values() for each in kind.packages])
    if as_json:
        from onnxslim.report import envelope

        rows = [
            {
                "kind": each.kind,
                "forms": list(map(str, each.forms)),
                "exporter": each.exporter,
                "packages": {name: versions.get(name) for name in each.packages},
            }
            for each in table.values()
        ]
        print_json(envelope("convert --list", converters=rows))
        return 0
    from onnxslim.report.conversion import document_of_converters
    from onnxslim.report.terminal import print_document

    print_document(document_of_converters(table, versions), console())
    return 0
