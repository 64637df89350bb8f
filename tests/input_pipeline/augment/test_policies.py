"""Policies have the tables of their programs, draw as they do, and give the goldens' pictures."""

import collections
import dataclasses
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.augment import (
    augmix,
    tensorflow_policies,
    timm_policies,
    torchvision_policies,
)
from input_pipeline.augment import autoaugment_tables as tables
from input_pipeline.augment.augmix import MixDraws, augmix_authors
from input_pipeline.augment.policies import make_policy, three_augment
from input_pipeline.augment.policy import Draws, Setting
from input_pipeline.augment.tensorflow_policies import tf_auto_augment, tf_rand_augment
from input_pipeline.augment.timm_policies import timm_policy
from input_pipeline.augment.torchvision_policies import argument_of, aug_mix, rand_augment

pytestmark = pytest.mark.usefixtures("quick_compilation")


def read(folder: Path, name: str = "policies.json") -> dict:
    path = folder / name
    return json.loads(path.read_text()) if path.is_file() else {}


def spaces(folder: Path) -> dict:
    """{"torchvision_randaugment_31_bins": (policy, number of bins, magnitudes)}."""
    found = {}
    for key, entry in read(folder).items():
        if match := re.fullmatch(r"torchvision_(\w+?)(?:_magnitudes)?_(\d+)_bins", key):
            policy = match[1].replace("trivialaugment", "trivial_augment")
            found[key] = (policy, int(match[2]), entry)
    return found


@pytest.fixture(scope="module")
def golden(recipe_goldens) -> dict:
    return collections.defaultdict(dict, read(recipe_goldens))


def as_lists(policy) -> list:
    return json.loads(json.dumps(policy))


@pytest.mark.recipe_goldens
def test_sub_policies_are_the_published_ones(golden):
    for name, policy in golden["torchvision_autoaugment_policies"].items():
        assert as_lists(torchvision_policies.SUB_POLICIES[name]) == policy
    for name, policy in golden["timm_autoaugment_policies"].items():
        assert as_lists(timm_policies.SUB_POLICIES[name]) == policy


def test_variants_differ_in_posterize_alone():
    for plain, other in (("original", "originalr"), ("v0", "v0r")):
        pairs = zip(
            timm_policies.SUB_POLICIES[plain], timm_policies.SUB_POLICIES[other], strict=True
        )
        for ours, theirs in pairs:
            for (name, *rest), (other_name, *other_rest) in zip(ours, theirs, strict=True):
                assert rest == other_rest
                assert other_name == ("PosterizeIncreasing" if "Posterize" in name else name)
    assert len(tables.SVHN) == 25 and tables.SVHN[14] == (("Contrast", 0.3, 3), ("Rotate", 0.8, 4))


@pytest.mark.recipe_goldens(space=spaces)
def test_magnitudes_by_bin(space):
    policy, bins, entries = space
    assert list(entries) == list(torchvision_policies.NAMES[policy])
    for name, entry in entries.items():
        assert entry["signed"] == (name in torchvision_policies.SIGNED)
        expected = entry["magnitudes"]
        by_size = expected if isinstance(expected, dict) else {"224x224": expected}
        for size, values in by_size.items():
            height, width = map(int, size.split("x"))
            found = torchvision_policies.magnitudes(policy, height, width, bins)[name]
            if values is None:
                assert found is None
            else:
                np.testing.assert_allclose(found, values, rtol=1e-6, err_msg=name)


@pytest.mark.recipe_goldens
def test_operations_without_all_ops(golden):
    names = list(torchvision_policies.NAMES["augmix_without_all_ops"])
    assert names == (golden["torchvision_augmix_without_all_ops"] or names)


@pytest.mark.recipe_goldens
def test_timms_arguments_by_level(golden):
    for name, levels in golden["timm_level_to_argument"].items():
        for level, expected in levels.items():
            for key, sign in (("arg", 1), ("arg_negated", -1)):
                if key in expected:
                    setting = Setting(float(level), sign, height=224, width=224)
                    found = timm_policies.argument(name, setting)
                    assert float(found) == pytest.approx(expected[key], rel=1e-6, abs=1e-7), name


