"""The two classifiers of a distilled transformer."""

import jax
import numpy as np

import zoo
from zoo.models.deit import DistilledViT

IMAGES = np.random.RandomState(0).standard_normal((2, 32, 32, 3)).astype(np.float32)


def small(**settings):
    """A distilled transformer on 2x2 patches, and random variables for it."""
    model = DistilledViT(width=16, depth=2, num_heads=2, num_classes=5, **settings)
    shapes = jax.eval_shape(model.init, jax.random.key(0), IMAGES)
    random = np.random.RandomState(0)
    return model, jax.tree.map(lambda leaf: 0.3 * random.standard_normal(leaf.shape), shapes)


def test_the_classifiers_are_averaged():
    model, variables = small()
    heads = zoo.features(model, variables, IMAGES, at=["class_logits", "distilled_logits"])
    of_class, of_teacher = heads.values()
    assert abs(of_class - of_teacher).max() > 0.1
    for train in (False, True):
        logits = model.apply(variables, IMAGES, train=train)
        np.testing.assert_allclose(logits, (of_class + of_teacher) / 2, rtol=1e-5, atol=1e-5)


def test_each_classifier_reads_its_own_token():
    """The tokens differ by their parameters alone: exchange these, and the tokens' embeddings are
    exchanged."""
    model, variables = small()
    swapped = jax.tree.map(np.copy, variables)
    params = swapped["params"]
    tokens = "class_token", "distillation_token"
    params[tokens[0]], params[tokens[1]] = (params[token] for token in reversed(tokens))
    params["pos_embed"][:, [0, 1]] = params["pos_embed"][:, [1, 0]]
    params["head"], params["distilled_head"] = params["distilled_head"], params["head"]
    before = zoo.features(model, variables, IMAGES)
    after = zoo.features(model, swapped, IMAGES)
    for one, other in [("class_logits", "distilled_logits"), ("distilled_logits", "class_logits")]:
        np.testing.assert_allclose(before[one], after[other], rtol=1e-4, atol=1e-4)


def test_positions_of_both_tokens_stay_when_resampled():
    shapes = zoo.registry.abstract_variables("deit_ti_distilled")
    random = np.random.RandomState(0)
    variables = jax.tree.map(lambda leaf: random.standard_normal(leaf.shape), shapes)
    tensors = zoo.to_torch("deit_ti_distilled", variables)
    loaded = zoo.load_torch("deit_ti_distilled", tensors, image_size=96)
    positions = loaded["params"]["pos_embed"]
    assert positions.shape == (1, 2 + 36, 192)
    np.testing.assert_array_equal(positions[:, :2], tensors["pos_embed"][:, :2])
