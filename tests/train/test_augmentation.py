"""The augmentation of a run: its order and keys, and the same pictures on any devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from configs import base
from input_pipeline import augment
from input_pipeline.augment import mixing
from train.augmentation import make_augmentation, make_mixing
from train.check import check_model
from train.errors import TrainError
from train.sharding import BATCH, make_mesh

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
normalize = functools.partial(augment.normalize, mean=MEAN, std=STD)
IMAGES = np.random.RandomState(0).randint(0, 256, (16, 12, 10, 3), np.uint8)
pytestmark = pytest.mark.usefixtures("quick_compilation")
LABELS = np.arange(16, dtype=np.int32) % 7


@pytest.fixture
def config():
    config = base.get_config()
    config.model.name, config.batch_size = "resnet18_cifar", 16
    return config


def with_everything(config):
    config.augment.crop, config.augment.padding, config.augment.flip = "padded", 2, True
    config.augment.lighting, config.augment.erasing = 0.1, 0.5
    config.mix.mixup, config.mix.cutmix, config.mix.group = 0.8, 1.0, 4
    config.loss.label_smoothing = 0.1
    return config


def pipeline(config, mesh=None):
    """(key, images, labels, step) -> what the model is trained on."""
    augmentation = make_augmentation(config.augment, normalize, MEAN)
    mix = make_mixing(config, num_classes=7, examples=160)

    def run(key, images, labels, step):
        images = augmentation(key, images, mesh)
        return mix(jax.random.fold_in(key, 5), images, labels, step) if mix else (images, labels)

    return run


@pytest.mark.parametrize(
    "shape, policy",
    [
        ((4, 2), ""),
        pytest.param((4, 2), "rand-m9-n1-mstd0.5-inc1", marks=pytest.mark.full),
        pytest.param((2, 1), "augmix", marks=pytest.mark.full),
    ],
)
def test_pictures_do_not_depend_on_devices(shape, policy, config):
    config = with_everything(config)
    config.augment.policy = policy
    run = functools.partial(pipeline, config)
    arguments = jax.random.key(3), jnp.asarray(IMAGES), jnp.asarray(LABELS), jnp.asarray(0)
    alone = jax.jit(run())(*arguments)
    mesh = make_mesh(*shape)
    batch, whole = NamedSharding(mesh, BATCH), NamedSharding(mesh, jax.sharding.PartitionSpec())
    sharded = jax.jit(run(mesh), in_shardings=(whole, batch, batch, whole), out_shardings=batch)
    images, targets = sharded(*arguments)
    assert len(images.addressable_shards) == mesh.size
    np.testing.assert_allclose(images, alone[0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(targets, alone[1], rtol=1e-6, atol=1e-7)
    plain = normalize(IMAGES)
    assert (np.abs(np.asarray(images) - plain).max(axis=(1, 2, 3)) > 0.1).all()


def test_crop_flip_and_lighting_have_the_keys_of_version_0_1(config):
    """Their pictures, and so the figures of older recipes, stay as they are."""
    config.augment.crop, config.augment.padding = "padded", 2
    config.augment.flip, config.augment.lighting = True, 0.1
    key = jax.random.key(8)
    crop_key, flip_key, lighting_key = jax.random.split(key, 3)
    expected = augment.random_crop_with_padding(crop_key, jnp.asarray(IMAGES), 2)
    expected = augment.lighting(lighting_key, augment.random_flip(flip_key, expected), 0.1)
    found, _ = pipeline(config)(key, jnp.asarray(IMAGES), jnp.asarray(LABELS), 0)
    np.testing.assert_array_equal(found, normalize(expected))


def test_nothing_is_left_of_an_empty_section(config):
    images, labels = pipeline(config)(jax.random.key(0), jnp.asarray(IMAGES), LABELS, 0)
    np.testing.assert_array_equal(images, normalize(IMAGES))
    assert labels is LABELS


def test_mixing_ends(config):
    config.mix.mixup, config.mix.off_after = 0.8, "2 epochs"  # of ten steps
    run = jax.jit(pipeline(config))
    for step, expected in ((0, 16), (19, 16), (20, 0), (500, 0)):
        images, targets = run(jax.random.key(1), IMAGES, LABELS, jnp.asarray(step))
        changed = (np.abs(images - normalize(IMAGES)) > 1e-3).any(axis=(1, 2, 3))
        assert changed.sum() == expected
        assert targets.shape == (16, 7) and targets.max() == pytest.approx(1, abs=0.6)
    np.testing.assert_array_equal(targets, mixing.one_hot_targets(LABELS, 7))


def test_views_are_a_clean_one_and_others(config):
    config.augment.flip, config.augment.views, config.augment.lighting = True, 3, 0.1
    images, _ = pipeline(config)(jax.random.key(2), jnp.asarray(IMAGES), LABELS, 0)
    assert images.shape == (16, 3, 12, 10, 3)
    clean, first, second = np.moveaxis(np.asarray(images), 1, 0)
    plain = np.asarray(normalize(IMAGES))
    for image, own in zip(clean, plain, strict=True):
        assert (image == own).all() or (image == own[:, ::-1]).all()
    for view in (first, second):  # the flip is the same, the colour differs
        shift = (view - clean).reshape(16, -1, 3)
        assert (shift.std(axis=1) < 1e-5).all() and (np.abs(shift).max(axis=(1, 2)) > 1e-3).all()
    assert (np.abs(first - second).max(axis=(1, 2, 3)) > 1e-3).all()


def test_timms_policies_come_without_colour_jitter(config):
    config.augment.color_jitter = (0.4, 0.4, 0.4, 0.0)
    for policy, jitters in (("rand-m9", False), ("3a", True), ("three_augment", True), ("", True)):
        config.augment.policy = policy
        made = make_augmentation(config.augment, normalize, MEAN)
        assert bool(made.color_jitter) == jitters, policy


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("augment.policy", "randaugmnt", "augment.policy=randaugmnt: there is no policy"),
        ("augment.policy_options", {"strength": 3}, "augment.policy=randaugment: .*strength"),
        ("augment.views", 3, "augment.views=1"),
        ("mix.group", 3, "mix.group=3: the 16 images of a host do not divide"),
        ("mix.mode", "pair", "mix: pairs are images"),
    ],
)
def test_what_does_not_fit_is_told_before_data_are_opened(config, key, value, message):
    config.augment.policy, config.mix.mixup = "randaugment", 0.2
    config.mix.convention = "torchvision"
    section, name = key.split(".")
    config[section][name] = value
    with pytest.raises(TrainError, match=message):
        check_model(config)


def test_padding_needs_its_crop(config):
    config.augment.padding = 2
    with pytest.raises(TrainError, match="augment.padding=2 is of augment.crop='padded'"):
        make_augmentation(config.augment, normalize, MEAN)