@pytest.mark.recipe_goldens
def test_what_timms_strings_mean(golden):
    for name, expected in golden["timm_randaugment"].items():
        policy = make_policy(name)
        _, settings, _ = timm_policies.parse(name)
        assert list(policy.names) == expected["ops"]
        assert (
            settings["n"] == expected["ops_per_image"]
            and settings["p"] == expected["probability_of_each"]
        )
        assert settings["m"] == expected["magnitude"]
        assert settings["mstd"] == float(expected["magnitude_std"])
        assert [0, settings["mmax"]] == expected["clipped_to"]
        assert list(policy.fill) == expected["fill"]
        assert twice_in_one_image(policy) == (
            expected["with_replacement"] and expected["ops_per_image"] > 1
        )
    for name, expected in golden["timm_augmix"].items():
        policy = make_policy(name)
        assert list(policy.policy.names) == expected["ops"]
        assert (policy.width, policy.alpha) == (expected["width"], expected["alpha"])


def twice_in_one_image(policy) -> bool:
    """Whether an operation is ever drawn twice for an image."""
    choices = jax.vmap(policy.choose)(keys(200))
    index = np.where(choices.index < len(policy.names), choices.index, -1)
    return any((row[row >= 0]).size > len(set(row[row >= 0])) for row in index)


@pytest.mark.recipe_goldens
def test_the_authors_augmix_by_level(golden):
    expected = golden["augmix_authors"]
    if not expected:
        return
    names = list(augmix.AUTHORS_SCALES)
    assert names == expected["ops"] + expected["extra_ops_of_all_ops"]
    assert list(augmix_authors().policy.names) == expected["ops"]
    keys = {"posterize": "posterize_bits", "rotate": "rotate_degrees", "color": "enhance"}
    keys |= {"solarize": "solarize_threshold", "shear_x": "shear", "sharpness": "enhance"}
    for level, arguments in expected["argument_of_level"].items():
        for name, key in keys.items():
            found = augmix.authors_argument(name, Setting(float(level)))
            assert float(found) == pytest.approx(arguments[key], rel=1e-6)
        for key in arguments.keys() - set(keys.values()):
            size = int(key.removeprefix("translate_pixels_at_"))
            setting = Setting(float(level), height=size, width=size)
            for name in ("translate_x", "translate_y"):
                assert augmix.authors_argument(name, setting) == arguments[key]


@pytest.mark.recipe_goldens
def test_tensorflows_arguments_by_level(golden):
    expected = golden["tensorflow"]
    if not expected:
        return
    policy, constants = tf_rand_augment(2, 15), expected["randaugment"]
    assert sorted(policy.names) == sorted(expected["randaugment"]["ops"])
    assert [policy.fill] * 3 == expected["randaugment"]["fill"]
    assert policy.interpolation == expected["randaugment"]["interpolation"]
    for level, arguments in expected["argument_of_level"].items():
        for name, entry in arguments.items():
            for key, sign in (("arg", 1), ("arg_negated", -1)):
                if entry and key in entry:
                    found = tensorflow_policies.argument(
                        *(name, Setting(float(level), sign)),
                        *(constants["translate_const"], constants["cutout_const"]),
                    )
                    assert float(found) == pytest.approx(entry[key], rel=1e-6, abs=1e-7)
    for size, constant in expected["contrast_constant"].items():
        if "x" in size:
            assert tensorflow_policies.contrast_constant(*map(int, size.split("x"))) == constant


@pytest.mark.full
@pytest.mark.recipe_goldens
def test_three_augment_is_that_of_deit(golden):
    policy = three_augment()
    expected = golden["three_augment_deit3"].get("one_of_equally_likely")
    if expected:
        assert list(policy.names) == [name for name, _ in expected]
    assert policy.backend == "pillow"
    draws = jax.vmap(lambda key: policy.draw(key, 8, 8))(keys(3000))
    index, argument = draws.index[:, 0], draws.argument[:, 0]
    assert np.bincount(index, minlength=3) == pytest.approx([1000] * 3, abs=100)
    assert (argument[index == 1] == 128).all()
    radius = argument[index == 2]
    assert (
        radius.min() >= 0.1 and radius.max() <= 2 and radius.mean() == pytest.approx(1.05, abs=0.05)
    )


