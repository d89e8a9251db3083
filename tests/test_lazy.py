from __future__ import annotations

import pytest

import onnxslim
import onnxslim.calibration
import onnxslim.report


@pytest.mark.parametrize("package", [onnxslim, onnxslim.report, onnxslim.calibration])
def test_dir_shows_what_is_not_imported_yet(package: object) -> None:
    assert set(package.__all__) <= set(dir(package))  # type: ignore[attr-defined]
