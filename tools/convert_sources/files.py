"""Writes models whose form is a file or folder; runs in the environment of the framework, with the folder to write to.

    python -m tools.convert_sources.files NAME FOLDER

prints the path of the source. `FILES` says which environment has what a name needs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

FILES = {
    "saved_model_cnn": "tensorflow",
    "saved_model_mlp": "tensorflow",
    "saved_model_function": "tensorflow",
    "tflite_cnn": "tensorflow",
    "tflite_mobilenet": "tensorflow",
    "tflite_int8": "tensorflow",
    "keras_file": "tensorflow",
    "huggingface_bert": "huggingface",
    "huggingface_vit": "huggingface",
    "huggingface_wav2vec2": "huggingface",
    "paddle_cnn": "paddle",
    "paddle_mlp": "paddle",
    "joblib": "sklearn",
    "lightgbm_file": "sklearn",
    "xgboost_file": "sklearn",
    "catboost_file": "sklearn",
    "torch_pt2": "torch",
    "torchscript": "torch",
}
"""Name -> environment."""


def write(name: str, folder: Path) -> Path:
    """Writes one; its path."""
    kind = name.partition("_")[0]
    if kind in ("saved", "tflite", "keras"):
        return _tensorflow(name, folder)
    if kind == "huggingface":
        return _huggingface(name, folder)
    if kind == "paddle":
        return _paddle(name, folder)
    if kind in ("torch", "torchscript"):
        return _torch(name, folder)
    return _sklearn(name, folder)


def _tensorflow(name: str, folder: Path) -> Path:
    import numpy as np
    import tensorflow as tf

    from tools.convert_sources import tensorflow_models as made

    if name == "keras_file":
        made.cnn().save(folder / "net.keras")
        return folder / "net.keras"
    if name == "saved_model_function":
        module = tf.Module()
        module.table = tf.Variable(tf.random.normal([8, 4], seed=0))

        @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, "x")])  # type: ignore[untyped-decorator]
        def call(x: Any) -> dict[str, Any]:
            y = tf.tanh(x @ module.table)
            return {"values": y, "best": tf.argmax(y, 1)}

        tf.saved_model.save(module, str(folder / "saved"), {"serving_default": call})
        return folder / "saved"
    net = {"cnn": made.cnn, "mlp": made.mlp, "mobilenet": made.mobilenet, "int8": made.cnn}[name.rpartition("_")[2]]()
    if name.startswith("saved"):
        net.export(folder / "saved", verbose=False)
        return folder / "saved"
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    if name == "tflite_int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        rng = np.random.default_rng(0)
        converter.representative_dataset = lambda: (
            [rng.normal(size=(1, 32, 32, 3)).astype(np.float32)] for _ in range(32)
        )
    (folder / "net.tflite").write_bytes(converter.convert())
    return folder / "net.tflite"


def _huggingface(name: str, folder: Path) -> Path:
    import torch
    import transformers as t

    torch.manual_seed(0)
    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    if name.endswith("bert"):
        model: Any = t.BertForSequenceClassification(t.BertConfig(vocab_size=300, max_position_embeddings=64, **small))
    elif name.endswith("vit"):
        model = t.ViTForImageClassification(t.ViTConfig(image_size=64, patch_size=16, **small))
    else:
        config = t.Wav2Vec2Config(
            conv_dim=(32, 32, 32),
            conv_stride=(5, 4, 2),
            conv_kernel=(10, 4, 2),
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
            vocab_size=20,
            **small,
        )
        model = t.Wav2Vec2ForCTC(config)
    model.save_pretrained(folder / "model")
    return folder / "model"


def _paddle(name: str, folder: Path) -> Path:
    import paddle
    from paddle import nn
    from paddle.static import InputSpec

    paddle.seed(0)
    if name.endswith("mlp"):
        net: Any = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.LayerNorm(32), nn.Linear(32, 4))
        spec = InputSpec([None, 16], "float32", "x")
    else:
        net = nn.Sequential(
            nn.Conv2D(3, 16, 3, padding=1),
            nn.BatchNorm2D(16),
            nn.Hardswish(),
            nn.MaxPool2D(2),
            nn.Conv2D(16, 32, 3, 2, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2D(1),
            nn.Flatten(),
            nn.Linear(32, 10),
        )
        spec = InputSpec([None, 3, 32, 32], "float32", "image")
    net.eval()
    paddle.jit.save(net, str(folder / "inference"), [spec])
    return folder


def _torch(name: str, folder: Path) -> Path:
    import torch

    from tools.convert_sources.torch_models import mobilenet

    net, example = mobilenet()
    if name == "torch_pt2":
        torch.export.save(torch.export.export(net, example), folder / "net.pt2")
        return folder / "net.pt2"
    torch.jit.trace(net, example).save(str(folder / "net.torchscript"))
    return folder / "net.torchscript"


def _sklearn(name: str, folder: Path) -> Path:
    from tools.convert_sources import sklearn_models as made

    if name == "joblib":
        import joblib

        joblib.dump(made.logistic(), folder / "net.joblib")
        return folder / "net.joblib"
    if name == "lightgbm_file":
        made.lightgbm_booster().save_model(folder / "net.lgb")
        return folder / "net.lgb"
    if name == "xgboost_file":
        made.xgboost_regressor().save_model(folder / "net.ubj")
        return folder / "net.ubj"
    made.catboost_classifier().save_model(str(folder / "net.cbm"))
    return folder / "net.cbm"


if __name__ == "__main__":
    print(write(sys.argv[1], Path(sys.argv[2])))
