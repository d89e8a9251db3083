"""Functions of JAX and modules of Flax, right ones and such with a planted fault."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 16, 16, 3)).astype(np.float32)
ROWS = RNG.normal(size=(3, 16)).astype(np.float32)
WEIGHT = jnp.asarray(RNG.normal(size=(16, 4)) / 4, jnp.float32)


class Net(nn.Module):  # type: ignore[misc]
    @nn.compact  # type: ignore[untyped-decorator]
    def __call__(self, image: Any) -> Any:
        x = nn.relu(nn.Conv(8, (3, 3), strides=2)(image))
        x = nn.BatchNorm(use_running_average=True)(x)
        return nn.Dense(4)(nn.gelu(nn.LayerNorm()(x).mean((1, 2))))


def linen() -> Any:
    net = Net()
    return net, (net.init(jax.random.PRNGKey(0), IMAGES), IMAGES)


def applied() -> Any:
    net = Net()
    return functools.partial(net.apply, net.init(jax.random.PRNGKey(0), IMAGES)), IMAGES


class Rows(nnx.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.inner, self.drop, self.head = nnx.Linear(16, 8, rngs=rngs), nnx.Dropout(0.5, rngs=rngs), WEIGHT[:8]

    def __call__(self, x: Any) -> Any:
        return self.drop(nnx.relu(self.inner(x))) @ self.head


def module() -> Any:
    net = Rows()
    net.eval()
    return net, ROWS


def dropout_on() -> Any:
    return Rows(), ROWS


def jitted() -> Any:
    @jax.jit  # type: ignore[untyped-decorator]
    def compute(x: Any, more: Any) -> Any:
        return {"y": jnp.tanh(x @ WEIGHT) + more["bias"], "order": jnp.argmax(x, axis=-1), "scale": more["scale"] * x}

    return compute, (ROWS, {"bias": np.ones((3, 4), np.float32), "scale": np.float32(2)})


def otherwhentraced() -> Any:
    def compute(x: Any) -> Any:
        return jax.nn.relu(x @ WEIGHT) * (1.01 if isinstance(x, jax.core.Tracer) else 1)

    return compute, ROWS


def unknown_operation() -> Any:
    return (lambda x: jax.lax.linalg.schur(x[:3, :3])[0]), ROWS


def rows_without_example(x: Any) -> Any:
    return x @ WEIGHT


def rows_alone() -> Any:
    return rows_without_example
