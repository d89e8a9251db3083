"""Reading what a network scores step by step, and how far a reading is from the text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from models_zoo.tally import Tally
from onnxslim.execution.feeds import Run
from onnxslim.samples import Sample


def greedy(scores: NDArray[np.float32], letters: Sequence[str], blank: int = 0) -> str:
    """The greedy reading of CTC scores [steps, classes]: best class a step, repeats merged, blanks dropped."""
    best = scores.argmax(axis=-1)
    keep = (best != blank) & np.diff(best, prepend=-1).astype(bool)
    return "".join(letters[index] for index in best[keep])


def edits(a: str, b: str) -> int:
    """Levenshtein distance.

    >>> edits("kitten", "sitting")
    3
    """
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (letter != other))
    return row[-1]


def read_rightly(found: str, wanted: str) -> tuple[int, int]:
    """Characters right and characters in all: 1 - edits / length is the character accuracy."""
    return len(wanted) - min(edits(found, wanted), len(wanted)), len(wanted)


def read_accuracy(run: Run, data: Iterable[Sample], decode: Callable[[NDArray[np.float32]], str]) -> dict[str, Tally]:
    """Character accuracy, 1 - edits / length over all captchas, and the share of captchas without fault.

    Args:
        run: The reader.
        data: Captchas with their characters as label.
        decode: Makes characters of the reader's first output.
    """
    characters, captchas = [], []
    for sample in data:
        wanted = str(sample.label)
        found = decode(next(iter(run(sample.feed).values())))
        characters.append(read_rightly(found, wanted))
        captchas.append((found == wanted, 1))
    return {"character accuracy": np.array(characters, np.float64), "captcha accuracy": np.array(captchas, np.float64)}
