"""What is known of a candidate: its outputs part by part, its score, its size, its speed.

Names are imported on first use, so that ``onnxslim.evaluation.tier`` alone loads neither onnx nor onnxruntime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim.lazy import lazy_exports

if TYPE_CHECKING:
    from onnxslim.evaluation.compare import Difference
    from onnxslim.evaluation.extents import Extents, extents_of
    from onnxslim.evaluation.fidelity import Fidelity
    from onnxslim.evaluation.findings import Parity
    from onnxslim.evaluation.lengths import Lengths
    from onnxslim.evaluation.measure import Measure, Noise, Tally
    from onnxslim.evaluation.metrics import load_metric
    from onnxslim.evaluation.noise import OutputNoise
    from onnxslim.evaluation.parity import Reference
    from onnxslim.evaluation.parts import Leaf, Part, leaves_of, shown, twins_of
    from onnxslim.evaluation.tier import Tier

__all__ = [
    "Difference",
    "Extents",
    "Fidelity",
    "Leaf",
    "Lengths",
    "Measure",
    "Noise",
    "OutputNoise",
    "Parity",
    "Part",
    "Reference",
    "Tally",
    "Tier",
    "extents_of",
    "leaves_of",
    "load_metric",
    "shown",
    "twins_of",
]

_HOMES = {
    ".compare": ("Difference",),
    ".extents": (
        "Extents",
        "extents_of",
    ),
    ".fidelity": ("Fidelity",),
    ".findings": ("Parity",),
    ".lengths": ("Lengths",),
    ".measure": (
        "Measure",
        "Noise",
        "Tally",
    ),
    ".metrics": ("load_metric",),
    ".noise": ("OutputNoise",),
    ".parity": ("Reference",),
    ".parts": (
        "Leaf",
        "Part",
        "leaves_of",
        "shown",
        "twins_of",
    ),
    ".tier": ("Tier",),
}

__getattr__ = lazy_exports(__name__, {name: home for home, names in _HOMES.items() for name in names})
