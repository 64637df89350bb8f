"""zoo.save writes timm's layout, zoo.load reads it back bit for bit, and nothing that is forged."""

import dataclasses
import json
import math
import time

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import zoo
from zoo import registry
from zoo.preprocess import Preprocessing
from zoo.weights import fit, pretrained, table, write_folder

SMALL, TIMM = "mobilenet_v1", "mobilenetv1_100"  # which timm has


def variables_of(name, image_size=None, **overrides):
    shapes = registry.abstract_variables(name, image_size, **overrides)
    random = np.random.RandomState(0)
    return jax.tree.map(lambda leaf: random.rand(*leaf.shape).astype(leaf.dtype), shapes)


def assert_equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.fixture(scope="module")
def small():
    return variables_of(SMALL, num_classes=3)


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    """A model of three classes that timm has."""
    place = tmp_path_factory.mktemp("folders") / "flowers"
    facts = dict(license="mit", top1=90.0, accuracy_source="mine", crops=10, pretraining="mine")
    info = dataclasses.replace(zoo.info(SMALL), **facts)
    names = ["daisy", "rose", "tulip"]
    zoo.save(place, SMALL, small, info=info, class_names=names, num_classes=3)
    return place


def test_what_timm_reads(folder, small):
    config = json.loads((folder / "config.json").read_text())
    assert config["architecture"] == TIMM and config["num_classes"] == 3
    assert config["label_names"] == ["daisy", "rose", "tulip"] and "model_args" not in config
    cfg, info = config["pretrained_cfg"], zoo.info(SMALL)
    assert cfg["input_size"] == [3, 224, 224] and cfg["license"] == "mit"
    assert (tuple(cfg["mean"]), tuple(cfg["std"])) == (info.mean, info.std)
    crop = Preprocessing.from_info(info).crop
    assert crop and math.floor(224 / cfg["crop_pct"]) == round(224 / crop)
    tensors = load_file(folder / "model.safetensors")
    expected = zoo.to_torch(SMALL, small, num_classes=3)
    assert tensors.keys() == expected.keys()
    assert_equal(tensors, expected)
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: timm\n") and "license: mit" in card
    assert "daisy, rose, tulip" in card and 'timm.create_model("local-dir:FOLDER"' in card
    assert sorted(path.name for path in folder.iterdir()) == [
        *("README.md", "config.json", "model.safetensors"),
    ]


def test_it_is_read_back(folder, small, tmp_path):
    loaded = zoo.load(f"local-dir:{folder}")
    assert_equal(loaded.variables, small)
    assert loaded.model == zoo.create(SMALL, num_classes=3)
    info = loaded.info
    assert loaded.class_names == info.class_names == ("daisy", "rose", "tulip")
    assert (info.top1, info.accuracy_source, info.license) == (90, "mine", "mit")
    assert str(info.protocol) == "10 crops of 224 pixels, pre-trained on mine"
    assert (info.weights, info.num_classes) == (f"local-dir:{folder}", 3)
    assert loaded.preprocessing == Preprocessing.from_info(zoo.info(SMALL))
    zoo.save(tmp_path, loaded)  # what was loaded, without any more
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    without = zoo.load(f"local-dir:{folder}", num_classes=0, dtype="bfloat16")
    assert "head" not in without.variables["params"] and without.class_names == ()
    assert without.model.dtype == "bfloat16"


@pytest.mark.parametrize(
    "name, size, overrides",
    [
        ("lenet5", 32, {}),  # grey, no reference
        ("lenet5", 32, {"num_classes": 3, "dtype": "bfloat16"}),
        ("vit_ti_16", 64, {"depth": 2, "scan": True, "num_classes": 4}),  # timm has no such depth
        ("resnet20_cifar", 32, {"num_classes": 0}),
        ("localvit_t", 224, {"num_classes": 2, "depth": 1}),
    ],
)
def test_models_that_timm_has_not(tmp_path, name, size, overrides):
    variables = variables_of(name, size, **overrides)
    info = dataclasses.replace(zoo.info(name), image_size=size, padding=2, crop=None)
    zoo.save(tmp_path, name, variables, info=info, **overrides)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architecture"] == name and config["flax_zoo"]["names"] == "flax-zoo"
    assert "flax-zoo's own names" in (tmp_path / "README.md").read_text()
    loaded = zoo.load(f"local-dir:{tmp_path}")
    assert_equal(loaded.variables, variables)
    assert loaded.model == zoo.create(name, **overrides)
    assert (loaded.preprocessing.padding, loaded.preprocessing.crop) == (2, None)
    assert loaded.info.image_size == size and hash(loaded.model) is not None


