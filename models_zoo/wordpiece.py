"""BERT's uncased WordPiece tokens (Devlin et al. 2018), enough for English text."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import pairwise

import numpy as np

from models_zoo.package import Package

UNKNOWN, START, END = 100, 101, 102
"""Ids of [UNK], [CLS] and [SEP]."""

_BLINGFIRE = Package(
    "blingfire",
    "0.1.8",
    {"bert_base_tok.i2w": "1726bb621dcd08fb3cced286e8fd48b98f8e47ff967e8e7565116d0b5f15515c"},
    folder="blingfire",
)
"""Ships the vocabulary of bert-base-uncased as a table of strings (MIT)."""


def tokens(text: str) -> list[int]:
    """Token ids of ``text`` between [CLS] and [SEP].

    Raises:
        SetupError: The vocabulary cannot be fetched.
    """
    plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(c))
    return [START, *(piece for word in re.findall(r"[^\W_]+|[^\w\s]|_", plain) for piece in _pieces(word)), END]


def _pieces(word: str) -> list[int]:
    """The longest known piece first, again and again; one unknown for the word where that leads nowhere."""
    known = vocabulary()
    found, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = word[start:end] if start else " " + word[start:end]
            if piece in known:
                found.append(known[piece])
                start = end
                break
        else:
            return [UNKNOWN]
    return found


@cache
def vocabulary() -> dict[str, int]:
    """Piece -> id. A piece that starts a word has a space before it.

    The file: 96 bytes of header, a uint32 count n, n + 1 uint32 offsets, then the texts in UTF-8, all little-endian.
    """
    data = _BLINGFIRE.file("bert_base_tok.i2w").read_bytes()
    count = int(np.frombuffer(data, "<u4", 1, 96)[0])
    offsets = np.frombuffer(data, "<u4", count + 1, 100).astype(np.int64)
    texts = memoryview(data)[100 + 4 * (count + 1) :]
    return {bytes(texts[a:b]).decode(): id for id, (a, b) in enumerate(pairwise(offsets))}
