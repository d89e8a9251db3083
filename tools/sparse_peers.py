"""Runs one of the peers of `tools.bench_sparse` on a model, with the Python that has it.

    python tools/sparse_peers.py HOW IN OUT

``sparsify_initializers`` is onnxruntime's script, which is in no package: ONNXRUNTIME_SPARSIFY is its path.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys


def main(how: str, source: str, target: str) -> int:
    if how == "sparsify_initializers":
        script = os.environ["ONNXRUNTIME_SPARSIFY"]
        return subprocess.run([sys.executable, script, "--input", source, "--output", target], check=False).returncode
    onnx = importlib.import_module("onnx")
    quantize = importlib.import_module("onnx_shrink_ray.shrink").quantize_weights
    ways = {
        "shrink_ray_integers": {},
        "shrink_ray_channels": {"per_channel": True},
        "shrink_ray_floats": {"float_quantization": True},
    }
    onnx.save(quantize(onnx.load(source), **ways[how]), target)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