def test_another_image_size(tmp_path):
    """Position embeddings are resampled, of the zoo's names and of timm's."""
    variables = variables_of("vit_ti_16", 64, depth=1)
    info = dataclasses.replace(zoo.info("vit_ti_16"), image_size=64)
    zoo.save(tmp_path, "vit_ti_16", variables, info=info, depth=1)
    loaded = zoo.load(f"local-dir:{tmp_path}", image_size=96, num_classes=0)
    assert loaded.info.image_size == loaded.preprocessing.image_size == 96
    jax.eval_shape(loaded.model.apply, loaded.variables, np.zeros((1, 96, 96, 3), np.float32))
    whole = variables_of("vit_ti_16", 64)
    zoo.save(tmp_path, "vit_ti_16", whole, info=info)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_args"] == {"img_size": 64}
    assert_equal(zoo.load(f"local-dir:{tmp_path}").variables, whole)


def test_a_run_becomes_a_folder(tmp_path):
    preprocessing = Preprocessing(32, 1, mean=(0.1,), std=(0.3,), crop=None, padding=2)
    names = [f"digit {i}" for i in range(10)]
    pretrained.save(
        tmp_path / "model.safetensors",
        "lenet5",
        {},
        variables_of("lenet5"),
        preprocessing=preprocessing,
        class_names=names,
        metrics={"top1": 0.5},
    )
    run = zoo.load(tmp_path)
    zoo.save(tmp_path / "digits", run)
    loaded = zoo.load(f"local-dir:{tmp_path / 'digits'}")
    assert_equal(loaded.variables, run.variables)
    assert loaded.preprocessing == preprocessing and loaded.class_names == tuple(names)
    assert (loaded.info.top1, loaded.info.accuracy_source) == (50, "the last evaluation of the run")


def test_folders_that_timm_wrote(tmp_path, small):
    """Of their own they have no "flax_zoo"."""
    zoo.save(tmp_path, SMALL, small, num_classes=3)
    config = {
        "architecture": TIMM,
        "num_classes": 3,
        "pretrained_cfg": {
            "input_size": [3, 224, 224],
            "crop_pct": 0.95,
            "interpolation": "bicubic",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "license": "mit",
            "label_names": ["a", "b", "c"],
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = zoo.load(f"local-dir:{tmp_path}")
    assert_equal(loaded.variables, small)
    info = loaded.info
    assert (info.crop, info.std, info.interpolation) == (224 / 235, (0.25,) * 3, "bicubic")
    assert loaded.class_names == ("a", "b", "c") and (info.top1, info.license) == (None, "mit")
    config["pretrained_cfg"] |= {"crop_mode": "squash", "crop_pct": 1.0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert zoo.load(f"local-dir:{tmp_path}").preprocessing.crop is None


SIZES = dict.fromkeys((row.image_size, row.resize) for row in table.rows().values())


@pytest.mark.parametrize("row", SIZES, ids=str)
def test_timm_crops_as_we_do(row):
    size, resize = row
    if resize:
        assert math.floor(size / write_folder._crop_pct(size, resize)) == resize


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"class_names": ["a"]}, "1 names for 3 classes"),
        ({"num_classes": 4}, f"not the variables of {SMALL} for images of 224 .*head/bias"),
        ({"nonsense": 1}, "no attribute nonsense"),
        ({"info": dataclasses.replace(zoo.info(SMALL), channels=1)}, "224 pixels with 1 channels"),
    ],
)
def test_what_cannot_be_saved(tmp_path, small, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        zoo.save(tmp_path / "x", SMALL, small, **{"num_classes": 3, **arguments})
    assert not (tmp_path / "x").exists()


def test_what_is_missing_or_too_much(tmp_path, folder):
    with pytest.raises(TypeError, match="needs the variables"):
        zoo.save(tmp_path, SMALL)
    with pytest.raises(TypeError, match="leave out num_classes"):
        zoo.save(tmp_path, zoo.load(f"local-dir:{folder}"), num_classes=3)
    with pytest.raises(ValueError, match="not the variables of vit_ti_16 for images of 224"):
        zoo.save(tmp_path, "vit_ti_16", variables_of("vit_ti_16", 64, depth=1), depth=1)


def changed(config, path, value):
    """The text of a config.json with another value at "a/b"."""
    *place, last = path.split("/")
    inner = config
    for key in place:
        inner = inner[key]
    inner[last] = value
    return json.dumps(config)


@pytest.mark.parametrize(
    "path, value",
    [
        ("flax_zoo/model", "resnet51"),
        ("flax_zoo/model", ["pvt"]),
        ("flax_zoo/overrides", [1]),
        ("flax_zoo/overrides", {"num_classes": "3"}),
        ("flax_zoo/overrides", {"num_classes": 10**9}),
        ("flax_zoo/overrides", {"width": 1e9}),
        ("flax_zoo/preprocessing", {}),
        ("flax_zoo/preprocessing/image_size", 10**9),
        ("flax_zoo/preprocessing/image_size", 8192),
        ("flax_zoo/preprocessing/mean", "abc"),
        ("flax_zoo/protocol", {"crops": "ten"}),
        ("flax_zoo/protocol", {"views": 10}),
        ("flax_zoo/names", 3),
        ("flax_zoo/names", "flax-zoo"),
        ("flax_zoo", 7),
        ("num_classes", 10**9),
        ("num_classes", -1),
        ("num_classes", None),
        ("label_names", ["a"]),
        ("label_names", [1, 2, 3]),
        ("label_names", {"a": 1}),
    ],
)
def test_forged_descriptions(folder, tmp_path, path, value):
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    (tmp_path / "config.json").write_text(changed(config, path, value))
    with pytest.raises(ValueError, match=f"{tmp_path}.*does not (describe a model|fit its config)"):
        zoo.load(f"local-dir:{tmp_path}")


@pytest.mark.parametrize(
    "path, value",
    [
        ("architecture", "resnet51"),
        ("architecture", ["x"]),
        ("global_pool", "max"),
        ("model_args", {"img_size": 10**9}),
        ("model_args", {"depth": 10**9}),
        ("model_args", 3),
        ("pretrained_cfg", []),
        ("pretrained_cfg/input_size", [3, 224, 256]),
        ("pretrained_cfg/input_size", 3),
        ("pretrained_cfg/crop_pct", 0),
        ("pretrained_cfg/crop_pct", "x"),
        ("pretrained_cfg/crop_mode", "border"),
        ("pretrained_cfg/interpolation", "random"),
        ("pretrained_cfg/std", [0, 0, 0]),
        ("pretrained_cfg/mean", [[0]]),
    ],
)
def test_forged_descriptions_in_timms_form(folder, tmp_path, path, value):
    config = json.loads((folder / "config.json").read_text())
    del config["flax_zoo"]
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    (tmp_path / "config.json").write_text(changed(config, path, value))
    with pytest.raises(ValueError, match=f"{tmp_path}/config.json does not describe a model"):
        zoo.load(f"local-dir:{tmp_path}")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "[" * 10**5, '{"a": 1, "a": 2}', '"x"', "null", "\ud800", "x" * 2**25]
)
def test_descriptions_that_are_no_json(folder, tmp_path, text):
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    (tmp_path / "config.json").write_text(text, "utf-8", "surrogatepass")
    with pytest.raises(ValueError, match="config.json does not describe a model"):
        zoo.load(f"local-dir:{tmp_path}")


