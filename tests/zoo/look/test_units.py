"""The strongest images of each channel are those that a look at all of them at once gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.look import units


@pytest.fixture(scope="module")
def small():
    model = zoo.create("resnet20_cifar", depth=8)
    images = np.random.RandomState(3).standard_normal((20, 16, 16, 3)).astype(np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.asarray(images[:1]))
    return model, variables, images


@pytest.mark.parametrize("at", ["stage2", "embedding"])
def test_they_are_the_strongest_of_all(small, at, quick_compilation):
    model, variables, images = small
    found = units.top_images(model, variables, np.split(images, [8, 16]), at, k=3)
    output = np.asarray(zoo.features(model, variables, jnp.asarray(images), at=at))
    flat = output.reshape(20, -1, output.shape[-1])
    strongest = flat.max(1)  # [20, C]
    order = np.argsort(-strongest, axis=0, kind="stable")[:3].T
    np.testing.assert_array_equal(found.indices, order)
    channels = np.arange(len(order))[:, None]
    np.testing.assert_allclose(found.values, strongest[order, channels], rtol=1e-5)
    np.testing.assert_array_equal(found.positions, flat.argmax(1)[order, channels])
    assert found.size == (output.shape[1:3] if output.ndim == 4 else (1, 1)) and found.count == 20


def test_dead_channels_are_counted(small, quick_compilation):
    model, variables, images = small
    params = dict(variables["params"])
    norm = params["stem_norm"]
    params["stem_norm"] = {**norm, "bias": norm["bias"].at[jnp.array([2, 5])].set(-100)}
    found = units.top_images(model, {**variables, "params": params}, [images], "stem")
    assert found.dead.tolist() == [2, 5]
    assert (found.alive[[2, 5]] == 0).all() and found.alive.max() == 20


def test_no_images(small):
    with pytest.raises(ValueError, match="no images"):
        units.top_images(*small[:2], [], "stem")
