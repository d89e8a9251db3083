import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.ops.determinism import impurity, removable_when_unused


def of(op: str, domain: str = "", inputs: int = 1, **attributes: object) -> ir.Node:
    return ir.node(op, [ir.val(f"x{i}") for i in range(inputs)], attributes, domain=domain)  # type: ignore[arg-type]


@pytest.mark.parametrize("op", ["RandomNormal", "RandomUniformLike", "Bernoulli", "Multinomial"])
def test_random_operators(op: str) -> None:
    assert impurity(of(op, seed=1.0), 17) == "it draws random numbers"


def test_what_is_not_known_is_not_pure() -> None:
    assert impurity(of("Relu"), 17) is None
    assert "not known" in str(impurity(of("Relu", "my.domain"), 17))
    assert "not defined" in str(impurity(of("NoSuchOperator"), 17))
    assert "local function" in str(impurity(of("Relu"), 17, {("", "Relu", "")}))


def test_dropout_and_batchnorm_are_pure_at_inference_only() -> None:
    assert impurity(of("Dropout"), 17) is None
    assert impurity(of("Dropout", inputs=3), 17) == "it may drop at random"
    off = of("Dropout", inputs=3)
    flag = off.inputs[2]
    assert flag is not None
    flag.const_value = ir.tensor(np.array(False))
    assert impurity(off, 17) is None
    assert impurity(of("BatchNormalization", inputs=5), 17) is None
    assert impurity(of("BatchNormalization", inputs=5, training_mode=1), 17) == "it updates running statistics"


def test_nodes_of_unknown_domains_may_do_more_than_compute() -> None:
    assert removable_when_unused(of("Relu"))
    assert removable_when_unused(of("Gelu", "com.microsoft"))
    assert not removable_when_unused(of("Print", "my.domain"))
    assert removable_when_unused(of("F", "my.domain"), {("my.domain", "F", "")})