HUGE = [
    {"depth": 10**9},
    {"depth": 4000},
    {"depth": 1e9},
    {"depth": 10**400},
    {"depth": float("nan")},
    {"depth": [10**9, 1]},
    {"depth": 10**9, "scan": True},
    {"width": 10**12},
]


@pytest.fixture(scope="module")
def vit():
    return variables_of("vit_ti_16", 32, depth=2)


@pytest.mark.parametrize("options", HUGE, ids=str)
def test_a_model_of_a_billion_layers_is_refused_at_once(tmp_path, vit, options, monkeypatch):
    monkeypatch.setattr(pretrained, "encode_overrides", dict)  # whatever a forger writes
    path = tmp_path / "model.safetensors"
    pretrained.save(path, "vit_ti_16", options, vit, preprocessing=Preprocessing(32))
    started = time.process_time()
    with pytest.raises(ValueError, match="zoo.load can read"):
        zoo.load(path)
    assert time.process_time() - started < 1


# One of each family.
FAMILIES = {zoo.info(name).family: name for name in reversed(zoo.list_models())}
TIGHT = ("vit", "lenet")


@pytest.mark.parametrize(
    "family",
    [*TIGHT, *(pytest.param(f, marks=pytest.mark.full) for f in FAMILIES if f not in TIGHT)],
)
def test_honest_models_are_far_below_the_bound(family):
    """With half of their arrays, and with equal blocks in one scan where that can be."""
    name, info = FAMILIES[family], zoo.info(FAMILIES[family])
    for overrides in ({}, {"scan": True}):
        try:
            shapes = registry.abstract_variables(name, **overrides)
        except TypeError:  # no scan
            continue
        leaves = jax.tree.leaves(shapes)
        half = {str(i): leaf for i, leaf in enumerate(leaves[: len(leaves) // 2 + 1])}
        with fit.bounded(overrides, half):
            fit.shapes_of(name, info.image_size, info.channels, overrides)
