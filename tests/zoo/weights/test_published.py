"""All reference models of torchvision and timm load, by names and shapes; so do older files."""

import gzip
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import zoo
from zoo import registry
from zoo.weights import published

# "origin|their name|our name|classes" -> [[name, shape], ...], of torchvision 0.29.1, timm 1.0.31.
REFERENCES = json.loads(
    gzip.decompress((Path(__file__).parent / "state_dicts.json.gz").read_bytes())
)
# Whose tensors have renames, and a few others; all the rest behind `-m full`.
DEFAULT = (
    "timm|vgg11|vgg11|1000",
    "timm|vgg11_bn|vgg11_bn|1000",
    "timm|inception_v3|inception_v3|1000",
    "timm|vit_tiny_patch16_224|vit_ti_16|21843",
    "timm|vit_small_patch16_224|vit_s_16|0",
    "torchvision|vit_b_32|vit_b_32|1000",
    "torchvision|resnet18|resnet18|1000",
    "torchvision|mobilenet_v2|mobilenet_v2|1000",
    "torchvision|squeezenet1_1|squeezenet1_1|1000",
)
ALL = [pytest.param(key, marks=() if key in DEFAULT else pytest.mark.full) for key in REFERENCES]


def test_all_references_are_here():
    assert len(REFERENCES) == 203 and set(DEFAULT) < set(REFERENCES)


@pytest.mark.parametrize("key", ALL)
def test_a_reference_loads(key):
    _, _, name, classes = key.split("|")
    tensors = {
        name: np.broadcast_to(np.float32(i), shape)
        for i, (name, shape) in enumerate(REFERENCES[key])
    }
    overrides = {} if classes == "1000" else {"num_classes": int(classes)}
    if key == "timm|inception_v3|inception_v3|1000":
        with pytest.warns(UserWarning, match="no auxiliary classifiers"):
            loaded = zoo.load_torch(name, tensors)
        overrides["auxiliary"] = False
    else:
        loaded = zoo.load_torch(name, tensors, **overrides)
    expected = registry.abstract_variables(name, **overrides)
    assert jax.tree.map(np.shape, loaded) == jax.tree.map(np.shape, expected)
    used = {float(leaf.flat[0]) for leaf in jax.tree.leaves(loaded)}
    assert len(used) == len(jax.tree.leaves(loaded))  # no tensor is taken twice


def zeros(name, **overrides):
    shapes = registry.abstract_variables(name, **overrides)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)


def counted(tensors):
    """Every tensor differs from every other, and its entries from each other."""
    return {
        key: i + np.arange(value.size, dtype=np.float32).reshape(value.shape) / value.size
        for i, (key, value) in enumerate(tensors.items())
    }


def assert_same(name, files, codes, **overrides):
    """A file's names load as the code's."""
    assert files.keys() != codes.keys()
    expected = zoo.load_torch(name, codes, **overrides)
    loaded = zoo.load_torch(name, files, **overrides)
    jax.tree.map(np.testing.assert_array_equal, loaded, expected)


def test_torchvisions_files_of_vit():
    codes = counted(zoo.to_torch("vit_b_32", zeros("vit_b_32", depth=2), depth=2))
    files = {
        key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value
        for key, value in codes.items()
    }
    assert_same("vit_b_32", files, codes, depth=2)
    both = files | {"encoder.layers.encoder_layer_0.mlp.0.weight": np.zeros((3072, 768))}
    with pytest.raises(ValueError, match="mlp.0.weight' twice"):
        zoo.load_torch("vit_b_32", both, depth=2)


def test_torchvisions_files_of_densenet():
    codes = counted(zoo.to_torch("densenet121", zeros("densenet121")))
    files = {
        key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value
        for key, value in codes.items()
    }
    files = {
        key.replace(".norm2.", ".norm.2.").replace(".conv1.", ".conv.1."): value
        for key, value in files.items()
    }
    assert_same("densenet121", files, codes)


