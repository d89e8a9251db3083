"""What a file says about its graph besides what is computed: doc strings, and metadata that exporters leave."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxslim.graph.walk import nodes


def annotation_bytes(model: ir.Model) -> int:
    """Bytes of doc strings and metadata of the graph, its nodes and their outputs, about; ``--strip`` drops them."""
    return sum(len(text.encode()) for text in _texts(model))


def _texts(model: ir.Model) -> Iterator[str]:
    yield model.graph.doc_string or ""
    for node in nodes(model):
        yield node.doc_string or ""
        owners: list[ir.Node | ir.Value] = [node, *node.outputs]
        for each in owners:
            for key, value in each.metadata_props.items():
                yield key
                yield value
