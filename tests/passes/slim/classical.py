"""Models of scikit-learn for tests (``tools/bench_trees.py --fixtures`` makes them), and ensembles grown at random."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import TensorProto, helper

from onnxslim.graph import load, to_proto

FOLDER = Path(__file__).parents[2] / "fixtures" / "classical"
NAMES = sorted(path.stem for path in FOLDER.glob("*.onnx"))


def fixture(name: str) -> ir.Model:
    """The model of that name."""
    return load(FOLDER / f"{name}.onnx")


def rows(name: str) -> np.ndarray:
    """Rows of the data that it was trained on."""
    return np.asarray(np.load(FOLDER / f"{name}.npy"))


def outputs(model: ir.Model | onnx.ModelProto, x: np.ndarray) -> list[Any]:
    """What onnxruntime computes of the rows."""
    proto = to_proto(model) if isinstance(model, ir.Model) else model
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: x}))


def operators(model: ir.Model) -> list[str]:
    """The operators in order."""
    return [node.op_type for node in model.graph]


def ensemble(
    operator: str,
    trees: Mapping[str, Any],
    *,
    outputs: int = 1,
    opset: int = 3,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one ensemble, on three features."""
    node_outputs = ["label", "y"] if operator == "TreeEnsembleClassifier" else ["y"]
    node = helper.make_node(operator, ["x"], node_outputs, domain="ai.onnx.ml", **trees, **attributes)
    infos = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", outputs])]
    if len(node_outputs) == 2:
        infos.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]))
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])], infos)
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")


def grown(
    seed: int,
    prefix: str,
    targets: int,
    *,
    per_leaf: int = 1,
    depth: int = 6,
    count: int = 5,
    ordered: bool = False,
    tracks: float = 0.5,
) -> dict[str, Any]:
    """Attributes of random trees with many decided branches and equal leaves: few splits, few weights.

    With ``ordered`` there are no tests for equality; ``tracks`` is the share where NaN leads where true does.
    """
    generator = np.random.default_rng(seed)
    columns = "treeids nodeids featureids modes values truenodeids falsenodeids missing_value_tracks_true hitrates"
    lists: dict[str, list[Any]] = {f"nodes_{name}": [] for name in columns.split()}
    weights: dict[str, list[Any]] = {f"{prefix}_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}

    def grow(tree: int, number: int, level: int) -> int:
        """Lists the node and all below; the next free number."""
        leaf = level == 0 or (level < depth and generator.random() < 0.2)
        at = len(lists["nodes_treeids"])
        chosen = str(generator.choice(MODES[:4] if ordered else MODES))
        for name, value in {
            "treeids": tree,
            "nodeids": number,
            "featureids": 0 if leaf else int(generator.integers(3)),
            "modes": "LEAF" if leaf else chosen,
            "values": 0.0 if leaf else float(generator.integers(4)),
            "truenodeids": 0,
            "falsenodeids": 0,
            "missing_value_tracks_true": 0 if leaf else int(generator.random() < tracks),
            "hitrates": 1.0,
        }.items():
            lists[f"nodes_{name}"].append(value)
        if leaf:
            for target in sorted(generator.permutation(targets)[:per_leaf].tolist()):
                for name, value in {"treeids": tree, "nodeids": number, "ids": target}.items():
                    weights[f"{prefix}_{name}"].append(value)
                weights[f"{prefix}_weights"].append(float(generator.integers(3)) / 4)
            return number + 1
        lists["nodes_truenodeids"][at] = number + 1
        false = grow(tree, number + 1, level - 1)
        lists["nodes_falsenodeids"][at] = false
        return grow(tree, false, level - 1)

    for tree in range(count):
        grow(tree, 0, depth)
    return lists | weights


def grid() -> np.ndarray:
    """Every row of three features below, at, between and above the splits of `grown`, and NaN."""
    values = np.array([-1, 0, 0.5, 1, 1.5, 2, 2.5, 3, 9, np.nan, np.inf, -np.inf], np.float32)
    return np.stack(np.meshgrid(values, values, values), -1).reshape(-1, 3)
