"""Shape rules of onnxruntime's own operators, of which onnx knows nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx_ir as ir

from onnxslim.analysis.facts import Fact
from onnxslim.analysis.operator import Operator, Rule, registering
from onnxslim.ops.contrib import DYNAMIC_LSTM

CONTRIB_RULES: Final[dict[str, Rule]] = {}
rule = registering(CONTRIB_RULES)


@rule(DYNAMIC_LSTM)
def _lstm(op: Operator) -> Sequence[Fact]:
    """Y [length, directions, batch, hidden], Y_h and Y_c [directions, batch, hidden], as of an LSTM."""
    x, r = op.shape(0), op.shape(2)
    length, batch = (x[0], x[1]) if x is not None and len(x) == 3 else op.fresh(2)
    directions, hidden, _ = r if r is not None and len(r) == 3 else op.fresh(3)
    state = Fact(ir.DataType.FLOAT, (directions, batch, hidden))
    return [Fact(ir.DataType.FLOAT, (length, directions, batch, hidden)), state, state]
