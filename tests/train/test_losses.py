import jax.numpy as jnp
import numpy as np
import pytest

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
