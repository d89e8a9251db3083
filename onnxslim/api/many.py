"""A folder of models, one after another: what is done stays done, and what fails stops no other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from onnxslim.api.folder_samples import samples_of
from onnxslim.api.result import Result
from onnxslim.errors import InputError, OnnxSlimError
from onnxslim.graph import load
from onnxslim.graph.reader import source_of
from onnxslim.pipeline.config import Progress
from onnxslim.pipeline.keys import Keys
from onnxslim.report.folder import FolderReport, ModelLine
from onnxslim.samples.sources import SampleSource
from onnxslim.search.journal import Journal
from onnxslim.version import versions

WORK = ".onnxslim"
"""Folder of the journals within that of the results, where no other is named."""
KIND = "model"
CHUNK = 1 << 20

Run = Callable[..., Result]


def compress_folder(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    samples: SampleSource,
    run: Run,
    work: str | os.PathLike[str] | None = None,
    settings: object = (),
    trust_data_dir: str | os.PathLike[str] | None = None,
    interrupted: Callable[[Result], bool] = lambda _: False,
    progress: Progress = lambda _: None,
) -> FolderReport:
    """Compresses every ``.onnx`` below a folder; sub-folders keep their place. Hidden files and folders are left out.

    A result that is there from an earlier run is not made again, as long as neither it, nor its model, its samples
    (names, sizes and times of the files) or the settings have changed.

    Args:
        folder: With the models.
        output: Folder of the results, outside of ``folder``.
        samples: One source for all, or a folder with one for each model (`folder_samples.samples_of`).
        run: ``run(model, output, samples=..., work=...)`` compresses one model; ``work`` is a folder for its journal.
        work: Folder of the journals; `WORK` in ``output`` where none is named.
        settings: All that a result depends on besides: numbers, texts, and tuples, mappings and dataclasses of such.
        trust_data_dir: Where external data may lie besides.
        interrupted: Whether a result is only the best until the user interrupted the run: no other model is begun.
        progress: Hears what is going on.

    Returns:
        What came of each model; ``exit_code`` is 1 where one failed.

    Raises:
        InputError: A folder cannot be used, there are no models, or the samples are not clear.
    """
    source, target = Path(folder), Path(output)
    _refuse_nested(source, target)
    models = list(models_below(source))
    if not models:
        raise InputError("the folder has no models", where=str(source), mend="name a folder with .onnx files")
    sources, used = samples_of(models, samples)
    lines: list[ModelLine] = []
    with Journal(_journals(target, work) / "folder") as journal:
        for index, name in enumerate(models, 1):
            progress(f"model {index} of {len(models)}: {name}")
            one = _One(source / name, target / name, sources[name], trust_data_dir)
            made = _compressed(one, str(name), run, _journals(target, work) / "models" / name, journal, settings)
            if isinstance(made, ModelLine):
                lines.append(made)
                continue
            result, line, key = made
            lines.append(line)
            if interrupted(result):
                break
            journal.put(key, KIND, vars(line) | {"files": one.written(result)})
    return FolderReport(models=lines, samples=used, left=len(models) - len(lines))


def models_below(folder: Path) -> Iterator[PurePath]:
    """Paths of the models within the folder, sorted."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        inside = Path(place).relative_to(folder)
        found += [inside / each for each in files if each.lower().endswith(".onnx") and not each.startswith(".")]
    return iter(sorted(found))


def _refuse_nested(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise InputError("there is no such folder", where=str(source), mend="name a folder of models")
    if target.exists() and not target.is_dir():
        raise InputError("the output of a folder is a folder", where=str(target), mend="name a folder with -o")
    one, other = (Path(os.path.realpath(each)) for each in (source, target))
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise InputError(
            "one of the two folders lies in the other",
            where=f"{source}, {target}",
            why="results would be taken for models, or replace them",
            mend="name another folder with -o",
        )


def _journals(target: Path, work: str | os.PathLike[str] | None) -> Path:
    return target / WORK if work is None else Path(work)


class _One:
    """One model of the folder: where it is, where its result goes, and its samples."""

    def __init__(
        self, path: Path, target: Path, samples: SampleSource, trust_data_dir: str | os.PathLike[str] | None
    ) -> None:
        self.path, self.target, self.samples = path, target, samples
        self._trusted = trust_data_dir

    def key(self, settings: object) -> str:
        """Of all that the result depends on."""
        origin = source_of(load(self.path, trust_data_dir=self._trusted))
        files = [self.path, *(origin.data_files if origin is not None else ())]
        content = tuple(_digest(Path(each)) for each in files)
        return Keys().of(str(self.target), content, tuple(_traits(self.samples)), settings, versions())

    def recalled(self, key: str, journal: Journal) -> ModelLine | None:
        """What an earlier run made, where it is still there."""
        known = journal.get(key)
        if known is None:
            return None
        files: Mapping[str, str] = known["files"]
        if any(_digest(self.target.parent / name) != digest for name, digest in files.items()):
            return None
        facts = {name: value for name, value in known.items() if name not in ("files", "skipped")}
        return ModelLine(**facts, skipped=True)

    def written(self, result: Result) -> dict[str, str]:
        """Digests of the files of the result, by their names beside the model."""
        names = [os.path.basename(each.path) for each in result.report.files]
        return {name: _digest(self.target.parent / name) for name in names}


def _compressed(
    one: _One, name: str, run: Run, work: Path, journal: Journal, settings: object
) -> ModelLine | tuple[Result, ModelLine, str]:
    """Runs one model; a failure, or what an earlier run made, is a line."""
    source = one.samples if isinstance(one.samples, str | os.PathLike) else type(one.samples).__name__
    facts: dict[str, Any] = {"name": name, "samples": os.fspath(source)}
    try:
        key = one.key(settings)
        if (known := one.recalled(key, journal)) is not None:
            return known
        one.target.parent.mkdir(parents=True, exist_ok=True)
        result = run(one.path, one.target, samples=one.samples, work=work)
    except Exception as error:  # whatever it is, the other models are to be done
        reason = str(error) if isinstance(error, OnnxSlimError) else f"{type(error).__name__}: {error}"
        size = one.path.stat().st_size if one.path.is_file() else None
        return ModelLine(**facts, decision="failed", reason=reason, bytes=size, failed=True)
    report = result.report
    latency = report.latency
    told = latency is not None and latency.verdict != "no difference"
    line = ModelLine(
        **facts,
        decision=report.decision,
        reason=report.reason,
        bytes=report.input.bytes,
        output_bytes=None if report.output is None else report.output.bytes,
        speedup=1 / latency.ratio if latency is not None and told else None,
    )
    return result, line, key


def _digest(path: Path) -> str:
    """Of a file's content; empty where there is none."""
    made = hashlib.blake2b(digest_size=32)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                made.update(chunk)
    except FileNotFoundError:
        return ""
    return made.hexdigest()


def _traits(source: SampleSource) -> Iterator[tuple[str, int, int]]:
    """What tells samples from others without a look into them: names, sizes and times of files."""
    if not isinstance(source, str | os.PathLike):
        yield type(source).__qualname__, 0, 0
        return
    path = Path(source)
    yield str(path), 0, 0
    for each in sorted(path.rglob("*")) if path.is_dir() else [path] * path.exists():
        found = each.stat()
        if each.is_file():
            yield str(each), found.st_size, found.st_mtime_ns
