"""What OnnxSlim shows: the table of models beside each other, and the log of ``verbose``."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from onnxslim.api.inspect import inspect
from onnxslim.api.source import AnyModel, open_source
from onnxslim.errors import InputError
from onnxslim.graph.atomic import check_writable

logger = logging.getLogger("onnxslim")


def show_models(
    models: Sequence[AnyModel],
    *,
    dump_to_disk: bool = False,
    trust_data_dir: str | os.PathLike[str] | None = None,
) -> None:
    """Prints a table of models beside each other.

    Args:
        models: The models, at least one.
        dump_to_disk: Whether to write a table of each one's nodes into the current folder.
        trust_data_dir: A folder outside the models' own in which external data may lie.

    Raises:
        InputError: There is none, or one cannot be used.
    """
    if not models:
        raise InputError("there is no model to show", mend="give a list of one or more")
    from onnxslim.report.node_table import write_node_table
    from onnxslim.report.side_by_side import column_of, print_side_by_side

    if dump_to_disk:
        check_writable(os.path.abspath("OnnxModel_model_info.csv"))
    print_side_by_side([column_of(inspect(each, trust_data_dir=trust_data_dir)) for each in models])
    if dump_to_disk:
        for each in models:
            source = open_source(each, trust_data_dir=trust_data_dir)
            print(
                f"Model info written to {write_node_table(source.model, os.path.basename(source.path or 'OnnxModel'))}"
            )


def init_logging(verbose: bool = False) -> logging.Logger:
    """The logger ``onnxslim``: everything to stderr where ``verbose``, else errors only."""
    logger.setLevel(logging.DEBUG if verbose else logging.ERROR)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
        logger.addHandler(handler)
    return logger
