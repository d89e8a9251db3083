"""What each operator does with the channels of its inputs: which entries of which axes belong together.

An entry of an axis can be removed from a model only together with all that it is linked to. `LINKS` says for each
operator what it links; `UPDATES` what it must be told (sizes, indices, a number of groups) once entries are gone. What
no rule claims is pinned: it stays.
"""

from onnxslim.ops.channels import contractions, elementwise, movers, normalization, recurrent, reshaping
from onnxslim.ops.channels.kept import Kept
from onnxslim.ops.channels.links import ChannelSum, Choice, Ids, Links, Option, Pin
from onnxslim.ops.channels.operator import LINKS, UPDATES, Op

__all__ = [
    "LINKS",
    "UPDATES",
    "ChannelSum",
    "Choice",
    "Ids",
    "Kept",
    "Links",
    "Op",
    "Option",
    "Pin",
    "contractions",
    "elementwise",
    "movers",
    "normalization",
    "recurrent",
    "reshaping",
]
