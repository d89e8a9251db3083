"""How far a model is from another at the outputs, on some samples: noise over signal on logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.runtime import Feed, Session, logits_view, open_session
from onnxslim.runtime.views import exposed, named


class Noise:
    """Compares models with one. Its outputs on the feeds are held.

    Args:
        model: The one compared with; not changed.
        feeds: Inputs.
        threads: Of the sessions.
    """

    def __init__(self, model: ir.Model, feeds: Sequence[Feed], threads: int) -> None:
        self._feeds, self._threads = list(feeds), threads
        views = logits_view(model)
        self._views = [views.get(value.name or "", value.name or "") for value in model.graph.outputs]
        self._wanted = self._outputs(model)
        signal = [np.square(array).sum() for array in self._wanted[0]] if self._wanted else []
        for outputs in self._wanted[1:]:
            signal = [total + np.square(array).sum() for total, array in zip(signal, outputs, strict=True)]
        self._signal = [max(float(each), 1e-300) for each in signal]

    def __call__(self, model: ir.Model) -> float:
        """The squared error as a share of the square, added up over the outputs; one that is lost counts 1."""
        noise = [0.0] * len(self._signal)
        for wanted, found in zip(self._wanted, self._outputs(model), strict=True):
            for i, (a, b) in enumerate(zip(wanted, found, strict=True)):
                noise[i] += float(np.square(a - b).sum()) if a.shape == b.shape else np.inf
        return float(np.minimum(np.nan_to_num(np.divide(noise, self._signal), nan=np.inf), 1.0).sum())

    def _outputs(self, model: ir.Model) -> list[list[npt.NDArray[np.float64]]]:
        session = self._session(model)
        results = []
        for feed in self._feeds:
            found = session.run(feed, list(dict.fromkeys(self._views)))
            arrays = [found[view] for view in self._views]
            results.append([a.astype(np.float64) for a in arrays if isinstance(a, np.ndarray) and a.dtype.kind == "f"])
        return results

    def _session(self, model: ir.Model) -> Session:
        outputs = {value.name for value in model.graph.outputs}
        with exposed(model, named(model, [view for view in dict.fromkeys(self._views) if view not in outputs])):
            return open_session(model, threads=self._threads)