def test_timms_vgg():
    """Fully connected layers are convolutions over the whole map, channels first in both."""
    convolution = np.arange(4 * 5 * 7 * 7, dtype=np.float32).reshape(4, 5, 7, 7)
    files = {"net.pre_logits.fc1.weight": convolution, "net.head.fc.bias": np.zeros(3)}
    renamed = published.rename("vgg", files)
    assert list(renamed) == ["net.classifier.0.weight", "net.classifier.6.bias"]
    features = np.random.RandomState(0).randn(5, 7, 7).astype(np.float32)
    expected = (convolution * features).sum((1, 2, 3))
    dense = renamed["net.classifier.0.weight"] @ features.ravel()  # as our VGG flattens them
    np.testing.assert_allclose(dense, expected, rtol=1e-5)


def test_authors_files_of_crossvit():
    codes = counted(zoo.to_torch("crossvit_ti", zeros("crossvit_ti")))
    assert "pos_embed_1" in codes and "cls_token_0" in codes
    files = {
        key.replace("pos_embed_", "pos_embed.").replace("cls_token_", "cls_token."): value
        for key, value in codes.items()
    }
    assert_same("crossvit_ti", files, codes)


def test_authors_files_of_tnt():
    authors = {
        "patch_pos": "outer_pos",
        "pixel_pos": "inner_pos",
        "pixel_embed": "patch_embed",
        "norm1_proj": "proj_norm1",
        "norm2_proj": "proj_norm2",
        "norm_in": "inner_norm1",
        "attn_in": "inner_attn",
        "norm_mlp_in": "inner_norm2",
        "mlp_in": "inner_mlp",
        "norm_out": "outer_norm1",
        "attn_out": "outer_attn",
        "norm_mlp": "outer_norm2",
        "mlp": "outer_mlp",
    }
    codes = counted(zoo.to_torch("tnt_s", zeros("tnt_s")))
    files = {
        ".".join(authors.get(part, part) for part in key.split(".")): value
        for key, value in codes.items()
    }
    embedding = files["inner_pos"]  # [1, C, H, W]
    files["inner_pos"] = embedding.reshape(*embedding.shape[:2], -1).transpose(0, 2, 1)
    assert_same("tnt_s", files | {"outer_tokens": np.zeros((1, 196, 384))}, codes)


@pytest.mark.parametrize("name", ["vit_ti_16", "deit_ti"])
def test_patch_embeddings_as_dense_layers(name):
    overrides = {"num_classes": 3}
    codes = counted(zoo.to_torch(name, zeros(name, **overrides), source="timm", **overrides))
    kernel = codes["patch_embed.proj.weight"]
    files = codes | {"patch_embed.proj.weight": kernel.reshape(len(kernel), -1)}
    loaded = zoo.load_torch(name, files, **overrides)
    expected = zoo.load_torch(name, codes, **overrides)
    jax.tree.map(np.testing.assert_array_equal, loaded, expected)


