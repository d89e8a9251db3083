"""Opens one session in a process of its own, as a program does when it starts: how long, and how much memory?

    python -m tools.load_once model.onnx

Memory that was used before is quick to use again, so that the second session of a process says too little of what the
first one costs. Prints JSON: ``seconds``, and ``bytes`` by which the peak of the process grew.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from onnx import TensorProto, helper

from onnxslim.execution import open_session


def peak() -> int:
    """Bytes of memory that the process had at most; the peak that getrusage tells is also that of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) << 10


def main() -> int:
    # What onnxruntime does once, when its first session is opened, is no part of it.
    shape = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([node], "g", shape[:1], shape[1:])
    first = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    open_session(first.SerializeToString(), threads=1)
    before = peak()
    started = time.perf_counter()
    open_session(sys.argv[1], threads=1)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "bytes": peak() - before}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
