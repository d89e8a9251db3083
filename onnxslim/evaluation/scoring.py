"""The one place where a metric is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from onnxslim import execution

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxslim.execution import Run
    from onnxslim.samples import Metric, Sample


def score_of(
    metric: Metric,
    model: ir.Model,
    samples: Iterable[Sample],
    *,
    threads: int = 1,
    config: Mapping[str, str] | None = None,
) -> float:
    """The score of a model on samples; higher is better.

    Args:
        metric: The user's.
        model: What is scored.
        samples: What it is scored on; a metric may read them more than once.
        threads: Of the session.
        config: Session config entries.

    Raises:
        InputError: The metric fails, or gives something that is no number.
    """
    return score_of_run(metric, execution.open_session(model, threads=threads, config=config).run, samples)


def score_of_run(metric: Metric, run: Run, samples: Iterable[Sample]) -> float:
    """The same for what runs a model: an open session, or what stands for one."""
    return metric(run, samples)
