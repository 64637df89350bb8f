"""One of several operations for each image, chains of transforms, and keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline import augment

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(0)
OPS = ("identity", "rotate", "shear_x", "equalize", "posterize", "translate_y", "brightness")
ARGUMENTS = (0.0, 20.0, 0.3, 0.0, 3.0, 4.0, 1.5)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (7, 12, 10, 3), np.uint8)


def one_by_one(images) -> list[np.ndarray]:
    fill = (9, 8, 7)
    height, width = images.shape[1:3]
    turned = augment.rotate(images[1:2], 20.0, "bilinear", fill=fill)
    corner = (0.0, 0.0)
    tilt = float(np.degrees(np.arctan(0.3)))
    sheared = augment.affine(
        images[2:3], 0.0, corner, 1.0, (tilt, 0.0), "bilinear", fill, center=corner
    )
    moved = augment.affine(images[5:6], 0.0, (0, 4), 1.0, (0.0, 0.0), "bilinear", fill)
    results = [images[:1], turned, sheared, augment.equalize(images[3:4])]
    results += [augment.posterize(images[4:5], 3), moved]
    results += [augment.adjust_brightness(images[6:7], 1.5)]
    return [np.asarray(result)[0] for result in results]


@pytest.mark.full
def test_each_image_gets_its_operation_at_its_argument(images):
    @jax.jit
    def apply(images, index, argument):
        return augment.apply_ops(
            images, index, argument, ops=OPS, fill=(9, 8, 7), interpolation="bilinear"
        )

    index, argument = jnp.arange(7), jnp.asarray(ARGUMENTS)
    result = np.asarray(apply(images, index, argument))
    # A shear by its tangent and one by its angle may round otherwise.
    expected = np.asarray(one_by_one(images))
    assert np.abs(result.astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(result[[0, 3, 4, 5, 6]], expected[[0, 3, 4, 5, 6]])
    twice = apply(
        images, jnp.stack([index, index[::-1]], 1), argument[:, None] * jnp.asarray([[1, 0]])
    )
    after = apply(result, index[::-1], 0 * argument)
    np.testing.assert_array_equal(twice, after)


@pytest.mark.full
def test_off_the_cpu_all_are_computed_and_selected_with_the_same_result(images, monkeypatch):
    index = jnp.asarray([2, 0, 1, 1, 0, 2, 5])
    branches = [augment.invert, augment.equalize, augment.horizontal_flip]
    branches = [lambda x, n, f=f: f(x) + n.reshape(-1, 1, 1, 1) for f in branches]
    number = jnp.arange(7, dtype=jnp.uint8)
    looped = jax.jit(lambda: augment.switch(index, branches, images, number))()
    platform_dependent = jax.lax.platform_dependent
    monkeypatch.setattr(
        jax.lax,
        "platform_dependent",
        lambda *args, cpu, default: platform_dependent(*args, cpu=default, default=default),
    )
    selected = jax.jit(lambda: augment.switch(index, branches, images, number))()
    np.testing.assert_array_equal(looped, selected)
    both = jnp.stack([index, index[::-1]], 1)
    in_a_row = augment.switch(both, branches, images, jnp.stack([number, number], 1))
    after = augment.switch(index[::-1], branches, selected, number)
    np.testing.assert_array_equal(in_a_row, after)


def test_an_image_does_not_pay_for_the_branches_of_others(images):
    ran = []

    def counted(images):
        jax.debug.callback(lambda: ran.append(1))
        return augment.equalize(images)

    index = jnp.asarray([0, 1, 0, 0, 1, 0, 0])
    jax.jit(lambda: augment.switch(index, [augment.invert, counted], images))()
    jax.effects_barrier()
    assert len(ran) == 2


def test_an_own_function_is_an_operation(images):
    def darker(images, argument):
        return (images - argument.astype(jnp.uint8).reshape(-1, 1, 1, 1)).astype(jnp.uint8)

    index = jnp.asarray([0, 1] * 3 + [0])
    dark = images // 2 + 100
    result = augment.apply_ops(dark, index, jnp.full(7, 10.0), ops=("identity", darker))
    np.testing.assert_array_equal(result[1::2], dark[1::2] - 10)
    np.testing.assert_array_equal(result[::2], dark[::2])
    with pytest.raises(ValueError, match="There is no operation 'rotat'"):
        augment.apply_ops(images, index, index, ops=("rotat",))
    with pytest.raises(ValueError, match="There is no operation 'Rotat'"):
        augment.timm_op(images, "Rotat", 0.0)


def test_random_apply_and_choice_follow_their_probabilities():
    images = jnp.zeros((400, 1, 1, 1), jnp.uint8)
    invert, half = (lambda key, x: 255 - x), (lambda key, x: x + 128)
    applied = augment.random_apply(invert, 0.25)(KEY, images)
    assert set(np.unique(applied)) == {0, 255} and 0.18 < (applied > 0).mean() < 0.32
    chosen = augment.random_choice(invert, half, p=(1, 3))(KEY, images)
    assert set(np.unique(chosen)) == {128, 255} and 0.68 < (chosen == 128).mean() < 0.82


def test_random_order_applies_all_in_every_order():
    images = jnp.full((64, 1, 1, 1), 10, jnp.uint8)
    add, double = (lambda key, x: x + 5), (lambda key, x: x * 2)
    result = augment.random_order(add, double)(KEY, images)
    assert set(np.unique(result)) == {25, 30}


def test_compose_gives_each_transform_a_key_of_its_own():
    def draw(key, images):
        drawn = augment.integers(augment.image_keys(key, images.shape[0]), 0, 100)
        return images + drawn.astype(jnp.uint8).reshape(-1, 1, 1, 1)

    images = jnp.zeros((50, 1, 1, 1), jnp.uint8)
    once, twice = augment.compose(draw)(KEY, images), augment.compose(draw, draw)(KEY, images)
    assert ((twice - once) != once).any()
    np.testing.assert_array_equal(twice[:7], augment.compose(draw, draw)(keys(50)[:7], images[:7]))


def keys(count: int) -> jax.Array:
    return augment.image_keys(KEY, count)
