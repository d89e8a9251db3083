"""Long lists of numbers in attributes, packed: as one field, where the library writes a tag before each number.

Parsers of protobuf take both forms; version 3 of the language, in which ONNX states its messages, too, packs. Trees
are such lists: the tags are a third of their file. Short lists stay as the library writes them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import Message  # type: ignore[import-untyped, unused-ignore]

from onnxslim.graph.wire import ATTRIBUTE, FLOATS, INTS, NODE, framed, varints

LONG_LIST = 64
"""Numbers in a list from which on it is packed; sizes, axes and pads are fewer."""


def packed_nodes(graph: onnx.GraphProto) -> bytes:
    """The nodes of a graph as its fields, which are taken out of it; nothing where no list is long."""
    if not any(map(_has_long_lists, graph.node)):
        return b""
    content = b"".join(_nodes(graph))
    graph.ClearField("node")
    return content


def _nodes(graph: onnx.GraphProto) -> Iterator[bytes]:
    for node in graph.node:
        if not _has_long_lists(node):
            yield framed(NODE, node.SerializeToString(deterministic=True))
            continue
        lists = b"".join(framed(ATTRIBUTE, _attribute(each)) for each in node.attribute)
        node.ClearField("attribute")
        head, tail = parts(node, ATTRIBUTE)
        yield framed(NODE, head + lists + tail)


def _attribute(attribute: onnx.AttributeProto) -> bytes:
    if not _is_long(attribute):
        return bytes(attribute.SerializeToString(deterministic=True))
    if attribute.ints:
        number, content = INTS, varints(np.array(attribute.ints, np.int64))
    else:
        number, content = FLOATS, np.array(attribute.floats, "<f4").tobytes()
    attribute.ClearField("ints" if number == INTS else "floats")
    head, tail = parts(attribute, number)
    return head + framed(number, content) + tail


def list_bytes(attribute: ir.Attr) -> int:
    """What the numbers or texts of a list take in a file, each with its tag where the list is not packed."""
    count = len(attribute.value)
    tags = 0 if count >= LONG_LIST and attribute.type != ir.AttributeType.STRINGS else count
    if attribute.type == ir.AttributeType.FLOATS:
        return 4 * count + tags
    if attribute.type == ir.AttributeType.INTS:
        return len(varints(np.array(attribute.value, np.int64))) + tags if count else 0
    return sum(len(framed(FLOATS, text.encode())) for text in attribute.as_strings())


def _is_long(attribute: onnx.AttributeProto) -> bool:
    return max(len(attribute.ints), len(attribute.floats)) >= LONG_LIST


def _has_long_lists(node: onnx.NodeProto) -> bool:
    return any(map(_is_long, node.attribute))


def parts(message: Message, number: int) -> tuple[bytes, bytes]:
    """The bytes of a message's fields before ``number`` and of those after it, which are taken out of it."""
    rest = type(message)()
    rest_fields = [(field, value) for field, value in message.ListFields() if field.number > number]
    for field, value in rest_fields:
        target = getattr(rest, field.name)
        if hasattr(target, "extend"):
            target.extend(value)
        elif field.message_type is not None:
            target.CopyFrom(value)
        else:
            setattr(rest, field.name, value)
        message.ClearField(field.name)
    return message.SerializeToString(deterministic=True), rest.SerializeToString(deterministic=True)
