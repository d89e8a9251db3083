"""How far a model is from another at the outputs, on some samples: noise over signal on logits.

Of integers and booleans the noise is how many are not the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.runtime import Feed, Session, logits_view, open_session
from onnxslim.runtime.compare import is_float
from onnxslim.runtime.views import exposed, named


class Noise:
    """Compares models with one. Its outputs on the feeds are held.

    Args:
        model: The one compared with; not changed.
        feeds: Inputs, one at least.
        threads: Of the sessions.
        memory: Bytes of outputs that may be held; where more would be, the last feeds are left out.
    """

    def __init__(self, model: ir.Model, feeds: Sequence[Feed], threads: int, memory: int = 1 << 30) -> None:
        self._feeds, self._threads = list(feeds), threads
        views = logits_view(model)
        self._views = list(
            dict.fromkeys(views.get(value.name or "", value.name or "") for value in model.graph.outputs)
        )
        self._wanted: list[list[np.ndarray]] = []
        held = 0
        for outputs in self._outputs(model):
            held += sum(array.nbytes for array in outputs)
            if self._wanted and held > memory:
                break
            self._wanted.append(outputs)
        self._signal = np.sum([[_square(array) for array in outputs] for outputs in self._wanted], axis=0)

    def __call__(self, model: ir.Model) -> float:
        """The squared error as a share of the square, added up over the outputs; one that is lost counts 1."""
        pairs = zip(self._wanted, self._outputs(model), strict=False)
        noise = np.sum([list(map(_difference, wanted, found)) for wanted, found in pairs], axis=0)
        shares = noise / np.maximum(self._signal, 1e-300)
        return float(np.minimum(np.where(np.isnan(shares), 1.0, shares), 1.0).sum())

    def _outputs(self, model: ir.Model) -> Iterator[list[np.ndarray]]:
        session = self._session(model)
        for feed in self._feeds:
            yield [array for array in session.run(feed, self._views).values() if isinstance(array, np.ndarray)]

    def _session(self, model: ir.Model) -> Session:
        outputs = {value.name for value in model.graph.outputs}
        with exposed(model, named(model, [view for view in self._views if view not in outputs])):
            return open_session(model, threads=self._threads)


def _square(array: np.ndarray) -> float:
    return float(np.square(array, dtype=np.float64).sum()) if is_float(array) else float(array.size)


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:  # values decided another length: what it was is lost
        return _square(a)
    if not is_float(a):
        return float(np.count_nonzero(a != b))
    with np.errstate(invalid="ignore"):  # infinity less infinity is as bad as it looks
        return _square(a.astype(np.float64) - b.astype(np.float64))
