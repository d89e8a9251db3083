"""TensorFlow's SavedModel: a signature of it by tf2onnx."""

from __future__ import annotations

from typing import Any

from .base import LoadRequest, Refused
from .tf_functions import TensorFlowModel, valid

import tensorflow as tf  # isort: skip - behind the settings of TensorFlow

SIGNATURE = "serving_default"


def load(request: LoadRequest) -> TensorFlowModel:
    """The signature ``serving_default`` of a folder, or its only one.

    Raises:
        Refused: It has several others, or none.
    """
    loaded = tf.saved_model.load(request.source)
    signatures = dict(loaded.signatures)
    if not signatures:
        raise Refused("the SavedModel has no signature", mend="save it with signatures=")
    if SIGNATURE not in signatures and len(signatures) > 1:
        raise Refused(f"the SavedModel has no {SIGNATURE}", why=f"it has {', '.join(signatures)}")
    name = SIGNATURE if SIGNATURE in signatures else next(iter(signatures))
    signature = signatures[name]
    taken = signature.structured_input_signature[1]
    specs = [tf.TensorSpec(each.shape, each.dtype, valid(key)) for key, each in taken.items()]

    def call(*given: Any) -> Any:
        return signature(**dict(zip(taken, given, strict=True)))

    call.kept = loaded  # type: ignore[attr-defined]
    notes = [f"the signature {name} is converted"] if len(signatures) > 1 else []
    return TensorFlowModel(call, specs, f"TensorFlow {tf.__version__}", request.example, notes)
