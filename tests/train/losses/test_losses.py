import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from train import losses

pytestmark = pytest.mark.quick

LOGITS = jnp.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
LABELS = jnp.array([1, 0])


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_cross_entropy():
    expected = -log_softmax(LOGITS)[[0, 1], LABELS]
    np.testing.assert_allclose(losses.cross_entropy(LOGITS, LABELS), expected, rtol=1e-6)


def test_label_smoothing_is_spread_over_all_classes():
    target = np.full((2, 3), 0.1 / 3)
    target[[0, 1], LABELS] += 0.9
    expected = -(target * log_softmax(LOGITS)).sum(-1)
    smooth = losses.cross_entropy(LOGITS, LABELS, label_smoothing=0.1)
    np.testing.assert_allclose(smooth, expected, rtol=1e-6)


def test_a_reject_class_gives_the_papers_map_loss():
    distances, penalty = -np.asarray(LOGITS, np.float64), 1.0
    competitors = np.log(np.exp(-penalty) + np.exp(-distances).sum(-1))
    expected = distances[[0, 1], LABELS] + competitors
    loss = losses.cross_entropy(LOGITS, LABELS, reject_class_logit=-penalty)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("k, expected", [(1, [True, False]), (2, [True, True]), (5, [True, True])])
def test_in_top(k, expected):
    assert losses.in_top(LOGITS, LABELS, k).tolist() == expected


def test_equal_logits_count_as_argmax_takes_them():
    logits, labels = jnp.zeros((3, 3)), jnp.arange(3)
    assert losses.in_top(logits, labels, 1).tolist() == [True, False, False]
    assert losses.in_top(logits, labels, 2).tolist() == [True, True, False]


def test_in_top_of_targets_is_that_of_the_largest():
    targets = jnp.array([[0.0, 0.7, 0.3], [0.9, 0.0, 0.1]])
    assert losses.in_top(LOGITS, targets, 1).tolist() == [True, False]
    assert losses.as_labels(targets, LOGITS).tolist() == LABELS.tolist()


@pytest.mark.parametrize("name", losses.LOSSES)
def test_labels_are_targets_that_are_one_hot(name):
    """Every loss takes both, and gives a value per example."""
    logits, labels, more = LOGITS, LABELS, {}
    if name == "jsd":
        logits = jnp.concatenate([LOGITS, LOGITS + 0.1, LOGITS * 2])
    if name == "token_labelling":
        more = {"token_logits": jnp.arange(12.0).reshape(2, 2, 3) % 5}
    loss = losses.per_example(losses.LOSSES[name])
    of_labels = loss(logits, labels, **more)
    of_targets = loss(logits, jnp.eye(3)[labels], **more)
    assert of_labels.shape == (2,) and jnp.isfinite(of_labels).all()
    np.testing.assert_allclose(of_labels, of_targets, rtol=1e-6)


def test_losses_of_a_batch_have_one_value():
    for name in ("dice", "tversky", "lovasz_softmax"):
        value = losses.LOSSES[name](LOGITS, LABELS)
        each = losses.per_example(losses.LOSSES[name])(LOGITS, LABELS)
        assert value.shape == () and each.tolist() == [value, value]


def test_masked_examples_are_not_in_the_set():
    logits, labels = jnp.concatenate([LOGITS, 5 - LOGITS]), jnp.concatenate([LABELS, 2 - LABELS])
    mask = jnp.array([True, True, False, False])
    for name in ("dice", "tversky", "lovasz_softmax"):
        loss = losses.LOSSES[name]
        found = loss(logits, labels, mask=mask)
        np.testing.assert_allclose(found, loss(LOGITS, LABELS), rtol=1e-6)


def test_maps_are_sets_of_pixels():
    logits = jnp.stack([LOGITS, LOGITS - 1])  # [2, 2, 3]: two images of two pixels
    labels = jnp.stack([LABELS, LABELS])
    for name in ("dice", "tversky", "lovasz_softmax"):
        loss = losses.LOSSES[name]
        flat = loss(logits.reshape(4, 3), labels.reshape(4))
        np.testing.assert_allclose(loss(logits, labels), flat, rtol=1e-6)
    alone = losses.dice(logits[0], labels[0], smooth=1e-5, absent="count")
    np.testing.assert_allclose(losses.dice_per_example(logits, labels)[0], alone, rtol=1e-5)


@pytest.mark.parametrize("name, option", [("dice", "absent"), ("lovasz_softmax", "classes")])
def test_options_that_are_not_known(name, option):
    with pytest.raises(ValueError, match=f"{option}='some' is not known"):
        losses.LOSSES[name](LOGITS, LABELS, **{option: "some"})
    with pytest.raises(ValueError, match="kind='cold' is not known"):
        losses.distill(jnp.zeros(2), LOGITS, LOGITS, kind="cold")


def test_views_that_are_missing():
    with pytest.raises(ValueError, match="3 views of each image, and got 2 logits for 2 labels"):
        losses.jensen_shannon(LOGITS, LABELS)


def test_positive_weights_of_bce():
    plain, heavy = (losses.binary_cross_entropy(LOGITS, LABELS, pos_weight=w) for w in (None, 3.0))
    own = np.asarray(LOGITS, np.float64)[[0, 1], LABELS]
    np.testing.assert_allclose(heavy - plain, 2 * np.log1p(np.exp(-own)) / 3, rtol=1e-5)


def test_token_labelling_is_the_mean_over_tokens():
    tokens = jnp.stack([LOGITS, -LOGITS], axis=1).reshape(2, 1, 2, 3)  # [B, h, w, K]
    of_tokens = jnp.array([[[0, 1]], [[2, 0]]])
    expected = losses.cross_entropy(LOGITS, LABELS)
    each = losses.cross_entropy(tokens.reshape(4, 3), of_tokens.reshape(4)).reshape(2, 2)
    loss = losses.token_labelling(LOGITS, LABELS, tokens, of_tokens, dense_weight=0.5)
    np.testing.assert_allclose(loss, expected + 0.5 * each.mean(1), rtol=1e-6)
    without = losses.token_labelling(LOGITS, LABELS, tokens, class_weight=0)
    each = losses.cross_entropy(tokens.reshape(4, 3), jnp.repeat(LABELS, 2)).reshape(2, 2)
    np.testing.assert_allclose(without, each.mean(1), rtol=1e-6)


@pytest.mark.usefixtures("quick_compilation")
def test_the_perceptual_loss_is_a_distance_of_features():
    model = zoo.create("lenet5")
    images = jax.random.normal(jax.random.key(0), (3, 32, 32, 1))
    variables = jax.jit(model.init)(jax.random.key(1), images)
    names = ("stage1", "stage2")
    loss = functools.partial(losses.perceptual, model=model, variables=variables, at=names)
    plain, features = jax.jit(loss), jax.jit(lambda x: zoo.features(model, variables, x, at=names))
    assert plain(images, images).tolist() == [0, 0, 0]
    other = images + 0.1
    ours, theirs = features(images), features(other)
    each = [((ours[n] - theirs[n]) ** 2).reshape(3, -1).mean(1) for n in names]
    np.testing.assert_allclose(plain(images, other), sum(each), rtol=1e-5)
    weighted = jax.jit(functools.partial(loss, weights=(2.0, 0.0)))(images, other)
    np.testing.assert_allclose(weighted, 2 * each[0], rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda x: loss(images, x).sum()))(other)
    assert not gradient.any()  # what is compared with stays as it is
