"""Variants without a published golden equal their references too: `make_variants.py`."""

import json
from pathlib import Path

import agreement
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import registry

VARIANTS = json.loads((Path(__file__).parent / "variants.json").read_text())
OURS = {zoo.info(name).reference: name for name in zoo.list_models()}
DEFAULT = {"torchvision shufflenet_v2_x0_5"}
CASES = [
    pytest.param(reference, marks=[] if reference in DEFAULT else pytest.mark.full)
    for reference in VARIANTS
]


def state_dict(name: str, variant: dict) -> dict[str, np.ndarray]:
    """The filled tensors, by the names and shapes that our own conversion gives."""
    shapes = registry.abstract_variables(name)
    tensors = zoo.to_torch(name, jax.tree.map(lambda s: np.broadcast_to(0.0, s.shape), shapes))
    listed = [[key, list(value.shape)] for key, value in tensors.items()]
    return goldens.state_dict({**variant, "state_dict": listed})


@pytest.mark.parametrize("reference", CASES)
def test_equals_its_reference(reference):
    """Evaluation and training mode, in float64."""
    name, variant = OURS[reference], VARIANTS[reference]
    with jax.enable_x64(True):
        model = agreement.model_without_dropout(name, dtype=jnp.float64)
        variables = zoo.load_torch(name, state_dict(name, variant))
        images = goldens.images({**variant, "channels": 3}, 4)
        logits = jax.jit(model.apply)(variables, images[:2])
        agreement.assert_agree(np.asarray(logits), variant["eval"], 1e-6)
        if "train_batch_stats" not in variant:
            return
        train = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"])[0])
        agreement.assert_agree(
            np.asarray(train(variables, images)), variant["train_batch_stats"], 1e-6
        )


def test_every_reference_is_checked():
    """Each model with a public reference has a golden or is one of the variants."""
    checked = {goldens.OURS.get(golden, golden) for golden in goldens.names()}
    checked |= {OURS[reference] for reference in VARIANTS}
    packages = ("torchvision ", "timm ", "pytorchcv ")
    public = {name for name in zoo.list_models() if zoo.info(name).reference.startswith(packages)}
    # DenseNet-264 has no name there, only a class that takes its depths; ViT-H/14 is vit_l_16 with
    # more of everything, and takes 20 GB in float64.
    assert public - checked == {"densenet264", "vit_h_14"}
