"""The keyword arguments of verbs, typed, so that editors complete and checkers check them.

A test holds that they are the fields of the run's and the search's configuration and of the passes, with their types.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from onnxslim.api.source import AnySamples
    from onnxslim.calibration import Statistics
    from onnxslim.execution.ort import Libraries
    from onnxslim.pipeline.config import Ops, Progress, Watch
    from onnxslim.samples import Metric
    from onnxslim.search.goal import GoalName

    Path = str | os.PathLike[str]


class RunOptions(TypedDict, total=False):
    """How a verb runs; see `onnxslim.pipeline.RunConfig`."""

    samples: AnySamples | None
    labels: Path | None
    stats: Sequence[Path | Statistics]
    plan: Path | None
    verify: bool
    must_verify: bool
    bench: bool
    metric: Metric | str | None
    min_sqnr: float
    max_drop: float | None
    in_place: bool
    external_data: bool | None
    strip: bool
    trust_data_dir: Path | None
    freeze_initializers: bool
    memory: int
    threads: int
    target: str | None
    ops: Ops
    record: bool
    report: Path | None
    recipe_path: Path | None
    prepare: Callable[[Any], Any] | None
    custom_op_library: Libraries
    time_sessions: bool
    progress: Progress
    watch: Watch


class SearchOptions(TypedDict, total=False):
    """What a search is for; see `onnxslim.search.config.SearchConfig`."""

    goal: GoalName
    max_size: int | None
    min_speedup: float | None
    time: float
    work: Path | None
    front: Path | None
    engine: str | None
    workers: int | None
    keep_nearest: bool


class QuantizeOptions(TypedDict, total=False):
    """Fields of the pass ``quantize``."""

    ranges: Literal["auto", "min-max", "mse", "percentile", "entropy"]
    percentile: float
    operators: tuple[str, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    per_tensor: bool
    symmetric: bool
    rounding: Literal["nearest", "compensated"]
    correct_bias: bool
    migrate: bool
    search: bool
    weights_only: bool
    weigh_bytes: bool
    keep_slow: bool


class StoreOptions(TypedDict, total=False):
    """Fields of the pass ``store``."""

    rest: Literal["auto", "small", "int8", "float"]


class CompressOptions(RunOptions, SearchOptions, QuantizeOptions, StoreOptions, total=False):
    """Keyword arguments of `onnxslim.api.compress.compress`."""
