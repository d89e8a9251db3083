"""The functions that callers of OnnxSlim import from ``onnxslim.utils``, in their shape, made of this project's own.

Nothing in this project uses this module. It stands here so that scripts written for OnnxSlim keep working, and only
hands on what `onnxslim.compat` holds. New code has ``onnxslim.inspect``, ``onnxslim.verify``, ``onnxslim.load`` and
``onnxslim.save``.
"""

from onnxslim.compat.console import init_logging, logger
from onnxslim.compat.files import model_save_as_external_data, save
from onnxslim.compat.information import (
    ModelInfo,
    OperatorInfo,
    TensorInfo,
    calculate_tensor_size,
    dump_model_info_to_disk,
    format_bytes,
    format_model_info,
    get_graph_initializer_size,
    get_initializer_size,
    get_ir_version,
    get_itemsize,
    get_max_tensor,
    get_numpy_type,
    get_opset,
    onnx_dtype_to_numpy,
    print_model_info_as_table,
    summarize_model,
)
from onnxslim.compat.running import (
    check_onnx,
    check_onnx_compatibility,
    check_point,
    check_result,
    gen_onnxruntime_input_data,
    is_onnxruntime_available,
    onnxruntime_inference,
    update_outputs_dims,
)

__all__ = [
    "ModelInfo",
    "OperatorInfo",
    "TensorInfo",
    "calculate_tensor_size",
    "check_onnx",
    "check_onnx_compatibility",
    "check_point",
    "check_result",
    "dump_model_info_to_disk",
    "format_bytes",
    "format_model_info",
    "gen_onnxruntime_input_data",
    "get_graph_initializer_size",
    "get_initializer_size",
    "get_ir_version",
    "get_itemsize",
    "get_max_tensor",
    "get_numpy_type",
    "get_opset",
    "init_logging",
    "is_onnxruntime_available",
    "logger",
    "model_save_as_external_data",
    "onnx_dtype_to_numpy",
    "onnxruntime_inference",
    "print_model_info_as_table",
    "save",
    "summarize_model",
    "update_outputs_dims",
]
