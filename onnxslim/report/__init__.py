"""One result object, told as a document (for the terminal, say) and as JSON."""

from typing import TYPE_CHECKING

from onnxslim.lazy import lazy_exports

if TYPE_CHECKING:
    from onnxslim.report.as_json import SCHEMA, dumps, envelope, plain, to_json
    from onnxslim.report.blocks import Document
    from onnxslim.report.document import document_of
    from onnxslim.report.facts import ModelFacts, PortFacts, describe
    from onnxslim.report.node_data import node_data
    from onnxslim.report.record import Attempt
    from onnxslim.report.report import Report, machine

__all__ = [
    "SCHEMA",
    "Attempt",
    "Document",
    "ModelFacts",
    "PortFacts",
    "Report",
    "describe",
    "document_of",
    "dumps",
    "envelope",
    "machine",
    "node_data",
    "plain",
    "to_json",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "Attempt": ".record",
        "Document": ".blocks",
        "ModelFacts": ".facts",
        "PortFacts": ".facts",
        "Report": ".report",
        "SCHEMA": ".as_json",
        "describe": ".facts",
        "document_of": ".document",
        "dumps": ".as_json",
        "envelope": ".as_json",
        "machine": ".report",
        "node_data": ".node_data",
        "plain": ".as_json",
        "to_json": ".as_json",
    },
)