def operations(folder: Path) -> dict:
    """The cases of policy_ops by what one call of a policy has in common."""
    groups = collections.defaultdict(list)
    for case in read(folder, "policy_ops.json").get("ops", []):
        kind = (case["policy"], case["input"], case["interpolation"], fill_of(case))
        groups["-".join(map(str, kind))].append(case)
    # By default the first, with `-m recipe_goldens` all.
    return {
        name: pytest.param(cases, marks=pytest.mark.full) if number else cases
        for number, (name, cases) in enumerate(groups.items())
    }


def fill_of(case: dict) -> tuple | None:
    return case["fill"] and tuple(case["fill"])


MAKERS = {
    "autoaugment": torchvision_policies.auto_augment,
    "randaugment": rand_augment,
    "trivialaugment_wide": torchvision_policies.trivial_augment_wide,
    "augmix": lambda **options: aug_mix(**options).policy,
}


@pytest.mark.recipe_goldens(case=operations)
@pytest.mark.parametrize("backend", ["tensor", "pillow"])
def test_an_operation_gives_the_golden(case, backend, recipe_goldens, read_image):
    first = case[0]
    policy = MAKERS[first["policy"]](
        interpolation=first["interpolation"], fill=fill_of(first), backend=backend
    )
    arguments = [float(argument_of(one["op"], one["magnitude"], backend)) for one in case]
    index = [policy.names.index(one["op"]) for one in case]
    draws = Draws(jnp.asarray(index)[:, None], jnp.asarray(arguments, jnp.float32)[:, None])
    images = jnp.stack([read_image(first["input"])] * len(case))
    results = np.asarray(jax.jit(policy.apply)(images, draws), int)
    expected = np.load(recipe_goldens / "policy_ops.npz")
    for one, result in zip(case, results, strict=True):
        name = f"{one['id']}:pillow" if backend == "pillow" else one["id"]
        golden = expected[name if name in expected else one["id"]].astype(int)
        assert np.abs(result - golden).max() <= 1, name


def test_a_threshold_on_a_grey_value_is_that_of_the_backend():
    """Bin 28 of 31 is 17.0000009: 17 is not below it in float32, as in torch, and is in float64, as
    in Pillow."""
    for backend, threshold in (("tensor", 17), ("pillow", 18)):
        operations = torchvision_policies.space("randaugment", 31, backend)
        solarize = next(one for one in operations if one.name == "Solarize")
        assert float(solarize.argument(Setting(jnp.float32(28)))) == threshold


@pytest.mark.full
@pytest.mark.recipe_goldens
def test_augmix_gives_the_golden(recipe_goldens, read_image):
    """Chains of any length, by an image each of which the rest is identity."""
    for case in read(recipe_goldens, "policy_ops.json").get("augmix", []):
        expected = np.load(recipe_goldens / "policy_ops.npz")
        mix = aug_mix(interpolation=case["interpolation"], fill=fill_of(case))
        names, identity = mix.policy.names, len(mix.policy.names)
        longest = max(map(len, case["chains"]))
        index = np.full((1, len(case["chains"]), longest), identity)
        argument = np.zeros(index.shape, np.float32)
        for row, chain in enumerate(case["chains"]):
            for column, (name, magnitude) in enumerate(chain):
                index[0, row, column] = names.index(name)
                argument[0, row, column] = argument_of(name, magnitude)
        chains = Draws(jnp.asarray(index), jnp.asarray(argument))
        draws = MixDraws(chains, jnp.asarray([case["weights"]]), jnp.asarray([case["m"]]))
        image = read_image(case["input"])
        result = np.asarray(jax.jit(mix.apply)(jnp.asarray(image)[None], draws)[0], int)
        assert np.abs(result - expected[case["id"]].astype(int)).max() <= 1


def keys(count: int) -> jax.Array:
    return jax.random.split(jax.random.key(7), count)


