"""Runs verbs on models and samples that are made to exhaust memory or time, and prints what each run took.

    python tools/bench_bombs.py                          # the bombs of this file, in a temporary folder
    python tools/bench_bombs.py --folder DIR             # every model and every s_* source of samples in DIR
    python tools/bench_bombs.py --only loop samples_ --verbs slim verify

Each run is a process of its own: its exit code, peak memory (the largest process of its tree), CPU and wall seconds are
those that the system counts. A run must stay within 2 GB and 30 s of CPU time, and end with an answer or a refusal: an
exit code of 0 to 3, and no report of a bug. A watchdog ends what takes more than three times that.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MAX_BYTES = 2 * 10**9
"""Peak memory of a run."""
MAX_SECONDS = 30.0
"""CPU time of a run."""
ENOUGH = 3
"""Times these bounds that a run is left to show how far off it is."""
BUGS = ("bug of onnxslim", "crashed", "Traceback")
TINY = "tiny.onnx"
"""The model that samples are for: one float input ``x`` of [n, 64]."""

Array = np.ndarray[Any, np.dtype[Any]]


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    """A node."""
    return helper.make_node(kind, list(inputs), list(outputs), **attributes)


# --- models -----------------------------------------------------------------------------------------------------------


def value(name: str, shape: Sequence[int | str] | None, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """A graph input or output."""
    return helper.make_tensor_value_info(name, dtype, shape)


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Any] | None = None,
    inputs: Sequence[onnx.ValueInfoProto] | None = None,
    outputs: Sequence[onnx.ValueInfoProto] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
) -> bytes:
    """A model of x (float[1]) and y, unless other ports are given."""
    graph = helper.make_graph(
        list(nodes),
        "bomb",
        list(inputs or [value("x", [1])]),
        list(outputs or [value("y", None)]),
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(f.domain, 1) for f in functions[:1])]
    made = helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=8)
    return bytes(made.SerializeToString())


def filled(name: str, size: str, number: float = 1.0) -> onnx.NodeProto:
    """``name`` = a vector of ``number``, as long as the constant ``size`` says."""
    return node("ConstantOfShape", [size], [name], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [number]))


def held(count: int, elements: int) -> bytes:
    """Constants of ``elements`` floats, made of a few bytes, each of which three nodes want at run time."""
    nodes, constants, parts = [], {}, []
    for i in range(count):
        constants[f"size{i}"] = np.array([elements], np.int64)
        nodes.append(filled(f"c{i}", f"size{i}", i + 1.0))
        for kind in ("Exp", "Neg", "Sign"):
            nodes += [node(kind, [f"c{i}"], [f"{kind}{i}"]), node("Gather", [f"{kind}{i}", "at"], [f"p{kind}{i}"])]
            parts.append(f"p{kind}{i}")
    return model([*nodes, node("Sum", parts, ["y"])], constants, [value("at", [1], TensorProto.INT64)])


def kept_chain(length: int, elements: int) -> bytes:
    """c, c + 1, c + 2, ...: every link is wanted at run time."""
    nodes, parts = [filled("c0", "size")], []
    for i in range(length):
        nodes += [node("Mul", [f"c{i}", "step"], [f"c{i + 1}"]), node("Gather", [f"c{i + 1}", "at"], [f"p{i}"])]
        parts.append(f"p{i}")
    constants = {"size": np.array([elements], np.int64), "step": np.float32(1.5)}
    return model([*nodes, node("Sum", parts, ["y"])], constants, [value("at", [1], TensorProto.INT64)])


def reduced(grown: onnx.NodeProto, **constants: Any) -> bytes:
    """One operator that grows constants into the tensor ``big``, of which a single number is left."""
    last = [node("ReduceMax", ["big"], ["one"], keepdims=0), node("Add", ["x", "one"], ["y"])]
    return model([grown, *last], constants)


def grown_at_run_time(*shape: int) -> bytes:
    """The input itself is expanded."""
    nodes = [node("Expand", ["x", "shape"], ["big"]), node("Tanh", ["big"], ["t"])]
    return model([*nodes, node("ReduceMax", ["t"], ["y"], keepdims=0)], {"shape": np.array(shape, np.int64)})


def loop(trips: int, body: onnx.NodeProto, shape: Sequence[int] | None, start: str) -> bytes:
    """A Loop with a constant trip count that carries ``v``, starting from ``start``."""
    flags = value("go", [], TensorProto.BOOL), value("on", [], TensorProto.BOOL)
    graph = helper.make_graph(
        [node("Identity", ["go"], ["on"]), body],
        "body",
        [value("i", [], TensorProto.INT64), flags[0], value("v", shape)],
        [flags[1], value("w", shape)],
    )
    nodes = [node("Loop", ["trips", "true", start], ["last"], body=graph), node("Add", ["x", "last"], ["y"])]
    return model(nodes, {"trips": np.int64(trips), "true": np.array(True), "k": np.ones(1, np.float32)})


def calls(depth: int, fan: int) -> bytes:
    """Functions each of which calls the one before ``fan`` times."""
    functions = []
    for level in range(depth):
        kind, domain = (f"F{level - 1}", "bomb") if level else ("Relu", "")
        body = [node(kind, [f"b{i}" if i else "a"], [f"b{i + 1}"], domain=domain) for i in range(fan)]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("bomb", 1)]
        functions.append(helper.make_function("bomb", f"F{level}", ["a"], [f"b{fan}"], body, opsets))
    return model([node(f"F{depth - 1}", ["x"], ["y"], domain="bomb")], functions=functions)


def branches(depth: int) -> bytes:
    """If in If: 2 ** ``depth`` leaves."""
    count = iter(range(1 << 30))

    def tree(level: int) -> onnx.GraphProto:
        name = f"n{next(count)}"
        if not level:
            made = node("Neg", ["x"], [name])
        else:
            made = node("If", ["c"], [name], then_branch=tree(level - 1), else_branch=tree(level - 1))
        return helper.make_graph([made], "branch", [], [value(name, None)])

    top = node("If", ["c"], ["y"], then_branch=tree(depth - 1), else_branch=tree(0))
    return model([top], inputs=[value("x", [1]), value("c", [], TensorProto.BOOL)])


def chain(count: int, *kinds: str, **attributes: Any) -> bytes:
    """``count`` nodes one after another."""
    nodes = [node(kinds[i % len(kinds)], [f"t{i}" if i else "x"], [f"t{i + 1}"], **attributes) for i in range(count)]
    return model([*nodes, node("Tanh", [f"t{count}"], ["y"])], inputs=[value("x", [2, 3])])


def wide(count: int, *, equal: bool) -> bytes:
    """``count`` nodes beside each other, all equal or all different."""
    if equal:
        nodes = [node("Abs", ["x"], [f"t{i}"]) for i in range(count)]
    else:
        nodes = [node("Pow", ["x", f"c{i}"], [f"t{i}"]) for i in range(count)]
    constants = {} if equal else {f"c{i}": np.array([2 + i], np.float32) for i in range(count)}
    return model([*nodes, node("Sum", [f"t{i}" for i in range(count)], ["y"])], constants)


def many_ports(count: int, *, inputs: bool) -> bytes:
    """``count`` inputs, or as many outputs."""
    if inputs:
        names = [f"x{i}" for i in range(count)]
        return model([node("Max", names, ["y"])], inputs=[value(name, [1]) for name in names])
    nodes = [node("Add", ["x", f"c{i}"], [f"y{i}"]) for i in range(count)]
    constants = {f"c{i}": np.array([i], np.float32) for i in range(count)}
    return model(nodes, constants, outputs=[value(f"y{i}", [1]) for i in range(count)])


def declared(*shape: int | str, rank_of: str = "input") -> bytes:
    """An input, or a constant, of a shape that nobody can hold or numpy cannot have."""
    if rank_of == "input":
        return model([node("ReduceMax", ["x"], ["y"], keepdims=0)], inputs=[value("x", shape)])
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [int(size) for size in shape], [1.0])
    proto = onnx.ModelProto.FromString(model([node("Add", ["x", "w"], ["y"])]))
    proto.graph.initializer.append(tensor)
    return bytes(proto.SerializeToString())


def field(number: int, payload: bytes, *, claimed: int | None = None) -> bytes:
    """A length-delimited field of protobuf, that may claim another length than it has."""

    def varint(n: int) -> bytes:
        out = bytearray()
        while n > 127:
            out.append(n & 127 | 128)
            n >>= 7
        return bytes([*out, n])

    return varint(number << 3 | 2) + varint(len(payload) if claimed is None else claimed) + payload


def nested_types(depth: int) -> bytes:
    """An input whose type is a sequence of sequences of ..."""
    kind = field(1, b"\x08\x01")  # tensor_type { elem_type: FLOAT }
    for _ in range(depth):
        kind = field(4, field(1, kind))  # sequence_type { elem_type: kind }
    port = field(1, b"x") + field(2, kind)
    graph = field(1, field(1, b"x") + field(2, b"y") + field(4, b"Identity")) + field(2, b"g")
    graph += field(11, port) + field(12, field(1, b"y") + field(2, kind))
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x11")


def external(folder: Path, location: str, elements: int, *, overlap: int = 1) -> bytes:
    """Weights in a file of their own; ``overlap`` tensors share the same bytes of it."""
    proto = onnx.ModelProto.FromString(
        model(
            [node("Gather", [f"w{i}", "at"], [f"p{i}"]) for i in range(overlap)]
            + [node("Sum", [f"p{i}" for i in range(overlap)], ["y"])],
            inputs=[value("at", [1], TensorProto.INT64)],
        )
    )
    for i in range(overlap):
        tensor = proto.graph.initializer.add(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[elements])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
    return bytes(proto.SerializeToString())


def sparse_file(path: Path, size: int) -> str:
    """A file of ``size`` zeros that takes no room; returns its name."""
    with path.open("wb") as file:
        file.truncate(size)
    return path.name


def linked(path: Path, to: str) -> str:
    """A symbolic link; returns its name."""
    path.symlink_to(to)
    return path.name


def pipe(path: Path) -> str:
    """A named pipe that nobody writes to; returns its name."""
    os.mkfifo(path)
    return path.name


def big(elements: int) -> Array:
    """A vector of ones."""
    return np.ones(elements, np.float32)


MODELS: dict[str, Callable[[Path], bytes]] = {
    "held_30x200MB": lambda _: held(30, 50_000_000),
    "held_150x40MB": lambda _: held(150, 10_000_000),
    "kept_chain_50x200MB": lambda _: kept_chain(50, 50_000_000),
    "range": lambda _: reduced(
        node("Range", ["a", "b", "c"], ["big"]), a=np.float32(0), b=np.float32(1e9), c=np.float32(1)
    ),
    "expand": lambda _: reduced(node("Expand", ["a", "s"], ["big"]), a=big(1), s=np.array([50_000, 90_000])),
    "tile": lambda _: reduced(node("Tile", ["a", "s"], ["big"]), a=big(1), s=np.array([9 * 10**9])),
    "pad": lambda _: reduced(node("Pad", ["a", "s"], ["big"]), a=big(1), s=np.array([10**10, 0])),
    "one_hot": lambda _: reduced(
        node("OneHot", ["i", "d", "v"], ["big"]), i=np.array([1]), d=np.array(10**10), v=np.array([0, 1], np.float32)
    ),
    "resize": lambda _: reduced(
        node("Resize", ["a", "", "s"], ["big"]),
        a=np.ones((1, 1, 3, 3), np.float32),
        s=np.array([1, 1, 30_000, 40_000], np.float32),
    ),
    "outer_product": lambda _: reduced(node("Mul", ["a", "b"], ["big"]), a=big(90_000).reshape(-1, 1), b=big(90_000)),
    "outer_einsum": lambda _: reduced(
        node("Einsum", ["a", "b"], ["big"], equation="i,j->ij"), a=big(90_000), b=big(90_000)
    ),
    "slow_convolution": lambda _: reduced(
        node("Conv", ["a", "w"], ["big"]),
        a=np.ones((1, 96, 256, 256), np.float32),
        w=np.ones((96, 96, 9, 9), np.float32),
    ),
    "cumulated": lambda _: model(
        [
            filled("c", "s"),
            node("CumSum", ["c", "axis"], ["big"]),
            node("ReduceMax", ["big"], ["m"], keepdims=0),
            node("Add", ["x", "m"], ["y"]),
        ],
        {"s": np.array([65_000_000]), "axis": np.int64(0)},
    ),
    "run_time_expand_40GB": lambda _: grown_at_run_time(100_000, 100_000),
    "run_time_expand_3GB": lambda _: grown_at_run_time(800, 1_000_000),
    "loop_1e12": lambda _: loop(10**12, node("Add", ["v", "v"], ["w"]), [1], "k"),
    "loop_1e12_of_input": lambda _: loop(10**12, node("Tanh", ["v"], ["w"]), [1], "x"),
    "loop_doubling": lambda _: loop(45, node("Concat", ["v", "v"], ["w"], axis=0), None, "x"),
    "calls_2^14": lambda _: calls(14, 2),
    "calls_2^22": lambda _: calls(22, 2),
    "calls_chain_2000": lambda _: calls(2000, 1),
    "branches_2^14": lambda _: branches(14),
    "chain_80k": lambda _: chain(80_000, "Abs", "Neg", "Exp"),
    "transposes_40k": lambda _: chain(40_000, "Transpose", perm=[1, 0]),
    "equal_50k": lambda _: wide(50_000, equal=True),
    "wide_40k": lambda _: wide(40_000, equal=False),
    "inputs_15k": lambda _: many_ports(15_000, inputs=True),
    "outputs_15k": lambda _: many_ports(15_000, inputs=False),
    "declared_400GB": lambda _: declared(1_000_000, 100_000),
    "declared_6GB": lambda _: declared(1500, 1_000_000),
    "declared_0.9GB": lambda _: declared(225, 1_000_000),
    "rank_70_input": lambda _: declared(*[1] * 70),
    "rank_70_constant": lambda _: declared(*[1] * 70, rank_of="constant"),
    "name_40MB": lambda _: model([node("Neg", ["x"], ["n" * 40_000_000]), node("Abs", ["n" * 40_000_000], ["y"])]),
    "ints_10M": lambda _: model([node("Add", ["x", "x"], ["y"], spare=[7] * 10_000_000)]),
    "claimed_4GB": lambda _: b"\x08\x08" + field(7, b"abc", claimed=1 << 32),
    "types_30_deep": lambda _: nested_types(30),
    "types_3000_deep": lambda _: nested_types(3000),
    "unknown_200MB": lambda _: model([node("Neg", ["x"], ["y"])]) + field(4000, bytes(200_000_000)),
    "data_device": lambda folder: external(folder, linked(folder / "zero", "/dev/zero"), 1000),
    "data_pipe": lambda folder: external(folder, pipe(folder / "data_pipe"), 1000),
    "data_outside": lambda folder: external(folder, "../../../../dev/zero", 1000),
    "data_40GB": lambda folder: external(folder, sparse_file(folder / "forty.bin", 40 << 30), 10 << 30),
    "data_300MB_x100": lambda folder: external(
        folder, sparse_file(folder / "shared.bin", 300_000_000), 75_000_000, overlap=100
    ),
}


# --- samples ----------------------------------------------------------------------------------------------------------


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """The header of a .npy, whatever comes after it."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (63 - (len(text) + 10) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def array_bytes(array: Array) -> bytes:
    """A .npy."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def good(rows: int = 2) -> bytes:
    """A .npy that suits the model."""
    return array_bytes(np.random.default_rng(0).normal(size=(rows, 64)).astype(np.float32))


def archive(path: Path, **members: bytes | tuple[bytes, int]) -> None:
    """A .npz: members are bytes, or bytes with so many MiB of zeros after them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in members.items():
            data, mebibytes = content if isinstance(content, tuple) else (content, 0)
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(data)
                for _ in range(mebibytes):
                    member.write(bytes(1 << 20))


