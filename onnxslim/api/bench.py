"""How fast is a model, and is another one faster?"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from onnxslim.analysis.at_load import made_at_load
from onnxslim.api.source import AnyModel, AnySamples, open_samples, open_source
from onnxslim.errors import Crashed, InputError
from onnxslim.execution import Latency, compare_latency, open_isolated, operators_from, random_feeds
from onnxslim.execution.ort import Libraries
from onnxslim.samples import feeds_of
from onnxslim.samples.feeds import TIMED

MAX_RUN = 300.0
"""Seconds that one run may take."""
MAX_MADE = 1 << 30
"""Bytes of constants that onnxruntime may compute when it opens a model that is timed."""


def bench(
    a: AnyModel,
    b: AnyModel | None = None,
    *,
    samples: AnySamples | None = None,
    threads: int = 1,
    seconds: float | None = None,
    progress: Callable[[str], None] = lambda _: None,
    trust_data_dir: str | os.PathLike[str] | None = None,
    custom_op_library: Libraries = (),
    freeze_initializers: bool = False,
) -> Latency:
    """Times two models against each other, interleaved, or one model alone.

    Args:
        a: The model to compare with.
        b: The other one; None times ``a`` against itself, which shows how fine a difference this machine can tell.
        samples: Inputs to run on; random ones otherwise.
        threads: Threads of the sessions.
        seconds: Time to spend in timing, loading comes on top; None means 4, or 1 where there is only ``a``. A slow
            model takes at least five runs in each of ten processes (four where there is only ``a``).
        progress: Called with a short text before each process.
        trust_data_dir: A folder outside the models' own in which their external data may lie.
        custom_op_library: Path of a library of custom operators, or several.
        freeze_initializers: Whether initializers that are inputs too are constants, which no caller replaces. Up to IR
            version 3 they always are.

    Returns:
        Milliseconds of both, the ratio with its interval, and the verdict.

    Raises:
        InputError: A model or the samples cannot be used.
        Crashed: onnxruntime does not survive a model.
    """
    with operators_from(custom_op_library):
        how: dict[str, Any] = {"trust_data_dir": trust_data_dir, "freeze_initializers": freeze_initializers}
        return _bench(a, b, samples, threads, seconds, progress, how)


def _bench(
    a: AnyModel,
    b: AnyModel | None,
    samples: AnySamples | None,
    threads: int,
    seconds: float | None,
    progress: Callable[[str], None],
    how: Mapping[str, Any],
) -> Latency:
    first = open_source(a, samples=samples, **how)
    second = first if b is None else open_source(b, samples=samples, **how)
    found = open_samples(samples, first.model)
    feeds = random_feeds(first.model, enough=1) if found is None else feeds_of(found, TIMED)
    for source in (first, second):
        made = made_at_load(source.model, MAX_MADE)
        if made > MAX_MADE:
            raise InputError(
                f"onnxruntime would compute {made:,} bytes of constants when it opens the model",
                where=source.path or "",
                why=f"at most {MAX_MADE:,} are timed: several processes hold them twice",
                mend="store small constants where these nodes stand",
            )
        try:
            open_isolated(source.model, threads=threads, seconds=MAX_RUN).run(feeds[0])
        except Crashed:
            raise
        except InputError as error:
            mend = "time each alone" if found is None else "give samples that both take"
            raise InputError(
                "the model does not take the inputs", where=source.path or "", why=str(error), mend=mend
            ) from error
    alone = b is None
    return compare_latency(
        first.model,
        second.model,
        feeds,
        threads=threads,
        processes=4 if alone else 10,
        seconds=seconds if seconds is not None else 1.0 if alone else 4.0,
        progress=progress,
    )
