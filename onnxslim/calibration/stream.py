"""One streaming run that fills the statistics asked for, in bounded memory, the same bits whoever runs which part.

Long because the plan of a run (sizes, shards, blocks) and the run rest on the same counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.calibration.blocks import BLOCK
from onnxslim.calibration.expose import measured
from onnxslim.calibration.fingerprint import fingerprints, joined
from onnxslim.calibration.gram import Gram
from onnxslim.calibration.histogram import BINS
from onnxslim.calibration.statistics import Key, Request, Statistic, Statistics
from onnxslim.errors import CheckFailed, InputError, did_you_mean
from onnxslim.execution import OnnxRuntime
from onnxslim.execution.session import Port, Session, open_session
from onnxslim.ops.unfold import Uneven
from onnxslim.samples.check import PortLike, check_sample, check_samples
from onnxslim.samples.identity import Digest, combine, content_hash
from onnxslim.samples.sample import Indexed, Sample, Samples

WORKSPACE = 32 << 20
"""Bytes of the budget kept for the buffers of histograms and Gram matrices."""
TELL = 10.0
"""Seconds between two lines of progress within a reading."""
GUESSED_CHANNELS = 4096
"""Channels reckoned with where the model leaves their number open."""


def collect(
    model: ir.Model,
    samples: Samples,
    requests: Sequence[Request],
    *,
    memory: int = 1 << 30,
    threads: int = 1,
    shard: tuple[int, int] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Statistics:
    """Runs ``model`` over ``samples`` and measures what ``requests`` ask for.

    The samples are read once to check, hash and count them, then once for each group of requests whose statistics and
    exposed activations fit into ``memory`` together; usually that is one group. Sessions run without optimizations, so
    that every value exists as the model defines it and its bits do not depend on what else is exposed.

    All results are held at the end: where those of many Gram matrices are too large together, take them group by group
    from `collect_in_groups`.

    Args:
        model: Left as it is.
        samples: Read several times; must give the same each time.
        requests: May hold duplicates.
        memory: Bytes for statistics and exposed activations. What onnxruntime needs to run the model comes on top.
        threads: Threads of the sessions; the bits of float sums hold for one number of threads on one CPU.
        shard: ``(index, count)``: only the blocks of this share. Shards merge to what one run gives.
        progress: Called with a short text before each reading of the samples.

    Returns:
        The statistics by fingerprint, and in ``declined`` the requests that could not be served, with the reason.

    Raises:
        InputError: A value is unknown, a sample does not fit the model, there are no samples, the source changes
            between two readings, or the shard is malformed.
        CheckFailed: The model fails on a sample; the message names it.
    """
    groups = collect_in_groups(model, samples, requests, memory=memory, threads=threads, shard=shard, progress=progress)
    result = next(groups)
    for group in groups:
        result = result.merge(group)
    return result


def collect_in_groups(
    model: ir.Model,
    samples: Samples,
    requests: Sequence[Request],
    *,
    memory: int = 1 << 30,
    threads: int = 1,
    shard: tuple[int, int] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Statistics]:
    """Like `collect`, but hands over each group of requests when its reading is done, and keeps nothing of it.

    Yields:
        Statistics of the same samples and blocks, at least once; each group fits into ``memory``.
    """
    if memory <= WORKSPACE:
        raise InputError(f"a memory budget of {memory:,} bytes is too small", mend=f"give more than {WORKSPACE:,}")
    wanted, declined = _screen(model, dict.fromkeys(requests))
    values = list(dict.fromkeys(value for _, read in wanted for value in read))
    produced = [value for value in values if not value.is_graph_input()]
    ports, kinds = _inspect(model, produced, threads)
    kinds |= {value: port for value in values for port in ports if value.is_graph_input() and port.name == value.name}
    wanted = [item for item in wanted if _is_float(item, kinds, declined)]
    progress("reading the samples")
    left = {value for _, read in wanted for value in read}
    survey = _survey(model, samples, [value for value in produced if value in left], ports, threads)
    blocks = -(-len(survey.parts) // BLOCK)
    covered = _share(blocks, shard)
    marks = fingerprints(model)
    ranges = (covered,) if covered[0] < covered[1] else ()
    groups = _plan(wanted, survey, kinds, memory - WORKSPACE, blocks, declined)
    for number, group in enumerate(groups or [[]], 1):
        result = Statistics(survey.hash, blocks, ranges, declined=dict(declined))
        if group:
            progress(f"collecting {len(group)} statistics, reading {number} of {len(groups)}")
            _fill(model, samples, group, survey, ports, covered, threads, marks, result, progress)
        yield result
        del result  # the caller may be done with it: do not hold two groups at once


Wanted = tuple[Request, tuple[ir.Value, ...]]


@dataclass
class _Survey:
    """What one reading of the samples tells."""

    parts: list[tuple[str, Digest]]
    sizes: dict[ir.Value, int]
    """Entries of each value in the largest sample."""

    @property
    def hash(self) -> str:
        return combine(self.parts)


def _screen(model: ir.Model, requests: dict[Request, None]) -> tuple[list[Wanted], dict[Request, str]]:
    """The requests with their values in topological order, and those that cannot be served by what they name."""
    graph = model.graph
    known = {value.name: value for value in graph.inputs}
    known |= {value.name: value for node in graph for value in node.outputs if value.name}
    order = {value: place for place, value in enumerate(known.values())}
    inner: set[str | None] | None = None
    wanted: list[Wanted] = []
    declined: dict[Request, str] = {}
    for request in requests:
        values: list[ir.Value] = []
        for name in request.values:
            value = known.get(name)
            if value is None and name not in graph.initializers:
                if inner is None:
                    inner = {out.name for node in ir.traversal.RecursiveGraphIterator(graph) for out in node.outputs}
                if name not in inner:
                    raise InputError(f"the model has no value {name!r}", mend=did_you_mean(name, map(str, known)))
                declined[request] = "the value is inside a subgraph, which may run any number of times"
            elif value is None or ir.convenience.get_const_tensor(value) is not None:
                if not request.others:
                    declined[request] = "the value is constant: read it from the model"
            elif isinstance(value.type, ir.SequenceType | ir.OptionalType):
                declined[request] = "the value is no tensor"
            else:
                values.append(value)
        if not values:
            declined.setdefault(request, "the values are constant: read them from the model")
        if request not in declined:
            wanted.append((request, tuple(values)))
    return sorted(wanted, key=lambda item: min(order[value] for value in item[1])), declined


def _inspect(model: ir.Model, produced: list[ir.Value], threads: int) -> tuple[tuple[Port, ...], dict[ir.Value, Port]]:
    """The inputs, and what onnxruntime says of each value. Nothing is run."""
    session = OnnxRuntime(threads, optimize=False).open(model, produced, only=bool(produced))
    return session.inputs, dict(zip(produced, session.outputs, strict=True)) if produced else {}


def _is_float(item: Wanted, kinds: dict[ir.Value, Port], declined: dict[Request, str]) -> bool:
    request, values = item
    for port in (kinds[value] for value in values):
        if port.dtype is None or port.dtype.kind != "f":
            declined[request] = f"the value is {port.type}: statistics are for float16, float and double"
            return False
    return True


def _survey(
    model: ir.Model, samples: Samples, values: list[ir.Value], ports: Sequence[PortLike], threads: int
) -> _Survey:
    """Reads all samples once; a sample larger than all before in any input is run, to see how large the values get."""
    session = names = None
    parts: list[tuple[str, Digest]] = []
    sizes: dict[ir.Value, int] = {}
    largest: dict[str, int] = {}
    for sample in check_samples(samples, ports):
        parts.append((sample.id, content_hash(sample)))
        larger = {name: array.size for name, array in sample.feed.items() if array.size > largest.get(name, -1)}
        largest |= larger
        if larger and values:
            if session is None or names is None:
                probe, names = measured(model, values)
                session = open_session(probe, threads=threads, optimize=False)
            found = _run(session, sample, names)
            for value, name in zip(values, names, strict=True):
                sizes[value] = max(sizes.get(value, 0), int(found[name]))
    if not parts:
        raise InputError("there are no samples to calibrate with")
    sizes |= {value: largest[value.name] for value in model.graph.inputs if value.name in largest}
    return _Survey(parts, sizes)


def _share(blocks: int, shard: tuple[int, int] | None) -> tuple[int, int]:
    """The blocks of a shard, half open. Consecutive ones, so that a shard holds few nodes of each sum."""
    index, count = shard or (0, 1)
    if count < 1 or not 0 <= index < count:
        raise InputError(f"shard {index} of {count} does not exist", mend="use 0 to count - 1")
    return blocks * index // count, blocks * (index + 1) // count


def _plan(
    wanted: list[Wanted],
    survey: _Survey,
    kinds: dict[ir.Value, Port],
    budget: int,
    blocks: int,
    declined: dict[Request, str],
) -> list[list[Wanted]]:
    """Groups of requests, in topological order, whose statistics and activations fit into ``budget`` together."""
    groups: list[list[Wanted]] = []
    state = activations = peak = 0
    seen: set[ir.Value] = set()
    for request, values in wanted:
        sizes = {value: survey.sizes.get(value, 0) * _itemsize(kinds[value]) for value in values}
        own, size = _state_bytes(request, values, kinds, survey, blocks), max(sizes.values())
        if own + sum(sizes.values()) + size > budget:
            need = own + sum(sizes.values()) + size
            declined[request] = f"it needs {need:,} bytes, {budget:,} of the memory budget are free for it"
            continue
        extra = sum(each for value, each in sizes.items() if value not in seen)
        # A statistic may copy the activation that it looks at (padding), one at a time.
        if not groups or state + own + activations + extra + max(peak, size) > budget:
            groups.append([])
            state, activations, peak, extra = 0, 0, 0, sum(sizes.values())
            seen = set()
        groups[-1].append((request, values))
        seen.update(values)
        state, activations, peak = state + own, activations + extra, max(peak, size)
    return groups


def _itemsize(port: Port) -> int:
    return port.dtype.itemsize if port.dtype else 0


def _state_bytes(
    request: Request, values: Sequence[ir.Value], kinds: dict[ir.Value, Port], survey: _Survey, blocks: int
) -> int:
    """Bytes that a statistic may hold at once."""
    nodes = max(0, blocks - 1).bit_length() + 2  # of the tree, the open block, one term
    if request.unfold is not None:
        unfold = request.unfold
        rows = len(survey.parts) * sum(survey.sizes.get(value, 0) for value in values) // unfold.features
        kept = unfold.features * max(_itemsize(kinds[value]) for value in values)  # bytes of a row
        if rows <= unfold.most_rows:
            return rows * kept + unfold.buffer_bytes
        return unfold.nbytes * nodes + unfold.most_rows * kept + unfold.buffer_bytes
    if request.kind == "histogram":
        return BINS * 8 * 3
    shape = kinds[values[0]].shape
    channels = shape[request.axis] if request.axis is not None and -len(shape) <= request.axis < len(shape) else None
    known = channels if isinstance(channels, int) else GUESSED_CHANNELS
    return (known if request.axis is not None else 1) * 8 * (nodes + 1)


def _fill(
    model: ir.Model,
    samples: Samples,
    group: list[Wanted],
    survey: _Survey,
    ports: Sequence[PortLike],
    covered: tuple[int, int],
    threads: int,
    marks: dict[ir.Value, str],
    result: Statistics,
    progress: Callable[[str], None],
) -> None:
    """One reading of the samples for one group of requests."""
    produced = list(dict.fromkeys(value for _, read in group for value in read if not value.is_graph_input()))
    names = [value.name or "" for value in produced]
    session = OnnxRuntime(threads, optimize=False).open(model, produced, only=True) if produced else None
    live: dict[Request, tuple[tuple[ir.Value, ...], Statistic]] = {
        request: (values, request.empty()) for request, values in group
    }
    told = time.monotonic()
    for index, sample in _slice(samples, covered[0] * BLOCK, covered[1] * BLOCK, len(survey.parts), ports):
        if time.monotonic() > told + TELL:
            told = time.monotonic()
            progress(f"collecting {len(group)} statistics: {index} of {len(survey.parts)} samples")
        if (sample.id, content_hash(sample)) != survey.parts[index]:
            raise _changed(sample.id)
        found: dict[str, np.ndarray] = dict(sample.feed)
        if session is not None:
            found |= _run(session, sample, names)
        for request, (values, statistic) in list(live.items()):
            try:
                for value in values:
                    statistic.add(found[value.name or ""], index // BLOCK)
            except Uneven as error:
                result.declined[request] = f"sample {sample.id!r}: {error}"
                del live[request]
    if covered[0] < covered[1]:
        for request, (values, statistic) in live.items():
            if isinstance(statistic, Gram):
                statistic.close()
            mark = marks[values[0]] if len(values) == 1 else joined([marks[value] for value in values])
            key: Key = (mark, request.what)
            result.entries[key] = statistic
            result.names[request.name] = mark


def _slice(
    samples: Samples, start: int, stop: int, total: int, ports: Sequence[PortLike]
) -> Iterator[tuple[int, Sample]]:
    """Samples ``start`` to ``stop`` with their places, checked; the others are not read where that can be helped."""
    stop = min(stop, total)
    if isinstance(samples, Indexed):
        for index in range(start, stop):
            yield index, check_sample(samples[index], ports)
        return
    seen = 0
    for index, sample in enumerate(samples):
        if index >= total and stop == total:
            raise _changed(sample.id)
        if index >= stop:
            return
        seen = index + 1
        if index >= start:
            yield index, check_sample(sample, ports)
    if seen < stop:
        raise _changed(f"number {seen}")


def _run(session: Session, sample: Sample, names: Sequence[str]) -> dict[str, np.ndarray]:
    try:
        return session.run(sample.feed, list(names))
    except (CheckFailed, InputError) as error:
        where = f"sample {sample.id!r}, {error.where}" if error.where else f"sample {sample.id!r}"
        raise type(error)(error.what, where=where, why=error.why, mend=error.mend) from error


def _changed(name: str) -> InputError:
    return InputError(
        f"sample {name!r} is not what it was at the first reading",
        why="the source does not give the same samples each time it is read",
        mend="make the source deterministic: fix its seed and its order",
    )