def folder_with(path: Path, odd: Callable[[Path], object], count: int = 8) -> None:
    """A folder of good samples, the first of which is odd."""
    path.mkdir()
    for i in range(1, count):
        archive(path / f"{i:02d}.npz", x=good())
    odd(path / "00.npz")


def many_keys(path: Path, count: int) -> None:
    """An archive of ``count`` empty members."""
    with zipfile.ZipFile(path, "w") as file:
        for i in range(count):
            file.writestr(f"k{i}.npy", b"")


def many_files(path: Path, count: int) -> None:
    """``count`` samples, all of the same content."""
    path.mkdir()
    archive(path / "0.npz", x=good())
    for i in range(1, count):
        os.link(path / "0.npz", path / f"{i}.npz")


def npy_of_zeros(path: Path, rows: int) -> None:
    """A sparse file: ``rows`` samples that take no room on the disk."""
    with path.open("wb") as file:
        file.write(header((rows, 64)))
        file.truncate(file.tell() + rows * 256)


SAMPLES: dict[str, Callable[[Path], object]] = {
    "zip_bomb": lambda path: folder_with(path, lambda f: archive(f, x=(header((16 << 20, 64)), 4096))),
    "zip_bomb_in_one.npz": lambda path: archive(path, x=(header((16 << 20, 64)), 4096)),
    "surplus_key": lambda path: folder_with(path, lambda f: archive(f, x=good(), spare=(header((1 << 30,)), 4096))),
    "label_of_4GB": lambda path: folder_with(
        path, lambda f: archive(f, x=good(), __label__=(header((1 << 30,)), 4096))
    ),
    "lying_header": lambda path: folder_with(path, lambda f: archive(f, x=(header((10**11, 64)), 1))),
    "too_much_data": lambda path: folder_with(path, lambda f: archive(f, x=(header((2, 64)), 4096))),
    "keys_50k": lambda path: folder_with(path, lambda f: many_keys(f, 50_000)),
    "files_20k": lambda path: many_files(path, 20_000),
    "pipe": lambda path: folder_with(path, pipe),
    "device": lambda path: folder_with(path, lambda f: linked(f, "/dev/zero")),
    "pipe.npy": pipe,
    "device.npy": lambda path: linked(path, "/dev/zero"),
    "lying.npy": lambda path: path.write_bytes(header((10**12, 64)) + bytes(1024)),
    "zeros_8GB.npy": lambda path: npy_of_zeros(path, 32 << 20),
}
"""Sources of samples by name; a name without a suffix is a folder."""


