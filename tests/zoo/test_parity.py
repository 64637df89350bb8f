"""Every model with a golden equals its reference, through the converter that users call."""

import functools

import agreement
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo

# Those that differ in kind run by default, the others behind `-m full`.
DEFAULT = {
    "alexnet_bvlc",
    "bn_inception",
    "cait_xxs24_224",
    "convnext_tiny",
    "crossvit_tiny_240",
    "cvt_13",
    "deit_tiny_distilled_patch16_224",
    "densenet_bc_100_12_cifar",
    "efficientnet_b0",
    "efficientnet_lite0",
    "googlenet_bvlc",
    "lvvit_t",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "nest_tiny",
    "nin_cifar",
    "nin_imagenet",
    "preresnet18_pytorchcv",
    "pvt_v2_b0",
    "regionvit_tiny",
    "regnet_y_400mf",
    "resnet18",
    "resnet20_cifar",
    "resnetv2_50",
    "seresnet18",
    "shufflenet_v1_g3_1_0x",
    "shufflenet_v2_x1_0",
    "squeezenet1_1",
    "swin_v2_t",
    "t2t_vit_7_scaled",
    "vit_tiny_patch16_224",
    "wrn_28_10_cifar",
    "xception",
}
# A few of different kinds that compile quickly.
QUICK = {"resnet18", "resnet20_cifar", "squeezenet1_1", "vit_tiny_patch16_224"}
CASES = [
    pytest.param(
        name,
        marks=pytest.mark.quick if name in QUICK else [] if name in DEFAULT else pytest.mark.full,
    )
    for name in goldens.names()
]


# Our auxiliary head -> the golden's key, whichever it has.
AUXILIARY = {
    "aux": ("train_aux_logits",),
    "aux1": ("train_aux1", "train_aux_logits1"),
    "aux2": ("train_aux2", "train_aux_logits2"),
}


# Where the reference's float32 is off by more than its logits, no other arithmetic can agree, and
# another golden of the same network, with tamer weights, stands for it.
EVALUATED = [case for case in CASES if goldens.load(case.values[0])["eval"]["fp32_error"] < 1]


@functools.lru_cache(maxsize=1)
def weights(golden_name: str) -> dict[str, np.ndarray]:
    """The reference's, in float64. The tests of one model follow each other and share them."""
    return goldens.state_dict(goldens.load(golden_name))


@pytest.mark.parametrize("golden_name", EVALUATED, scope="module")
def test_evaluation(golden_name):
    """In float32, but in float64 where the reference's own float32 drifts: its weights amplify."""
    golden = goldens.load(golden_name)
    name = goldens.OURS.get(golden_name, golden_name)
    amplifies = golden["eval"]["fp32_error"] > 1e-5
    with jax.enable_x64(amplifies):
        dtype = jnp.float64 if amplifies else jnp.float32
        variables = zoo.load_torch(name, weights(golden_name))
        images = goldens.images(golden, golden["test_batch"]).astype(dtype)
        logits = np.asarray(jax.jit(zoo.create(name, dtype=dtype).apply)(variables, images))
    tolerance = 1e-6 if amplifies else max(1e-4, 10 * golden["eval"]["fp32_error"])
    agreement.assert_agree(logits, golden["eval"], tolerance)


# In float64 these cost more: fewer of them in the default run.
TRAINED_DEFAULT = {"resnet18", "resnet20_cifar"}
TRAINED = [
    pytest.param(name, marks=[] if name in TRAINED_DEFAULT else pytest.mark.full)
    for name in goldens.names()
    if "train_batch_stats" in goldens.load(name)
]


@pytest.mark.parametrize("golden_name", TRAINED, scope="module")
def test_training_mode(golden_name):
    """In float64: batch statistics of a few pixels make float32 of any framework drift, PyTorch's
    own too (3e-3 for ResNet-152)."""
    golden = goldens.load(golden_name)
    name = goldens.OURS.get(golden_name, golden_name)
    with jax.enable_x64(True):
        model = agreement.model_without_dropout(name, dtype=jnp.float64)
        variables = zoo.load_torch(name, weights(golden_name))

        @jax.jit
        def apply(variables, images):
            collections = ["batch_stats", "intermediates"]
            return model.apply(variables, images, train=True, mutable=collections)

        logits, state = apply(variables, goldens.images(golden, 4))
    # "train_without_dropout": made again where the reference's dropout could not be switched off.
    expected = golden.get("train_without_dropout", golden["train_batch_stats"])
    agreement.assert_agree(np.asarray(logits), expected, 1e-6)
    for ours, keys in AUXILIARY.items():
        for key in keys:
            if key in golden:
                agreement.assert_agree(
                    np.asarray(state["intermediates"][ours][0]), golden[key], 1e-6
                )


# Every converter and every count is looked at by default: one model of those that share one.
BOTH_WAYS = {
    "convnext_tiny",
    "cvt_13",
    "densenet_bc_100_12_cifar",
    "efficientnet_lite0",
    "googlenet_bvlc",
    "mobilenet_v3_large",
    "regionvit_tiny",
    "resnet18",
    "resnet20_cifar",
    "resnetv2_50",
    "shufflenet_v1_g3_1_0x",
    "squeezenet1_1",
    "swin_v2_t",
    "t2t_vit_7_scaled",
    "vit_tiny_patch16_224",
}
FEWER = [
    case if case.values[0] in BOTH_WAYS else pytest.param(*case.values, marks=pytest.mark.full)
    for case in CASES
]


@pytest.mark.parametrize("golden_name", FEWER, scope="module")
def test_conversion_inverts_bit_for_bit(golden_name):
    name = goldens.OURS.get(golden_name, golden_name)
    tensors = {key: value.astype(np.float32) for key, value in weights(golden_name).items()}
    source = goldens.ORIGINS.get(golden_name)
    back = zoo.to_torch(name, zoo.load_torch(name, tensors), source=source)
    assert back.keys() == tensors.keys()
    for key, value in tensors.items():
        assert back[key].dtype == value.dtype
        np.testing.assert_array_equal(back[key], value, err_msg=key)


@pytest.mark.parametrize("golden_name", FEWER, scope="module")
def test_counts(golden_name):
    golden = goldens.load(golden_name)
    info = zoo.info(goldens.OURS.get(golden_name, golden_name))
    assert info.num_params == golden["num_params"]
    assert info.image_size == golden["native_size"]
    assert info.gmacs == pytest.approx(golden["gmacs_native"], rel=0.005)
