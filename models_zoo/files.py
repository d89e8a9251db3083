"""Files of known types: real ones out of packages, other packages in each split, and some made here."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import pickle
import sqlite3
import tarfile
import wave
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import PurePosixPath

import numpy as np

from models_zoo.package import Wheel
from models_zoo.texts import line

WHEELS = {
    "calibration": (
        Wheel("django", "5.2.19", "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00"),
        Wheel("docutils", "0.23", "25d013af9bf23bc1c7b2b093dff4208166c53a94786c9e447808335ef1185fea"),
    ),
    "selection": (Wheel("nbconvert", "7.17.2", "6a143c11c00bf831604da4b1be4347d36ea52367057eb920135d69bc2862fed2"),),
    "report": (
        Wheel("ansible-core", "2.19.14", "d518d0e96fa75bedfe9b0a96d5b158aa712d092961824c115140c8677b88ff06"),
        Wheel("bokeh", "3.9.2", "448e07d5ee78231f5bdece3be020024bb98696c0d6b127e0e2df0b8ba8fa9765"),
        Wheel("sphinx", "9.0.4", "5bebc595a5e943ea248b99c13814c1c5e10b3ece718976824ffa7959ff95fffb"),
    ),
}
MADE = {"calibration": 6, "selection": 4, "report": 12}
"""How many files are made of each kind in `KINDS`."""
_TYPES = {
    **{".py": "python", ".yml": "yaml", ".j2": "jinja", ".jinja": "jinja", ".ps1": "powershell", ".psm1": "powershell"},
    **{".cs": "cs", ".sh": "shell", ".md": "markdown", ".json": "json", ".ts": "typescript", ".js": "javascript"},
    **{".css": "css", ".po": "po", ".svg": "svg", ".png": "png", ".sty": "latex", ".cls": "latex", ".tex": "latex"},
    **{".toml": "toml", ".ico": "ico", ".odt": "odt"},
}
"""Extension -> type. HTML is left out, for it is templates in all of these packages."""
_MOST = 40
"""Files of one type out of one package, so that no type rules; templates of other languages are the hard ones."""
_MOST_TEMPLATES = 12
_SMALLEST = 200


@cache
def real(split: str) -> dict[str, tuple[Wheel, str, str]]:
    """Id -> wheel, member and type. Deterministic: sorted by a hash, which mixes types and packages."""
    chosen = {}
    for wheel in WHEELS[split]:
        taken: Counter[str] = Counter()
        for member in sorted(_members(wheel), key=_mixed):
            kind = _TYPES[PurePosixPath(member).suffix]
            taken[kind] += 1
            if taken[kind] <= (_MOST_TEMPLATES if kind == "jinja" else _MOST):
                chosen[f"{wheel.name}/{member}"] = (wheel, member, kind)
    return chosen


def read(wheel: Wheel, member: str) -> bytes:
    """The bytes of a member."""
    return _open(wheel).read(member)


def made(split: str, kind: str, number: int) -> bytes:
    """A file made here: its contents depend on the arguments alone."""
    seed = hashlib.sha256(f"{split} {kind} {number}".encode()).digest()
    return KINDS[kind](split, np.random.default_rng(np.frombuffer(seed, np.uint32)))


def _members(wheel: Wheel) -> list[str]:
    infos = _open(wheel).infolist()
    return [i.filename for i in infos if i.file_size >= _SMALLEST and PurePosixPath(i.filename).suffix in _TYPES]


def _mixed(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@cache
def _open(wheel: Wheel) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(wheel.path().read_bytes()))


def _text(split: str, rng: np.random.Generator) -> bytes:
    return "\n".join(line(split, rng) for _ in range(rng.integers(20, 120))).encode()


def _zip(split: str, rng: np.random.Generator) -> bytes:
    with io.BytesIO() as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(rng.integers(1, 5)):
                archive.writestr(zipfile.ZipInfo(f"part{number}.txt"), _text(split, rng))
        return stream.getvalue()


def _tar(split: str, rng: np.random.Generator) -> bytes:
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for number in range(rng.integers(1, 5)):
                data = _text(split, rng)
                info = tarfile.TarInfo(f"part{number}.txt")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return stream.getvalue()


def _sqlite(split: str, rng: np.random.Generator) -> bytes:
    database = sqlite3.connect(":memory:")
    try:
        database.execute("create table lines (number integer primary key, words text)")
        rows = ((number, line(split, rng)) for number in range(rng.integers(20, 200)))
        database.executemany("insert into lines values (?, ?)", rows)
        database.commit()
        return database.serialize()
    finally:
        database.close()


def _array(split: str, rng: np.random.Generator) -> bytes:
    with io.BytesIO() as stream:
        np.save(stream, rng.standard_normal((rng.integers(10, 90), rng.integers(3, 12)), dtype=np.float32))
        return stream.getvalue()


def _wave(split: str, rng: np.random.Generator) -> bytes:
    with io.BytesIO() as stream:
        with wave.open(stream, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(int(rng.choice([8000, 16000, 44100])))
            tone = np.sin(np.arange(8000) * rng.uniform(0.01, 0.5)) * 9000 + rng.standard_normal(8000) * 300
            sound.writeframes(tone.astype("<i2").tobytes())
        return stream.getvalue()


def _table(separator: str, split: str, rng: np.random.Generator) -> bytes:
    columns = rng.integers(3, 8)
    names = [line(split, rng).split(" ")[0].strip(",;:") or "name" for _ in range(columns)]
    rows = [[str(round(float(value), 3)) for value in rng.normal(size=columns)] for _ in range(rng.integers(20, 80))]
    return "\n".join(separator.join(row) for row in [names, *rows]).encode()


def _image(format: str, split: str, rng: np.random.Generator) -> bytes:
    from PIL import Image

    small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    with io.BytesIO() as stream:
        Image.fromarray(small).resize((96, 72), Image.Resampling.BICUBIC).save(stream, format)
        return stream.getvalue()


KINDS: dict[str, Callable[[str, np.random.Generator], bytes]] = {
    "zip": _zip,
    "tar": _tar,
    "gzip": lambda split, rng: gzip.compress(_text(split, rng), mtime=0),
    "bzip": lambda split, rng: bz2.compress(_text(split, rng)),
    "xz": lambda split, rng: lzma.compress(_text(split, rng)),
    "sqlite": _sqlite,
    "npy": _array,
    "wav": _wave,
    "pickle": lambda split, rng: pickle.dumps([line(split, rng) for _ in range(rng.integers(20, 90))], protocol=4),
    "csv": lambda split, rng: _table(",", split, rng),
    "jpeg": lambda split, rng: _image("JPEG", split, rng),
    "gif": lambda split, rng: _image("GIF", split, rng),
    "bmp": lambda split, rng: _image("BMP", split, rng),
    "webp": lambda split, rng: _image("WEBP", split, rng),
    "tiff": lambda split, rng: _image("TIFF", split, rng),
}
"""Type -> how such a file is made."""