def chosen(name: str, only: Sequence[str]) -> bool:
    """Whether a case is to be run: its name has one of the parts, or there are none."""
    return not only or any(part in name for part in only)


def write_own(folder: Path, only: Sequence[str]) -> None:
    """Writes the bombs whose names contain one of ``only``, all where it is empty."""
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    tiny = model([node("MatMul", ["x", "w"], ["y"])], {"w": weights}, [value("x", ["n", 64])])
    (folder / TINY).write_bytes(tiny)
    for name, make in MODELS.items():
        if chosen(name, only):
            (folder / f"{name}.onnx").write_bytes(make(folder))
    for name, write in SAMPLES.items():
        if chosen(f"s_{name}", only):
            write(folder / f"s_{name}")
    if chosen("odd_files", only):
        pipe(folder / "waiting.onnx")


# --- runs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """What one process took."""

    case: str
    verb: str
    exit_code: int
    peak_bytes: int
    cpu_seconds: float
    wall_seconds: float
    message: str

    @property
    def fault(self) -> str:
        """What is wrong with it; empty where nothing is."""
        if self.peak_bytes > MAX_BYTES:
            return "memory"
        if self.cpu_seconds > MAX_SECONDS:
            return "time"
        if self.exit_code not in (0, 1, 2, 3) or any(text in self.message for text in BUGS):
            return "answer"
        return ""


