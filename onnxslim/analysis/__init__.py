"""Read-only facts of a graph: symbolic shapes and integer values, and what running it costs."""

from onnxslim.analysis.cost import Cost, ModelCost, model_cost
from onnxslim.analysis.dims import Dim, Expr
from onnxslim.analysis.facts import Contradiction, Fact, ShapeFacts
from onnxslim.analysis.shapes import infer_shapes

__all__ = ["Contradiction", "Cost", "Dim", "Expr", "Fact", "ModelCost", "ShapeFacts", "infer_shapes", "model_cost"]
