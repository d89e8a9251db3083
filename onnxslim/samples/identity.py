"""What a sample is, whatever it is called: hashes of content, stable over runs and machines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from onnxslim.samples.sample import Sample, Samples

Digest = bytes
"""16 bytes of BLAKE2b."""


def content_hash(sample: Sample) -> Digest:
    """Hash of the feed: input names, dtypes, shapes and bytes; not of the id and the label."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(sample.feed):
        array = np.asarray(sample.feed[name])
        digest.update(f"{len(name)}:{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(_raw(array))
    return digest.digest()


def sample_set_hash(samples: Samples) -> str:
    """Hash of the ids and feeds of all samples, in their order: half the key of every statistic.

    Order counts since float sums are made per block of consecutive samples. Labels do not: no statistic reads them.
    """
    return combine((sample.id, content_hash(sample)) for sample in samples)


def combine(parts: Iterable[tuple[str, Digest]]) -> str:
    """The hash of a sample set from its ``(id, content_hash)`` pairs, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for name, content in parts:
        raw = name.encode()
        digest.update(len(raw).to_bytes(8, "little") + raw + content)
    return digest.hexdigest()


def _raw(array: np.ndarray) -> Any:
    """The bytes of an array; strings are written with their lengths."""
    if array.dtype.kind in "OUS":
        texts = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel().tolist()]
        return b"".join(len(text).to_bytes(8, "little") + text for text in texts)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
