"""The machines that a model can be made for, and which one this is."""

from __future__ import annotations

import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Int8 = Literal["uint8", "int8"]


@dataclass(frozen=True, slots=True)
class Target:
    """What static int8 quantization has to know of a machine."""

    name: str
    activation: Int8
    """Type of quantized activations."""
    weight: Int8
    """Type of quantized weights."""
    reduce_range: bool
    """Weights use 7 bits, because 8-bit products saturate in 16-bit sums."""
    qdq_is_int8_allowed: bool
    """onnxruntime's ``session.qdqisint8allowed`` default: whether elementwise int8 (signed) groups are fused."""
    notes: str

    @property
    def session_config(self) -> dict[str, str]:
        """Session config entries under which this machine behaves like the target, fusions included."""
        return {"session.qdqisint8allowed": "1" if self.qdq_is_int8_allowed else "0"}


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "x86-vnni",
            "uint8",
            "int8",
            reduce_range=False,
            qdq_is_int8_allowed=False,
            notes="AVX-VNNI, AVX512-VNNI or AMX. Signed activations are slow where a value has several readers; "
            "unsigned weights are 2.5-3.5x slower.",
        ),
        Target(
            "x86-avx2",
            "uint8",
            "int8",
            reduce_range=True,
            qdq_is_int8_allowed=False,
            notes="x86 without VNNI: pairs of products are summed in 16 bits and saturate, so weights use 7 bits "
            "(about 2 dB).",
        ),
        Target(
            "arm64",
            "int8",
            "int8",
            reduce_range=False,
            qdq_is_int8_allowed=True,
            notes="Unsigned weights cost 24-29 % more instructions. Cores with dot product (Armv8.2) gain 40-70 %, "
            "older ones 8-18 %.",
        ),
    )
}
"""Presets by name."""


def host_target() -> Target:
    """The preset for this machine; ``x86-avx2``, which is right on every x86, where the CPU's features are unknown."""
    return TARGETS[classify(platform.machine(), cpu_flags())]


def classify(machine: str, flags: frozenset[str]) -> str:
    """Name of the preset for an architecture and its feature flags.

    >>> classify("x86_64", frozenset({"avx2", "avx512_vnni"})), classify("aarch64", frozenset())
    ('x86-vnni', 'arm64')
    """
    if machine.lower() in ("aarch64", "arm64") or machine.lower().startswith("armv8"):
        return "arm64"
    return "x86-vnni" if flags & {"avx512_vnni", "avx_vnni", "amx_int8"} else "x86-avx2"


def cpu_flags() -> frozenset[str]:
    """Feature flags of the CPU as Linux names them, e.g. ``avx512_vnni``; empty where they cannot be read."""
    system = platform.system()
    if system == "Linux":
        return linux_flags(Path("/proc/cpuinfo"))
    if system == "Darwin":
        return _mac_flags()
    return frozenset()


def linux_flags(cpuinfo: Path) -> frozenset[str]:
    """What a file like ``/proc/cpuinfo`` says that the first processor has; empty where it cannot be read."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:  # a sandbox may hide it; unknown is an answer
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found[1].lower().split()) if found else frozenset()


def _mac_flags() -> frozenset[str]:
    try:
        said = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.features", "machdep.cpu.leaf7_features"],
            capture_output=True,
            text=True,
            timeout=5,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return frozenset("avx512_vnni" if flag == "avx512vnni" else flag for flag in said.lower().split())