def jax_vit(width=192, heads=3, depth=2, classes=5, prefix="") -> dict[str, np.ndarray]:
    """A ViT under the names and in the shapes of google-research/vision_transformer."""
    shapes = {
        "cls": (1, 1, width),
        "embedding/kernel": (16, 16, 3, width),
        "embedding/bias": (width,),
        "Transformer/posembed_input/pos_embedding": (1, 197, width),
        "Transformer/encoder_norm/scale": (width,),
        "Transformer/encoder_norm/bias": (width,),
        "head/kernel": (width, classes),
        "head/bias": (classes,),
    }
    for i in range(depth):
        block = f"Transformer/encoderblock_{i}"
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            shapes[f"{attention}/{part}/kernel"] = (width, heads, width // heads)
            shapes[f"{attention}/{part}/bias"] = (heads, width // heads)
        shapes |= {
            f"{attention}/out/kernel": (heads, width // heads, width),
            f"{attention}/out/bias": (width,),
            f"{block}/MlpBlock_3/Dense_0/kernel": (width, 4 * width),
            f"{block}/MlpBlock_3/Dense_0/bias": (4 * width,),
            f"{block}/MlpBlock_3/Dense_1/kernel": (4 * width, width),
            f"{block}/MlpBlock_3/Dense_1/bias": (width,),
        }
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            shapes |= {f"{block}/{norm}/{leaf}": (width,) for leaf in ("scale", "bias")}
    return counted({prefix + name: np.zeros(shape) for name, shape in shapes.items()})


def test_npz_of_jax_users(tmp_path):
    tensors = jax_vit()
    np.savez(tmp_path / "S_16.npz", **tensors)  # pyright: ignore[reportArgumentType]
    params = zoo.load_torch("vit_ti_16", tmp_path / "S_16.npz", depth=2, num_classes=5)["params"]
    block, theirs = params["block2"], "Transformer/encoderblock_1"
    attention = f"{theirs}/MultiHeadDotProductAttention_1"
    for i, part in enumerate(("query", "key", "value")):
        columns = slice(192 * i, 192 * (i + 1))
        kernel = tensors[f"{attention}/{part}/kernel"].reshape(192, 192)
        np.testing.assert_array_equal(block["attention"]["qkv"]["kernel"][:, columns], kernel)
        bias = tensors[f"{attention}/{part}/bias"].ravel()
        np.testing.assert_array_equal(block["attention"]["qkv"]["bias"][columns], bias)
    pairs = (
        (params["stem_conv"]["kernel"], "embedding/kernel"),
        (params["class_token"], "cls"),
        (params["pos_embed"], "Transformer/posembed_input/pos_embedding"),
        (params["norm"]["scale"], "Transformer/encoder_norm/scale"),
        (params["head"]["kernel"], "head/kernel"),
        (block["norm2"]["bias"], f"{theirs}/LayerNorm_2/bias"),
        (block["mlp"]["fc1"]["kernel"], f"{theirs}/MlpBlock_3/Dense_0/kernel"),
        (block["attention"]["proj"]["kernel"], f"{attention}/out/kernel"),
    )
    for ours, name in pairs:
        np.testing.assert_array_equal(np.ravel(ours), np.ravel(tensors[name]))


def test_npz_with_an_optimizers_state():
    tensors = jax_vit(prefix="opt/target/") | {"opt/state/step": np.array(7)}
    loaded = zoo.load_torch("vit_ti_16", tensors, depth=2, num_classes=5)
    expected = zoo.load_torch("vit_ti_16", jax_vit(), depth=2, num_classes=5)
    jax.tree.map(np.testing.assert_array_equal, loaded, expected)


def test_npz_whose_attention_is_incomplete():
    tensors = jax_vit()
    del tensors["Transformer/encoderblock_1/MultiHeadDotProductAttention_1/key/bias"]
    with pytest.raises(ValueError, match="no query, key and value at .*encoderblock_1"):
        zoo.load_torch("vit_ti_16", tensors, depth=2, num_classes=5)


def test_a_layer_before_the_classifier():
    """Its classifier takes what that layer makes of the features, so it cannot be loaded alone."""
    tensors = jax_vit() | {"pre_logits/kernel": np.zeros((192, 192)), "pre_logits/bias": np.ones(1)}
    with pytest.raises(ValueError, match="pre_logits.*num_classes=0"):
        zoo.load_torch("vit_ti_16", tensors, depth=2, num_classes=5)
    assert "head" not in zoo.load_torch("vit_ti_16", tensors, depth=2, num_classes=0)["params"]


def test_every_pattern_names_a_family():
    families = {registry.info(name).family for name in zoo.list_models()}
    tables = published.RENAMED.keys() | published.RESHAPED.keys() | published.IGNORED.keys()
    assert tables <= families


@pytest.mark.parametrize(
    "name, shape",
    [("out/kernel", ()), ("out/kernel", (4,)), ("query/kernel", ()), ("key/bias", ())],
)
def test_a_jax_vit_of_odd_shapes_is_refused_in_words(name, shape):
    name = f"Transformer/encoderblock_0/MultiHeadDotProductAttention_1/{name}"
    tensors = {"Transformer/encoder_norm/scale": np.zeros(3), name: np.zeros(shape, np.float32)}
    with pytest.raises(ValueError, match=f"no weights for vit_ti_16.*{name} has shape"):
        zoo.load_torch("vit_ti_16", tensors)
