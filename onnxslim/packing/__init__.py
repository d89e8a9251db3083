"""Tensors of zeros and few values, in fewer bytes: what they hold, the ways to store it, and nodes that unpack it."""

from .casts import lift_casts
from .content import CAN_BE_PACKED, MOST, Content, bound
from .decoder import OPSET, PREFIX, Kit
from .groups import Together, together
from .ledger import TensorFacts, ledger
from .packing import Packing, packings
from .restore import behind, decoded_values, restored

__all__ = [
    "CAN_BE_PACKED",
    "MOST",
    "OPSET",
    "PREFIX",
    "Content",
    "Kit",
    "Packing",
    "TensorFacts",
    "Together",
    "behind",
    "bound",
    "decoded_values",
    "ledger",
    "lift_casts",
    "packings",
    "restored",
    "together",
]
