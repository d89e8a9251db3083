"""Protobuf's wire format, as far as files are taken apart and put together by hand."""

from __future__ import annotations

import onnx

MAX_BYTES = 2**31 - 1
"""Bytes that protobuf reads and writes in one message."""
INLINE_BELOW = 1024
"""Tensors of fewer bytes are part of the messages around them; larger ones are kept apart."""
GRAPH: int = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
INITIALIZER: int = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
RAW_DATA: int = onnx.TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number
VARINT, LENGTH = 0, 2
FIXED = {1: 8, 5: 4}
"""Bytes of the wire types that always have as many; those of groups are not read."""


def key(number: int) -> bytes:
    """The tag of a length-delimited field."""
    return varint(number << 3 | LENGTH)


def framed(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return key(number) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """A non-negative number: seven bits a byte, the lowest first.

    >>> varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