def test_randaugment_of_timm_draws_as_timm():
    policy = timm_policy("rand-m9-n3-mstd0.5-inc1", interpolation="bilinear")
    draws = jax.jit(jax.vmap(lambda key: policy.draw(key, 32, 32)))(keys(4000))
    count = len(policy.names)
    applied = draws.index < count
    assert applied.mean() == pytest.approx(0.5, abs=0.02)
    frequencies = np.bincount(draws.index[applied], minlength=count) / applied.sum()
    np.testing.assert_allclose(frequencies, 1 / count, atol=0.012)
    angles = draws.argument[draws.index == policy.names.index("Rotate")]
    assert np.abs(angles).mean() == pytest.approx(27, abs=0.2) and abs(np.sign(angles).mean()) < 0.2
    assert np.abs(angles).std() == pytest.approx(1.4, abs=0.2)  # 3 x 0.5, clipped at 30
    assert np.abs(angles).max() <= 30


def test_random_interpolation_is_drawn_for_each_operation():
    policy = timm_policy("rand-p1")
    assert policy.ops.count("rotate:bilinear") == policy.ops.count("rotate:bicubic") == 1
    draws = jax.jit(jax.vmap(lambda key: policy.draw(key, 32, 32)))(keys(1000))
    names = np.array([str(op) for op in policy.ops])[draws.index]
    bilinear, bicubic = (
        sum(kind in name for name in names.ravel()) for kind in ("linear", "cubic")
    )
    assert 250 < bilinear < 410 and 250 < bicubic < 410  # a third of 2000 are geometric


def test_weighted_operations_are_not_drawn_twice():
    policy = timm_policy("rand-n2-p1-tweights", interpolation="bilinear")
    draws = jax.jit(jax.vmap(lambda key: policy.draw(key, 32, 32)))(keys(4000))
    assert (draws.index[:, 0] != draws.index[:, 1]).all()
    weights = np.array(list(timm_policies._WEIGHTS["weights"].values()))
    first = np.bincount(draws.index[:, 0], minlength=len(weights)) / 4000
    np.testing.assert_allclose(first, weights / weights.sum(), atol=0.025)


def test_autoaugment_draws_sub_policies():
    policy = make_policy("autoaugment_cifar10")
    draws = jax.jit(jax.vmap(lambda key: policy.draw(key, 32, 32)))(keys(20_000))
    names = np.array([*policy.names, ""])[draws.index]
    pairs = collections.Counter(map(tuple, names))
    # TranslateY 0.9 twice: no other sub-policy has it twice.
    assert pairs["TranslateY", "TranslateY"] / 20_000 == pytest.approx(0.9 * 0.7 / 25, abs=0.004)
    assert pairs["", "Posterize"] / 20_000 == pytest.approx(0.8 * 0.3 / 25, abs=0.003)
    shears = draws.argument[names == "ShearY"]
    values = np.unique(np.abs(shears).round(4))
    assert values.tolist() == [pytest.approx(0.7 / 3, abs=1e-3), pytest.approx(0.8 / 3, abs=1e-3)]


@pytest.mark.full
def test_tensorflow_applies_all_that_it_draws():
    policy = tf_rand_augment(2, 15)
    draws = jax.jit(jax.vmap(lambda key: policy.draw(key, 32, 32)))(keys(2000))
    assert (draws.index < len(policy.names)).all()
    assert len(tf_auto_augment().choose(keys(1)[0]).index) == 2


@pytest.mark.full
def test_tensorflows_contrast_and_cutout():
    images = jnp.asarray(np.random.RandomState(0).randint(0, 256, (2, 16, 32, 3), np.uint8))
    result = tensorflow_policies.contrast(images, jnp.asarray([0.5, 1.9]))
    expected = 2 + np.array([0.5, 1.9])[:, None, None, None] * (np.asarray(images, float) - 2)
    np.testing.assert_array_equal(result, np.clip(expected, 0, 255).astype(np.uint8))
    cut = tensorflow_policies.cutout(jax.random.key(0), images, jnp.asarray([3, 0]))
    changed = np.asarray(cut != images).any(-1)
    assert not changed[1].any() and (cut[0][changed[0]] == 128).all()
    rows, columns = np.nonzero((np.asarray(cut[0]) == 128).all(-1))
    assert 3 <= np.ptp(rows) + 1 <= 6 and 3 <= np.ptp(columns) + 1 <= 6


