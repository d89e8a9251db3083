"""The samples and the metric that ours is given: ``--samples tools.compress_samples:samples --metric ...:metric``.

The file that the environment variable `GIVEN` names holds the name of a model of the zoo and its labelled samples,
pickled by `tools.quantize_judge`: making them anew would count as time of the command.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import models_zoo
from onnxslim.execution.feeds import Run
from onnxslim.samples import Sample
from tools.compress_runs import GIVEN


@cache
def given() -> tuple[str, list[Sample]]:
    """The name of the model, and its samples."""
    name, samples = pickle.loads(Path(os.environ[GIVEN]).read_bytes())
    return name, samples


def samples() -> Iterator[Sample]:
    """Those of the calibration and of the selection split, labelled."""
    return iter(given()[1])


def metric(run: Run, chosen: Iterable[Sample]) -> float:
    """The score of the model's task, higher is better."""
    task = models_zoo.get(given()[0]).scored()
    tally: Any = task.measure(run, chosen)[task.metric]
    return models_zoo.ratio(tally)
