"""Words and numbers that an operator takes for an attribute; others are no use of it, whatever the data.

Only attributes whose definition lists the choices stand here. Where a runtime takes a word that the definition lacks,
it is listed too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import onnx_ir as ir

_DIRECTIONS: Final = {"direction": ("forward", "reverse", "bidirectional"), "layout": (0, 1)}
_PADDING: Final = {"auto_pad": ("", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")}
_REDUCTION: Final = {"reduction": ("none", "add", "mul", "min", "max")}
CHOICES: Final[Mapping[str, Mapping[str, tuple[str | int, ...]]]] = {
    "AveragePool": _PADDING,
    "BitShift": {"direction": ("LEFT", "RIGHT")},
    "Conv": _PADDING,
    "ConvInteger": _PADDING,
    "ConvTranspose": _PADDING,
    "DepthToSpace": {"mode": ("DCR", "CRD")},
    "Gelu": {"approximate": ("none", "tanh")},
    "GRU": _DIRECTIONS,
    "LpPool": _PADDING,
    "LSTM": _DIRECTIONS,
    "MaxPool": _PADDING,
    "Mod": {"fmod": (0, 1)},
    "QLinearConv": _PADDING,
    "Resize": {
        "mode": ("nearest", "linear", "bilinear", "cubic", "trilinear"),
        "coordinate_transformation_mode": (
            *("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"),
            *("tf_half_pixel_for_nn", "tf_crop_and_resize"),
        ),
        "nearest_mode": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple"),
    },
    "ReverseSequence": {"batch_axis": (0, 1), "time_axis": (0, 1)},
    "RNN": _DIRECTIONS,
    "ScatterElements": _REDUCTION,
    "ScatterND": _REDUCTION,
}
"""Operator of the default domain -> attribute -> what it may be."""
ACTIVATIONS: Final = frozenset(
    {
        *("relu", "tanh", "sigmoid", "affine", "leakyrelu", "thresholdedrelu", "scaledtanh", "hardsigmoid"),
        *("elu", "softsign", "softplus"),
    }
)
"""Activations of LSTM, GRU and RNN in lower case: runtimes ignore the case."""


def unknown_choice(node: ir.Node) -> tuple[str, str] | None:
    """Which attribute of a node is none of the choices, and what they are; None where every one is.

    >>> node = ir.node("BitShift", [], {"direction": "UP"})
    >>> unknown_choice(node)
    ("the direction of BitShift is 'UP'", "it must be 'LEFT' or 'RIGHT'")
    """
    for name, allowed in CHOICES.get(node.op_type, {}).items():
        given = node.attributes.get(name)
        if given is not None and not given.is_ref() and given.value not in allowed:
            words = " or ".join(repr(each) for each in allowed if each != "")
            return f"the {name} of {node.op_type} is {given.value!r}", f"it must be {words}"
    if node.op_type in ("LSTM", "GRU", "RNN"):
        given = node.attributes.get("activations")
        names = () if given is None or given.is_ref() else given.as_strings()
        for name in names:
            if name.lower() not in ACTIVATIONS:
                return f"{node.op_type} has the activation {name!r}", "onnx defines none of that name"
    return None
