"""numpy's BLAS in one thread: another number of threads may sum in another order, and change the last bits."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Iterator
from typing import Any

ENVIRONMENT = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    ),
    "1",
)
"""What a fresh interpreter finds: each library reads its own name when it is loaded."""
_NAMES = ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}")
"""How builds of OpenBLAS name a function: numpy's own wheels have the first."""


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Has OpenBLAS compute in one thread for a while; does nothing where numpy has another BLAS."""
    controls = _controls()
    before = [get() for get, _ in controls]
    for _, put in controls:
        put(1)
    try:
        yield
    finally:
        for (_, put), threads in zip(controls, before, strict=True):
            put(threads)


@functools.cache
def _controls() -> list[tuple[Any, Any]]:
    """Functions that read and set the number of threads, of each OpenBLAS that this process has loaded."""
    import numpy  # noqa: F401 - it loads its BLAS

    if sys.platform != "linux":
        return []
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        paths = {line.split(maxsplit=5)[5].rstrip("\n") for line in file if "openblas" in line}
    found = []
    for path in sorted(paths):
        library = ctypes.CDLL(path)
        for name in _NAMES:
            get = getattr(library, name.format("get_num_threads"), None)
            put = getattr(library, name.format("set_num_threads"), None)
            if get is not None and put is not None:
                found.append((get, put))
                break
    return found
