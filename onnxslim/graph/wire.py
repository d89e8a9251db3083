"""Protobuf's wire format, as far as files are taken apart and put together by hand."""

from __future__ import annotations

import numpy as np
import onnx

MAX_BYTES = 2**31 - 1
"""Bytes that protobuf reads and writes in one message."""
INLINE_BELOW = 1024
"""Tensors of fewer bytes are part of the messages around them; larger ones are kept apart."""
GRAPH: int = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
INITIALIZER: int = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
NODE: int = onnx.GraphProto.DESCRIPTOR.fields_by_name["node"].number
ATTRIBUTE: int = onnx.NodeProto.DESCRIPTOR.fields_by_name["attribute"].number
FLOATS: int = onnx.AttributeProto.DESCRIPTOR.fields_by_name["floats"].number
INTS: int = onnx.AttributeProto.DESCRIPTOR.fields_by_name["ints"].number
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


def varints(numbers: np.ndarray) -> bytes:
    """64-bit integers one after the other; a negative one takes ten bytes.

    >>> varints(np.array([1, 300], np.int64)).hex()
    '01ac02'
    """
    left = numbers.astype(np.int64).view(np.uint64)
    columns, more = [], []
    while True:
        rest = left >> np.uint64(7)
        more.append(rest != 0)
        columns.append((left & np.uint64(0x7F)).astype(np.uint8) | (more[-1].astype(np.uint8) << 7))
        if not more[-1].any():
            break
        left = rest
    present = np.ones((len(columns), len(numbers)), bool)
    for at in range(1, len(columns)):
        present[at] = present[at - 1] & more[at - 1]
    return np.stack(columns, 1)[present.T].tobytes()
