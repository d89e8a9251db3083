"""Moments within a budget of memory: what does not fit is measured again when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import onnx_ir as ir

from onnxslim.calibration import Gram, Request, collect_in_groups
from onnxslim.calibration.stream import WORKSPACE
from onnxslim.samples import Samples

from .reads import Moments


class Measured(Mapping[Request, Moments]):
    """Moments of one model on some samples, by request.

    A reading of the samples fills as much as fits, from the request that is asked for on, in the order of the nodes:
    who goes through them in that order costs few readings.

    Args:
        model: Not changed while this is used.
        samples: Read several times.
        requests: Without duplicates, in the order of the nodes.
        memory: Bytes for a reading and for what is held after it, together.
        threads: Of the sessions.
        progress: Called before each reading.
    """

    def __init__(
        self,
        model: ir.Model,
        samples: Samples,
        requests: Sequence[Request],
        *,
        memory: int,
        threads: int,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._model, self._samples, self._requests = model, samples, list(requests)
        self._memory, self._threads, self._progress = memory, threads, progress
        self._held: dict[Request, Moments] = {}
        self.declined: dict[Request, str] = {}
        """What could not be measured, and why."""
        if requests:
            self._read(0)

    @property
    def nbytes(self) -> int:
        """That are held."""
        return sum(each.nbytes for each in self._held.values())

    def __getitem__(self, request: Request) -> Moments:
        """Raises KeyError where it was not asked for, or could not be measured."""
        if request not in self._held:
            if request in self.declined or request not in self._requests:
                raise KeyError(request)
            self._read(self._requests.index(request))
        return self._held[request]

    def __iter__(self) -> Iterator[Request]:
        return (request for request in self._requests if request not in self.declined)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _read(self, start: int) -> None:
        """One reading, which holds what is asked for at ``start`` and what comes after it, as far as there is room."""
        self._held.clear()
        wanted = [each for each in self._requests[start:] if each not in self.declined]
        self._progress(f"measure {len(wanted)} Gram matrices")
        half = max(self._memory // 2, WORKSPACE + 1)
        for statistics in collect_in_groups(
            self._model, self._samples, wanted, memory=half, threads=self._threads, progress=self._progress
        ):
            self.declined |= statistics.declined
            for request in wanted:
                gram = statistics.get(request)
                if isinstance(gram, Gram) and gram.rows:
                    self._held[request] = Moments.of(gram)
                elif gram is not None:
                    self.declined[request] = "it is empty in all samples"
            missing = [each for each in wanted if each not in self._held and each not in self.declined]
            if not missing or (self._held and self.nbytes > half // 2):
                return
