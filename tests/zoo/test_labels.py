"""Class names, and `zoo.decode`."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo import labels

IMAGENETS = [name for name in labels.LABEL_SETS if name.startswith("imagenet")]
COUNTS = {
    "imagenet-1k": 1000,
    "imagenet-12k": 11821,
    "imagenet-21k": 21843,
    "imagenet-22k": 21841,
    "imagenet-21k-miil": 11221,
    "imagenet-22k-ms": 21842,
    **{"cifar10": 10, "cifar100": 100, "mnist": 10, "fashion_mnist": 10},
}


@pytest.mark.parametrize("label_set", labels.LABEL_SETS)
def test_each_class_has_an_id_and_a_name_of_its_own(label_set):
    names, ids = labels.names(label_set), labels.ids(label_set)
    assert len(set(names)) == len(set(ids)) == len(names) == len(ids) == COUNTS[label_set]
    assert all(name.strip() == name and name for name in names)


@pytest.mark.parametrize("label_set", IMAGENETS)
def test_synsets_are_in_the_order_of_the_weights(label_set):
    ids = labels.ids(label_set)
    head = ids[:1000]
    assert list(head) == sorted(head) and list(ids[1000:]) == sorted(ids[1000:])
    assert all(len(synset) == 9 and synset[0] == "n" for synset in ids)
    if label_set == "imagenet-22k-ms":
        assert head == labels.ids("imagenet-1k")
    elif label_set != "imagenet-1k":
        assert list(ids) == sorted(ids)


@pytest.mark.parametrize(
    ("label_set", "index", "synset", "name"),
    [
        ("imagenet-1k", 0, "n01440764", "tench"),
        ("imagenet-1k", 134, "n02012849", "crane bird"),
        ("imagenet-1k", 282, "n02123159", "tiger cat"),
        ("imagenet-1k", 517, "n03126707", "crane"),
        ("imagenet-1k", 638, "n03710637", "maillot"),
        ("imagenet-1k", 639, "n03710721", "maillot tank suit"),
        ("imagenet-1k", 999, "n15075141", "toilet tissue"),
        ("imagenet-21k", 0, "n00004475", "organism"),
        ("imagenet-22k", 21840, "n15102894", None),
        ("cifar10", 3, "3", "cat"),
        ("cifar100", 99, "99", "worm"),
        ("fashion_mnist", 9, "9", "Ankle boot"),
        ("mnist", 7, "7", "7"),
    ],
)
def test_these_classes_are_these(label_set, index, synset, name):
    assert labels.ids(label_set)[index] == synset
    assert name in (labels.names(label_set)[index], None)


def test_a_shared_lemma_is_told_apart():
    names = dict(zip(labels.ids("imagenet-22k"), labels.names("imagenet-22k"), strict=True))
    assert names["n03126707"] == "crane (lifts and moves heavy objects)"
    assert names["n02012849"] == "crane (large long-necked wading bird of ...)"
    assert names["n02123159"] == "tiger cat"


def test_wordnets_notice_is_beside_the_names():
    notice = (labels._FOLDER / "WORDNET.txt").read_text()
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in notice
    assert "on ALL" in notice and 'PROVIDED "AS IS"' in notice


def test_one_image_and_a_batch():
    logits = np.zeros(1000, np.float32)
    logits[[282, 285]] = 5, 6
    best = zoo.decode(logits, top=2)
    assert [(synset, name) for synset, name, _ in best] == [
        ("n02124075", "Egyptian cat"),
        ("n02123159", "tiger cat"),
    ]
    softmax = np.exp([6, 5]) / (np.exp([6.0, 5.0]).sum() + 998)
    np.testing.assert_allclose([p for _, _, p in best], softmax, rtol=1e-12)
    assert all(type(p) is float for _, _, p in best)
    assert zoo.decode(logits[None].repeat(2, 0), top=2) == [best, best]
    assert zoo.decode(np.zeros((0, 1000))) == []
    assert len(zoo.decode(logits)) == 5 and len(zoo.decode([0.0, 1.0], classes=["a", "b"])) == 2


@pytest.mark.parametrize("label_set", IMAGENETS)
def test_every_imagenet_is_known_by_its_size(label_set):
    logits = np.zeros(COUNTS[label_set])
    logits[999] = 9
    ((synset, name, _),) = zoo.decode(logits, top=1)
    assert (synset, name) == (labels.ids(label_set)[999], labels.names(label_set)[999])
    assert labels.label_set_of(COUNTS[label_set]) == label_set


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_dtype_of_jax_and_numpy(dtype):
    with jax.enable_x64(dtype == "float64"):
        logits = jnp.asarray([[1.0, 3.0, 2.0]], dtype)
    for array in (logits, np.asarray(logits)):
        ((best, *_),) = zoo.decode(array, classes=["cat", "dog", "fox"])
        assert best[:2] == ("1", "dog") and best[2] == pytest.approx(0.6652409557748218)
    large = zoo.decode(np.asarray([8e4, 0], "float64"), classes=["a", "b"])
    assert [p for _, _, p in large] == [1.0, 0.0]


def test_ties_are_in_the_order_of_the_classes():
    assert [i for i, _, _ in zoo.decode(np.zeros(100), top=3)] == ["0", "1", "2"]


def test_what_the_classes_may_be_given_as():
    ten = np.arange(10.0)

    def best(classes, logits=ten):
        return zoo.decode(logits, top=1, classes=classes)[0][:2]

    assert best("fashion_mnist") == ("9", "Ankle boot")
    assert best(tuple("abcdefghij")) == ("9", "j")
    assert best(zoo.info("resnet20_cifar")) == ("9", "truck")
    assert best(zoo.info("lenet5")) == ("9", "9")
    assert best(zoo.info("resnet50"), np.arange(1000.0)) == ("n15075141", "toilet tissue")
    model = types.SimpleNamespace(class_names=("cat", "dog"), info=zoo.info("resnet50"))
    assert best(model, ten[:2]) == ("1", "dog")
    model.class_names = ()
    assert best(model, np.arange(1000.0))[1] == "toilet tissue"


def test_synsets_as_names_are_translated():
    """Runs on folders of ImageNet, or on part of it, have them as their names."""
    found = zoo.decode([0.0, 2.0, 1.0], classes=["n01440764", "n02012849", "n00004475"])
    assert [pair[:2] for pair in found] == [
        ("n02012849", "crane bird"),
        ("n00004475", "organism"),
        ("n01440764", "tench"),
    ]
    assert zoo.decode([0.0, 2.0], 1, ["n01440764", "n99999999"])[0][:2] == ("1", "n99999999")
    assert zoo.decode(np.arange(1000.0), 1, labels.names("imagenet-1k"))[0][0] == "n15075141"


@pytest.mark.parametrize(
    ("logits", "arguments", "message"),
    [
        (np.zeros(10), {}, "cifar10, fashion_mnist, mnist have so many classes. Pass `classes`"),
        (np.zeros(7), {}, "no label set has so many classes. Pass `classes`"),
        (np.zeros((2, 1001)), {}, r"the background: pass logits\[..., 1:\]"),
        (np.zeros(10), {"classes": "cifar100"}, "10 logits, and 'cifar100' has 100 classes"),
        (np.zeros(10), {"classes": ["a", "b"]}, "10 logits, and `classes` has 2 classes"),
        (np.zeros(1000), {"classes": "imagenet"}, "There is no label set 'imagenet'"),
        (np.zeros(1000), {"top": 0}, "top must be at least 1"),
        (np.zeros((1, 1, 1000)), {}, "must be"),
        (np.full(1000, np.nan), {}, "not finite"),
        (np.full(1000, np.inf), {}, "not finite"),
    ],
)
def test_what_cannot_be_decoded_is_said(logits, arguments, message):
    with pytest.raises(ValueError, match=message):
        zoo.decode(logits, **arguments)
