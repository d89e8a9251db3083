"""Keras models with random weights."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from keras import layers


def mlp() -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((20,)),
            layers.Dense(64, "relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(5, "softmax"),
        ]
    )


def cnn() -> Any:
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D()(x)
    x = layers.SeparableConv2D(32, 3, strides=2, padding="same")(x)
    x = layers.LeakyReLU()(layers.BatchNormalization()(x))
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def mobilenet() -> Any:
    keras.utils.set_random_seed(0)
    net = keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=10, classifier_activation=None)
    for layer in net.layers:  # else inner values die away, and all inputs have the same outputs
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    net(keras.random.normal((8, 96, 96, 3), seed=0), training=True)
    return net


def lstm() -> Any:
    keras.utils.set_random_seed(0)
    ids = keras.Input((12,), dtype="int32", name="ids")
    x = layers.Embedding(200, 24)(ids)
    x = layers.Bidirectional(layers.LSTM(16, return_sequences=True))(x)
    return keras.Model(ids, layers.Dense(3)(layers.GRU(8)(x)))


def transformer() -> Any:
    keras.utils.set_random_seed(0)
    ids = keras.Input((16,), dtype="int32", name="ids")
    x = layers.Embedding(200, 32)(ids)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 8)(x, x))
    x = layers.LayerNormalization()(x + layers.Dense(32)(layers.Dense(64, "gelu")(x)))
    return keras.Model(ids, layers.Dense(4)(x))
