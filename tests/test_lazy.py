from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import pytest

import onnxslim
import onnxslim.calibration
import onnxslim.report


@pytest.mark.parametrize("package", [onnxslim, onnxslim.report, onnxslim.calibration])
def test_dir_shows_what_is_not_imported_yet(package: object) -> None:
    assert set(package.__all__) <= set(dir(package))  # type: ignore[attr-defined]


def run(code: str) -> str:
    """What a new interpreter prints; any warning is an error."""
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_models_with_symbolic_dims_are_slimmed_without_sympy(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[N, M, 4] x) => (float[N, M, 4] y)
        { shape = Shape(x)  flat = Flatten <axis = 2> (x)  y = Reshape(flat, shape) }"""
    )
    onnx.save(model, tmp_path / "in.onnx")
    arguments = ["slim", str(tmp_path / "in.onnx"), "-o", str(tmp_path / "out.onnx"), "--no-verify", "--quiet"]
    assert (
        run(f"import sys; from onnxslim.cli import main; assert main({arguments}) == 0; print('sympy' in sys.modules)")
        == "False"
    )
    assert (tmp_path / "out.onnx").exists()


ARITHMETIC = (
    "print((ir.SymbolicDim('n') * 2 + ir.SymbolicDim('max(a, b)')).value, ir.SymbolicDim('2*k').evaluate({'k': 3}))"
)


@pytest.mark.parametrize(
    "imports",
    [
        "import onnxslim; import onnx_ir as ir",
        "import sympy; import onnxslim; import onnx_ir as ir; assert ir._core.sympy is sympy",
        "import onnx_ir as ir; import onnxslim",
        "import onnxslim; import sympy; import onnx_ir as ir; assert ir._core.sympy is sympy",
    ],
)
def test_symbolic_arithmetic_works_in_every_order_of_imports(imports: str) -> None:
    assert run(f"{imports}; {ARITHMETIC}") == run(f"import onnx_ir as ir; {ARITHMETIC}")


def test_stand_ins_leave_no_trace() -> None:
    run(
        """
import sys
before = list(sys.meta_path)
import onnxslim, onnx_ir
assert sys.meta_path == before, sys.meta_path
assert not {"sympy", "onnx_ir._symbolic_shapes"} & set(sys.modules)
assert type(onnx_ir.__loader__).__module__ == type(onnx_ir.__spec__.loader).__module__ == "_frozen_importlib_external"
import sympy
from onnx_ir import _symbolic_shapes
assert type(sympy) is type(_symbolic_shapes) is type(sys), "the true modules"
assert onnx_ir.SymbolicDim(sympy.Symbol("n") + 1).value == "n + 1"
assert isinstance(onnx_ir.SymbolicDim("n")._expr, sympy.Expr)
"""
    )


def test_threads_may_need_sympy_at_once() -> None:
    run(
        """
import onnxslim, onnx_ir as ir
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    found = list(pool.map(lambda k: (ir.SymbolicDim("n") + k).value, range(1, 9)))
assert found == [f"n + {k}" for k in range(1, 9)], found
"""
    )


def test_a_missing_onnx_ir_is_said_to_be_missing() -> None:
    code = """
import onnxslim, sys
sys.path = []
try:
    import onnx_ir
except ModuleNotFoundError as error:
    print(error.name)
"""
    assert run(code) == "onnx_ir"
