"""The nodes of a model as a CSV file, as OnnxSlim's ``--dump-to-disk`` writes it."""

from __future__ import annotations

import csv
import io
import os
from typing import TYPE_CHECKING

from onnxslim.analysis import infer_shapes
from onnxslim.graph import atomic_write
from onnxslim.report.facts import describe_value

if TYPE_CHECKING:
    import onnx_ir as ir

COLUMNS = ("NodeName", "OpType", "OutputDtype", "OutputShape")


def write_node_table(model: ir.Model, tag: str) -> str:
    """Writes ``{tag}_model_info.csv`` into the current folder: a row for each output of each node of the main graph.

    A file of that name is replaced. Dtypes and shapes that can be inferred are inferred, and stand in ``model`` then.

    Returns:
        The file's name.
    """
    infer_shapes(model).apply()
    path = f"{tag}_model_info.csv"
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for node in model.graph:
        for position, value in enumerate(node.outputs):
            port = describe_value(value)
            shape = "" if port.shape is None else tuple("?" if dim is None else dim for dim in port.shape)
            first = (node.name or "", node.op_type) if position == 0 else ("", "")
            writer.writerow([*first, port.dtype, shape])
    atomic_write(os.path.abspath(path), text.getvalue().encode())
    return path