def run(case: str, verb: str, command: Sequence[str], folder: Path) -> Run:
    """Runs a command in a process group of its own under a watchdog."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        started = time.perf_counter()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=complained, cwd=folder, start_new_session=True
        )
        ended = threading.Event()
        watchdog = threading.Thread(target=_watch, args=(child.pid, started, ended))
        watchdog.start()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        ended.set()
        watchdog.join()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        texts = []
        for file in (complained, said):
            file.seek(0)
            texts.append([line.strip() for line in file.read(1 << 20).decode(errors="replace").splitlines()])
    problems = [line for line in texts[0] if "error" in line or any(bug in line for bug in BUGS)]
    problems += [line for line in texts[1] if "not compared" in line]
    message = ([*problems, *filter(None, texts[1])] or [""])[0]
    cpu = usage.ru_utime + usage.ru_stime
    return Run(case, verb, child.returncode, usage.ru_maxrss * 1024, round(cpu, 1), round(seconds, 1), message)


def _watch(group: int, started: float, ended: threading.Event) -> None:
    """Ends a run that is far over its bounds."""
    page = os.sysconf("SC_PAGE_SIZE")
    while not ended.wait(0.05):
        try:
            resident = int(Path(f"/proc/{group}/statm").read_text().split()[1]) * page
        except (OSError, IndexError):
            continue
        if resident > ENOUGH * MAX_BYTES or time.perf_counter() - started > ENOUGH * MAX_SECONDS:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


VERBS: dict[str, Callable[[str, str], list[str]]] = {
    "slim": lambda path, out: ["slim", path, "-o", out],
    "slim-no-verify": lambda path, out: ["slim", path, "-o", out, "--no-verify"],
    "inspect": lambda path, out: ["inspect", path],
    "verify": lambda path, out: ["verify", path, path],
    "bench": lambda path, out: ["bench", path],
    "quantize": lambda path, out: ["quantize", path, "-o", out],
    "prune": lambda path, out: ["prune", path, "-o", out],
    "sparsify": lambda path, out: ["sparsify", path, "-o", out],
}
SAMPLE_VERBS = ("quantize", "calibrate", "prune", "slim")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="bombs that are there already; s_* are sources of samples")
    parser.add_argument("--only", nargs="+", default=[], help="parts of names")
    parser.add_argument("--verbs", nargs="+", choices=VERBS, default=["slim"], help="run on models")
    parser.add_argument("--sample-verbs", nargs="+", choices=SAMPLE_VERBS, default=["quantize"], help="run on samples")
    parser.add_argument("--onnxslim", default=os.path.join(os.path.dirname(sys.executable), "onnxslim"))
    parser.add_argument("--json", type=Path, help="where to write the runs")
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="bombs-"))
    try:
        folder = options.folder
        if folder is None:
            folder = scratch / "bombs"
            folder.mkdir()
            # In a process of its own: a child's peak memory begins with what its parent holds when it is forked.
            writer = multiprocessing.get_context("spawn").Process(target=write_own, args=(folder, options.only))
            writer.start()
            writer.join()
            if writer.exitcode:
                raise SystemExit("the bombs could not be written")
        runs = run_all(folder.resolve(), scratch, options)
    finally:
        shutil.rmtree(scratch)
    if options.json:
        options.json.write_text(json.dumps([asdict(each) | {"fault": each.fault} for each in runs], indent=1))
    faults = [each for each in runs if each.fault]
    print(f"\n{len(runs)} runs, {len(faults)} beyond the bounds: {', '.join(f'{r.case}/{r.verb}' for r in faults)}")
    raise SystemExit(1 if faults else 0)


def run_all(folder: Path, scratch: Path, options: argparse.Namespace) -> list[Run]:
    """Every verb on every case, a line each."""
    only: Sequence[str] = options.only
    work: list[tuple[str, str, list[str]]] = []
    for path in sorted(folder.glob("*.onnx")):
        if path.name != TINY and chosen(path.stem, only):
            work += [(path.stem, verb, VERBS[verb](str(path), str(scratch / "out.onnx"))) for verb in options.verbs]
    tiny, out = str(folder / TINY), str(scratch / "out.onnx")
    for path in sorted(folder.glob("s_*")):
        if chosen(path.name, only):
            for verb in options.sample_verbs:
                target = str(scratch / "out.stats") if verb == "calibrate" else out
                work.append((path.name, verb, [verb, tiny, "--samples", str(path), "-o", target]))
    if chosen("odd_files", only):
        waiting = scratch / "waiting"
        os.mkfifo(waiting)
        folder_with(scratch / "few", lambda path: archive(path, x=good()))
        command = ["quantize", tiny, "-o", out, "--samples", str(scratch / "few"), "--stats", str(waiting)]
        work.append(("pipe as --stats", "quantize", command))
        work.append(("pipe as --recipe", "slim", ["slim", tiny, "-o", out, "--recipe", str(waiting)]))
    print(f"{'case':28} {'verb':14} {'exit':>4} {'MB':>6} {'CPU s':>6} {'wall s':>6}  what it said")
    runs = []
    for case, verb, command in work:
        found = run(case, verb, [options.onnxslim, *command], scratch)
        runs.append(found)
        for left in scratch.glob("out.*"):
            left.unlink()
        numbers = (
            f"{found.exit_code:4} {found.peak_bytes / 1e6:6.0f} {found.cpu_seconds:6.1f} {found.wall_seconds:6.1f}"
        )
        print(f"{case:28} {verb:14} {numbers}  {found.fault.upper():6} {found.message[:160]}", flush=True)
    return runs


if __name__ == "__main__":
    main()
