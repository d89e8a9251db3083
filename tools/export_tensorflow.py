"""Exports Keras architectures with random weights to ONNX by tf2onnx, as models whose layout slimming is measured on.

    python tools/export_tensorflow.py --out DIR [--only resnet50 unet]

Runs in an environment of its own with ``tensorflow-cpu==2.21.0 tf2onnx==1.17.0``. TensorFlow computes images as
(batch, height, width, channels), ONNX's Conv as (batch, channels, height, width): tf2onnx puts Transposes between.
``NAME.tf.onnx`` takes images as TensorFlow does, ``NAME.nchw.onnx`` as ONNX does (``inputs_as_nchw``).
``NAME.raw.onnx`` is what tf2onnx has before it optimizes: two Transposes around every Conv and pooling. The batch is
dynamic. Statistics of BatchNormalization, scales, shifts and biases are random, since neutral ones would vanish.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf  # type: ignore[import-untyped, import-not-found, unused-ignore]
import tf2onnx.convert  # type: ignore[import-not-found, unused-ignore]
from keras import Input, Model, applications, layers  # type: ignore[import-not-found, unused-ignore]
from tf2onnx import optimizer  # type: ignore[import-not-found, unused-ignore]

OPSET = 17
SEED = 0


@dataclass(frozen=True)
class Architecture:
    """A model and the shape of its input without the batch."""

    build: Callable[[], Any]
    shape: tuple[int, ...] = (128, 128, 3)
    opset: int = OPSET
    kinds: tuple[str, ...] = ("tf", "raw")


def application(name: str, **options: Any) -> Callable[[], Any]:
    """A network of ``keras.applications``."""
    return lambda: getattr(applications, name)(weights=None, input_shape=(128, 128, 3), classes=10, **options)


def squeeze_excite(x: Any, ratio: int = 4) -> Any:
    """Channels weighed by their means, as Dense layers do it."""
    channels = x.shape[-1]
    s = layers.GlobalAveragePooling2D()(x)
    s = layers.Dense(channels // ratio, activation="relu")(s)
    s = layers.Dense(channels, activation="sigmoid")(s)
    return layers.Multiply()([x, layers.Reshape((1, 1, channels))(s)])


def unet() -> Any:
    """Convolutions down, Resize and Concat up, PReLU and LeakyReLU, a Softmax over the classes."""
    x = inputs = Input((64, 64, 3))
    skips = []
    for width in (16, 32, 64):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.PReLU(shared_axes=[1, 2])(layers.BatchNormalization()(x))
        skips.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(96, 3, padding="same")(x)
    for width, skip, how in zip((64, 32, 16), skips[::-1], ("nearest", "bilinear", "bilinear"), strict=True):
        x = layers.UpSampling2D(2, interpolation=how)(x)
        x = layers.Concatenate()([x, skip])
        x = layers.LeakyReLU(0.1)(layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same")(x)))
    return Model(inputs, layers.Softmax()(layers.Conv2D(4, 1)(x)))


def senet() -> Any:
    """Residual blocks with squeeze-and-excitation, strides, zero padding and cropping."""
    x = inputs = Input((64, 64, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = layers.Conv2D(24, 3, strides=2, padding="same")(x)
    for width, stride in ((24, 1), (48, 2), (48, 1), (96, 2)):
        y = layers.BatchNormalization()(x)
        y = layers.Activation("swish")(y)
        y = layers.ZeroPadding2D(1)(y)
        y = layers.DepthwiseConv2D(3, strides=stride)(y)
        y = layers.BatchNormalization()(layers.Conv2D(width, 1, use_bias=False)(y))
        y = squeeze_excite(layers.Activation("hard_sigmoid")(y))
        if stride == 2 or x.shape[-1] != width:
            x = layers.Conv2D(width, 1)(layers.AveragePooling2D(stride, padding="same")(x))
        x = layers.Add()([x, y])
    x = layers.Cropping2D(1)(x)
    return Model(inputs, layers.Dense(10, activation="softmax")(layers.GlobalMaxPooling2D()(x)))


def audio() -> Any:
    """Convolutions over time with LayerNormalization and gates, rank 3."""
    x = inputs = Input((256, 20))
    for width, step in ((32, 1), (32, 2), (64, 4)):
        y = layers.Conv1D(2 * width, 5, dilation_rate=step, padding="causal")(x)
        a, b = tf.keras.ops.split(y, 2, axis=-1)
        y = layers.Multiply()([layers.Activation("tanh")(a), layers.Activation("sigmoid")(b)])
        y = layers.LayerNormalization()(y)
        x = layers.Add()([y, layers.Conv1D(width, 1)(x)])
    x = layers.GRU(24, return_sequences=True)(layers.MaxPooling1D(4)(x))
    return Model(inputs, layers.Dense(5)(x))


ARCHITECTURES = {
    "resnet50": Architecture(application("ResNet50")),
    "mobilenet_v2": Architecture(application("MobileNetV2"), kinds=("tf", "nchw", "raw")),
    "mobilenet_v3": Architecture(application("MobileNetV3Small")),
    "efficientnet_b0": Architecture(application("EfficientNetB0")),
    "densenet121": Architecture(application("DenseNet121")),
    "inception_v3": Architecture(application("InceptionV3")),
    "unet": Architecture(unet, (64, 64, 3), opset=13),
    "senet": Architecture(senet, (64, 64, 3), opset=11),
    "audio": Architecture(audio, (256, 20), kinds=("tf",)),
}


def randomize(model: Any) -> None:
    """Gives statistics, scales, shifts and biases values that are not neutral."""
    generator = np.random.default_rng(SEED)
    for variable in model.weights:
        name = variable.path.rpartition("/")[2]
        shape = variable.shape
        if name == "moving_variance":
            variable.assign(generator.uniform(0.5, 1.5, shape))
        elif name == "gamma" or len(shape) == 1:
            variable.assign(variable.numpy() + generator.normal(0, 0.1, shape))


def export(architecture: Architecture, kind: str, path: Path) -> None:
    """Writes one model. ``kind`` is tf, nchw or raw."""
    tf.keras.utils.set_random_seed(SEED)
    model = architecture.build()
    randomize(model)
    model.trainable = False

    @tf.function(input_signature=[tf.TensorSpec((None, *architecture.shape), tf.float32, name="image")])  # type: ignore[untyped-decorator, unused-ignore]
    def call(image: Any) -> Any:
        return tf.identity(model(image, training=False), name="output")

    options = {"inputs_as_nchw": ["image:0"]} if kind == "nchw" else {}
    optimize = optimizer.optimize_graph
    if kind == "raw":
        optimizer.optimize_graph = lambda graph, *_, **__: graph
    try:
        tf2onnx.convert.from_function(
            call, call.input_signature, opset=architecture.opset, output_path=str(path), **options
        )
    finally:
        optimizer.optimize_graph = optimize


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES), metavar="NAME")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        architecture = ARCHITECTURES[name]
        for kind in architecture.kinds:
            path = options.out / f"{name}.{kind}.onnx"
            start = time.process_time()
            export(architecture, kind, path)
            print(
                f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, {time.process_time() - start:.0f} CPU s", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
