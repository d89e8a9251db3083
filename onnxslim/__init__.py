"""An ONNX compiler that makes trained models smaller and faster on CPUs, and proves what it did.

The verbs of the command line are functions here: ``slim``, ``prune``, ``quantize``, ``sparsify``, ``decode``,
``calibrate``, ``compress``, ``verify``, ``score``, ``bench``, ``inspect``; ``load`` and ``save`` move models between
files and the IR (``onnx_ir.Model``), and ``Pass`` and ``Pipeline`` are what passes are written with. Everything is
imported on first use.
"""

from typing import TYPE_CHECKING

from onnxslim.lazy import defer_sympy, lazy_exports
from onnxslim.version import __version__

if TYPE_CHECKING:
    from onnxslim.api.bench import bench
    from onnxslim.api.calibrate import calibrate
    from onnxslim.api.compress import compress
    from onnxslim.api.convert import convert
    from onnxslim.api.decode import decode
    from onnxslim.api.export import export
    from onnxslim.api.frameworks import frameworks
    from onnxslim.api.inspect import inspect
    from onnxslim.api.prune import prune
    from onnxslim.api.quantize import quantize
    from onnxslim.api.record import record
    from onnxslim.api.result import Result
    from onnxslim.api.score import score
    from onnxslim.api.sparsify import sparsify
    from onnxslim.api.verify import verify
    from onnxslim.compat.patterns import register_fusion_pattern
    from onnxslim.compat.slim import slim
    from onnxslim.errors import CheckFailed, InputError, OnnxSlimError, SetupError
    from onnxslim.graph import load, save
    from onnxslim.pipeline import Action, Context, GraphSurgeonPass, Pass, PassResult, Pipeline
    from onnxslim.samples import Sample

defer_sympy()

__all__ = [
    "Action",
    "CheckFailed",
    "Context",
    "GraphSurgeonPass",
    "InputError",
    "OnnxSlimError",
    "Pass",
    "PassResult",
    "Pipeline",
    "Result",
    "Sample",
    "SetupError",
    "__version__",
    "bench",
    "calibrate",
    "compress",
    "convert",
    "decode",
    "export",
    "frameworks",
    "inspect",
    "load",
    "prune",
    "quantize",
    "record",
    "register_fusion_pattern",
    "save",
    "score",
    "slim",
    "sparsify",
    "verify",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "Action": ".pipeline",
        "CheckFailed": ".errors",
        "Context": ".pipeline",
        "GraphSurgeonPass": ".pipeline",
        "InputError": ".errors",
        "OnnxSlimError": ".errors",
        "Pass": ".pipeline",
        "PassResult": ".pipeline",
        "Pipeline": ".pipeline",
        "Result": ".api.result",
        "Sample": ".samples",
        "SetupError": ".errors",
        "bench": ".api.bench",
        "calibrate": ".api.calibrate",
        "compress": ".api.compress",
        "convert": ".api.convert",
        "export": ".api.export",
        "frameworks": ".api.frameworks",
        "decode": ".api.decode",
        "inspect": ".api.inspect",
        "load": ".graph",
        "prune": ".api.prune",
        "quantize": ".api.quantize",
        "record": ".api.record",
        "register_fusion_pattern": ".compat.patterns",
        "save": ".graph",
        "score": ".api.score",
        "slim": ".compat.slim",
        "sparsify": ".api.sparsify",
        "verify": ".api.verify",
    },
)
