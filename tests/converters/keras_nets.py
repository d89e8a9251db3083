"""Keras models, right ones and such with a planted fault. Run as a program it writes files of some into a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def cnn() -> Any:
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="first")(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(40, 3, name="second")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(5, name="head")(layers.Dropout(0.5)(x)))


def two_inputs() -> Any:
    keras.utils.set_random_seed(0)
    left, right = keras.Input((8,), name="left"), keras.Input((8,), name="right")
    both = layers.Concatenate()([left, right])
    return keras.Model(
        {"right": right, "left": left}, {"sum": layers.Dense(3)(both), "difference": layers.Dense(3)(left - right)}
    )


def words() -> Any:
    keras.utils.set_random_seed(0)
    steps = keras.Input((None, 8), name="steps")
    return keras.Model(steps, layers.Dense(3)(layers.LSTM(6)(steps)))


class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.head = layers.Dense(4), layers.Dense(4)

    def call(self, given: Any) -> Any:
        return self.head(given["x"]) + self.scale(given["y"])


def subclassed() -> Any:
    rng = np.random.default_rng(0)
    return Subclassed(), {name: rng.normal(size=(2, 8)).astype(np.float32) for name in ("x", "y")}


def subclassed_alone() -> Any:
    return Subclassed()


def gelu() -> Any:
    return keras.Sequential([keras.Input((16,)), layers.Dense(8, "gelu")])


# -- faults --------------------------------------------------------------------------------------------------------


def dropout_on() -> Any:
    given = keras.Input((8,))
    return keras.Model(given, layers.Dropout(0.5)(layers.Dense(4)(given), training=True))


def stateful() -> Any:
    given = keras.Input(batch_shape=(2, 3, 8))
    return keras.Model(given, layers.LSTM(4, stateful=True, name="memory")(given))


def with_lambda() -> Any:
    given = keras.Input((8,))
    return keras.Model(given, layers.Lambda(lambda x: x * 2)(given))


class Wrong(keras.Model):  # type: ignore[misc]
    """Exports another model than itself."""

    def export(self, path: str, **options: Any) -> None:
        other = keras.models.clone_model(cnn())
        other.set_weights(self.get_weights())
        head, first = other.get_layer("head"), other.get_layer("first")
        if self.name == "headhalved":
            head.kernel.assign(head.kernel * 0.5)
        elif self.name == "transposed":
            first.kernel.assign(tf.transpose(first.kernel, [1, 0, 2, 3]))
        elif self.name == "biaslost":
            other.get_layer("second").bias.assign(other.get_layer("second").bias + 0.01)
        elif self.name == "otherepsilon":
            other.get_layer("norm").epsilon = 0.01
        keras.Model.export(keras.Model(other.inputs, other.outputs), path, **options)


def _wrong(name: str) -> Any:
    right = cnn()
    return Wrong(right.inputs, right.outputs, name=name)


def headhalved() -> Any:
    return _wrong("headhalved")


def transposed() -> Any:
    return _wrong("transposed")


def biaslost() -> Any:
    return _wrong("biaslost")


def otherepsilon() -> Any:
    return _wrong("otherepsilon")


# -- functions of TensorFlow ---------------------------------------------------------------------------------------


def function() -> Any:
    weight = tf.constant(np.random.default_rng(0).normal(size=(8, 4)), tf.float32)

    @tf.function  # type: ignore[untyped-decorator]
    def compute(x: Any, y: Any) -> dict[str, Any]:
        return {"product": tf.tanh(x @ weight) + y, "best": tf.argmax(x, axis=-1)}

    return compute, (np.ones((3, 8), np.float32), np.ones((3, 4), np.float32))


def otherwhentraced() -> Any:
    def compute(x: Any) -> Any:
        return tf.nn.relu(x) if not tf.inside_function() else tf.nn.relu6(x)

    return compute, np.linspace(-9, 9, 24, dtype=np.float32).reshape(3, 8)


class Module(tf.Module):  # type: ignore[misc]
    def __init__(self, kind: str, folder: Path) -> None:
        super().__init__()
        self.kind, self.folder = kind, folder
        self.count = tf.Variable(1.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, "x")])  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> dict[str, Any]:
        if self.kind == "random":
            x = x + tf.random.normal(tf.shape(x))
        elif self.kind == "writes":
            tf.io.write_file(str(self.folder / "written"), "by the graph")
        elif self.kind == "counts":
            x = x * self.count.assign_add(1.0)
        return {"z": tf.nn.softmax(x), "a": tf.reduce_sum(x, axis=-1)}


def write(folder: Path) -> None:
    cnn().save(folder / "cnn.keras")
    cnn().save(folder / "cnn.h5")
    with_lambda().save(folder / "lambda.keras")
    words().save(folder / "words.keras")
    cnn().export(folder / "saved_cnn", verbose=False)
    for kind in ("plain", "random", "writes", "counts"):
        module = Module(kind, folder)
        tf.saved_model.save(module, str(folder / f"saved_{kind}"), {"serving_default": module.__call__})
        if kind == "plain":
            tf.saved_model.save(module, str(folder / "saved_nameless"), {"other": module.__call__})
    _tflite(folder)


def _tflite(folder: Path) -> None:
    net = cnn()
    for layer in net.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    rng = np.random.default_rng(0)
    net(rng.random((16, 16, 16, 3), np.float32), training=True)  # so that inner values have a usual range
    for kind in ("float", "int8", "int8io", "weights"):
        converter = tf.lite.TFLiteConverter.from_keras_model(net)
        if kind != "float":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if kind.startswith("int8"):
            converter.representative_dataset = lambda: ([rng.random((1, 16, 16, 3), np.float32)] for _ in range(20))
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if kind == "int8io":
            converter.inference_input_type = converter.inference_output_type = tf.int8
        (folder / f"{kind}.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    write(Path(sys.argv[1]))