@pytest.mark.full
def test_augmix_draws():
    mix = make_policy("augmix-m3-w4")
    draws = jax.jit(jax.vmap(lambda key: mix.draw(key, 32, 32)))(keys(2000))
    assert draws.chains.index.shape == (2000, 4, 3)
    np.testing.assert_allclose(draws.weights.sum(1), 1, rtol=1e-5)
    assert draws.m.mean() == pytest.approx(0.5, abs=0.02)
    depth = (draws.chains.index < len(mix.policy.ops) - 1).sum(-1)
    assert np.bincount(depth.ravel(), minlength=4)[1:] == pytest.approx([8000 / 3] * 3, rel=0.06)
    assert (jnp.diff((draws.chains.index == len(mix.policy.ops) - 1), axis=-1) * 1 >= 0).all()


def test_blends_of_augmix():
    """With identity in all chains: the image, up to where the programs truncate."""
    image = jnp.asarray(np.random.RandomState(0).randint(0, 256, (1, 4, 4, 3), np.uint8))
    policy = dataclasses.replace(aug_mix().policy, space=())
    chains = Draws(jnp.zeros((1, 2, 1), int), jnp.zeros((1, 2, 1)))
    draws = MixDraws(chains, jnp.asarray([[0.25, 0.75]]), jnp.asarray([0.5]))
    for blend in augmix.BLENDS:
        result = jax.jit(augmix.AugMix(policy, 2, blend=blend).apply)(image, draws)
        assert result.dtype == (jnp.float32 if blend == "authors" else jnp.uint8)
        np.testing.assert_array_equal(result, image)
    shares = augmix._shares_one_by_one(jnp.asarray([[0.2, 0.1, 0.4]]))[0]
    image_has = np.prod(1 - shares)
    assert image_has == pytest.approx(0.3) and shares[2] == pytest.approx(0.4)


@pytest.mark.full
def test_an_image_draws_from_its_own_key_alone():
    images = jnp.asarray(np.random.RandomState(0).randint(0, 256, (6, 12, 12, 3), np.uint8))
    policy = jax.jit(make_policy("rand-m9-n1-p1-mstd0.5-inc1"))
    whole = policy(keys(6), images)
    order = jnp.asarray([4, 2, 0, 1, 3, 5])
    np.testing.assert_array_equal(policy(keys(6)[order], images[order]), whole[order])


NAMES = ("autoaugment", "autoaugment_svhn", "trivial_augment_wide", "augmix", "augmix_authors")
NAMES += ("three_augment", "tf_randaugment", "tf_autoaugment", "original-mstd0.5", "v0", "3a")
NAMES += ("augmix-m3-w2-b1", "rand-m20-mmax30-t3aw")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.full) for name in NAMES])
def test_a_policy_keeps_shapes(name, channels):
    images = np.random.RandomState(0).randint(0, 256, (5, 10, 12, channels), np.uint8)
    policy = make_policy(name, mean=(0.5,) * channels)
    result = jax.jit(policy)(jax.random.key(0), jnp.asarray(images))
    assert result.shape == images.shape
    assert result.dtype == (jnp.float32 if name == "augmix_authors" else jnp.uint8)
    assert (np.asarray(result) != images).any()


@pytest.mark.parametrize(
    "name, message",
    [
        ("randaugmnt", "there is no policy 'randaugmnt'"),
        ("rand-x9", "x9 is not understood"),
        ("rand-m", "m is not understood"),
        ("original-m9", "original has mstd"),
        ("rand-tall", "tall is no set"),
    ],
)
def test_a_wrong_name_is_told(name, message):
    with pytest.raises(ValueError, match=message):
        make_policy(name)


def test_wrong_options_are_told():
    with pytest.raises(TypeError):
        make_policy("randaugment", strength=3)
    with pytest.raises(ValueError, match="31 magnitudes"):
        make_policy("randaugment", magnitude=31)
    with pytest.raises(ValueError, match="interpolation"):
        make_policy("randaugment", interpolation="lanczos")


def test_bicubic_is_pillows():
    assert make_policy("trivial_augment_wide", interpolation="bicubic").backend == "pillow"
    assert make_policy("trivial_augment_wide").backend == "tensor"
    assert make_policy("randaugment", interpolation="bicubic", backend="tensor").backend == "tensor"
