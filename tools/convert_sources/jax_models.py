"""Functions of JAX with example inputs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def _weights(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape) / np.sqrt(shape[0]), jnp.float32)


def mlp() -> Any:
    one, two = _weights(16, 32), _weights(32, 4, seed=1)
    return (lambda x: jax.nn.softmax(jax.nn.relu(x @ one) @ two)), np.random.default_rng(0).normal(size=(3, 16)).astype(
        np.float32
    )


def cnn() -> Any:
    kernel, head = _weights(3, 3, 3, 8), _weights(8, 5, seed=1)

    def net(image: jax.Array) -> jax.Array:
        x = jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.lax.reduce_window(jax.nn.relu(x), -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return jnp.mean(x, (1, 2)) @ head

    return net, np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)


def attention() -> Any:
    query, key, value = (_weights(32, 32, seed=seed) for seed in range(3))

    def net(x: jax.Array) -> jax.Array:
        scores = (x @ query) @ jnp.swapaxes(x @ key, -1, -2) / jnp.sqrt(32.0)
        mean, spread = jnp.mean(x, -1, keepdims=True), jnp.std(x, -1, keepdims=True)
        return (x - mean) / (spread + 1e-5) + jax.nn.softmax(scores) @ (x @ value)

    return net, np.random.default_rng(0).normal(size=(2, 10, 32)).astype(np.float32)
