import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zoo.kernels.extension import MATERIALIZE
from zoo.kernels.materialize import materialize

X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.quick
@pytest.mark.parametrize("dtype", [np.float32, np.float64, jnp.bfloat16, np.int32])
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit, jax.vmap])
def test_changes_nothing(transform, dtype):
    with jax.enable_x64(True):
        x = jnp.asarray(X, dtype)
        result = transform(lambda x: materialize(2 * x) + x)(x)
        assert result.dtype == dtype
        np.testing.assert_array_equal(np.asarray(result, float), 3 * X)


def test_derivatives_of_any_order():
    def cubes(x):
        return jnp.sum(materialize(x) ** 3)

    np.testing.assert_allclose(jax.jit(jax.grad(cubes))(X), 3 * X**2)
    np.testing.assert_allclose(jax.jvp(cubes, (X,), (X,))[1], np.sum(3 * X**3))
    twice = jax.grad(lambda x: jnp.sum(jax.grad(cubes)(x)))
    np.testing.assert_allclose(jax.jit(twice)(X), 6 * X)


def test_the_argument_stays_as_it_was():
    """The array is handed on in its place, but not where others still need it."""
    x = jnp.asarray(X)
    doubled, stored = jax.jit(lambda x: (2 * x, materialize(x) + 1))(x)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(doubled, 2 * X)
    np.testing.assert_array_equal(stored, X + 1)


@pytest.mark.parametrize("platform, calls", [("cpu", 2), ("tpu", 0), ("cuda", 0)])
def test_only_cpu_makes_an_array(platform, calls):
    gradient = jax.jit(jax.value_and_grad(lambda x: jnp.sum(materialize(2 * x) ** 2)))
    program = gradient.trace(X).lower(lowering_platforms=(platform,)).as_text()
    assert program.count(f"@{MATERIALIZE}(") == calls


@pytest.mark.quick
def test_several_devices():
    """Under shard_map each device makes its own; what XLA splits by itself is left alone."""
    mesh, spec = Mesh(jax.devices()[:2], "data"), PartitionSpec("data")
    mapped = jax.jit(
        jax.shard_map(lambda x: 2 * materialize(x), mesh=mesh, in_specs=spec, out_specs=spec)
    )
    split = jax.jit(lambda x: 2 * materialize(x), in_shardings=NamedSharding(mesh, spec))
    for program, calls in (mapped, 1), (split, 0):
        np.testing.assert_array_equal(program(X), 2 * X)
        assert program.lower(X).as_text().count(f"@{MATERIALIZE}(") == calls


def test_programs_grow_with_the_number_of_layers_and_not_with_its_square():
    def size(layers: int) -> int:
        def loss(x):
            for _ in range(layers):
                y = nn.standardize(x, axis=0)
                x = materialize(jnp.concatenate([x, y @ jnp.ones((x.shape[-1], 2))], axis=-1))
            return jnp.sum(x**2)

        return jax.jit(jax.grad(loss)).lower(jnp.ones((16, 4))).compile().as_text().count("\n")

    assert size(24) < 2.5 * size(12)
