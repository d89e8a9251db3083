from __future__ import annotations

from pathlib import Path

import pytest

from onnxslim.execution import TARGETS, host_target
from onnxslim.execution.target import classify, linux_flags


@pytest.mark.parametrize(
    ("machine", "flags", "name"),
    [
        ("x86_64", {"avx2"}, "x86-avx2"),
        ("x86_64", {"avx2", "avx_vnni"}, "x86-vnni"),
        ("AMD64", {"amx_int8"}, "x86-vnni"),
        ("x86_64", set(), "x86-avx2"),
        ("aarch64", {"asimddp"}, "arm64"),
        ("arm64", set(), "arm64"),
    ],
)
def test_machines_are_classified(machine: str, flags: set[str], name: str) -> None:
    assert classify(machine, frozenset(flags)) == name


def test_presets_hold_what_was_measured() -> None:
    assert (TARGETS["x86-vnni"].activation, TARGETS["x86-vnni"].weight) == ("uint8", "int8")
    assert TARGETS["x86-avx2"].reduce_range
    assert TARGETS["arm64"].activation == "int8"
    assert TARGETS["arm64"].session_config == {"session.qdqisint8allowed": "1"}
    assert all(name == target.name for name, target in TARGETS.items())


def test_host_is_one_of_the_presets() -> None:
    assert host_target() in TARGETS.values()


def test_flags_come_from_cpuinfo(tmp_path: Path) -> None:
    (tmp_path / "x86").write_text("processor : 0\nflags\t\t: fpu avx2 avx512_vnni\n")
    (tmp_path / "arm").write_text("processor : 0\nFeatures\t: fp asimd asimddp\n")
    assert "avx512_vnni" in linux_flags(tmp_path / "x86")
    assert "asimddp" in linux_flags(tmp_path / "arm")
    assert linux_flags(tmp_path / "none") == frozenset()
