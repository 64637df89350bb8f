"""Published files whose names differ from those of the code that they are for.

torchvision and timm rename tensors while they load a file, and so does `load_torch`: the tables
below are what their loading code does for models that are here too (torchvision 0.29.1, timm
1.0.31). What a family's conversion tables know already is not repeated: the files of DenseNet with
"denselayer1.norm.1", those of RegNet, Swin, PVT v2 and ConvNeXt by the authors.
"""

import re
from collections.abc import Callable, Mapping

import numpy as np

# By family: (pattern in the file's names, what the code calls it). A name may have a prefix.
RENAMED: dict[str, tuple[tuple[str, str], ...]] = {
    # torchvision, MLPBlock of vision_transformer.py: files of before its version 2, which are all.
    "vit": (
        (r"\.mlp\.linear_1\.", ".mlp.0."),
        (r"\.mlp\.linear_2\.", ".mlp.3."),
    ),
    # timm, vgg.py: there the fully connected layers are convolutions. Names are torchvision's here.
    "vgg": (
        (r"\bpre_logits\.fc1\.", "classifier.0."),
        (r"\bpre_logits\.fc2\.", "classifier.3."),
        (r"\bhead\.fc\.", "classifier.6."),
    ),
    # timm, crossvit.py: files of the authors.
    "crossvit": ((r"\b(pos_embed|cls_token)\.(\d)$", r"\1_\2"),),
    # timm, tnt.py: files of the authors.
    "tnt": (
        (r"\bouter_pos$", "patch_pos"),
        (r"\binner_pos$", "pixel_pos"),
        (r"\bpatch_embed\.", "pixel_embed."),
        (r"\bproj_norm(\d)\.", r"norm\1_proj."),
        (r"\binner_norm1\.", "norm_in."),
        (r"\binner_attn\.", "attn_in."),
        (r"\binner_norm2\.", "norm_mlp_in."),
        (r"\binner_mlp\.", "mlp_in."),
        (r"\bouter_norm1\.", "norm_out."),
        (r"\bouter_attn\.", "attn_out."),
        (r"\bouter_norm2\.", "norm_mlp."),
        (r"\bouter_mlp\.", "mlp."),
    ),
}

# By family: names, as they are after renaming, of what timm passes over.
IGNORED: dict[str, tuple[str, ...]] = {"tnt": (r"\bouter_tokens$",)}


def _flatten(weight: np.ndarray) -> np.ndarray:
    """[O, I, H, W] of a convolution over all of its input -> [O, I * H * W] of a dense layer."""
    return weight.reshape(len(weight), -1)


def _to_patches(weight: np.ndarray) -> np.ndarray:
    """[C, 3 * p * p] of a dense layer on flattened patches -> [C, 3, p, p] of a convolution."""
    side = round((weight.shape[1] / 3) ** 0.5)
    return weight.reshape(-1, 3, side, side) if weight.shape[1] == 3 * side**2 else weight


def _to_grid(embedding: np.ndarray) -> np.ndarray:
    """[1, N, C] of a square of pixels -> [1, C, H, W]."""
    side = round(embedding.shape[1] ** 0.5)
    if embedding.shape[0] != 1 or embedding.shape[1] != side**2:
        return embedding
    return embedding.transpose(0, 2, 1).reshape(1, -1, side, side)


# By family: (names after renaming, number of axes in the file, what is done).
_PATCHES = ((r"\bpatch_embed\.proj\.weight$", 2, _to_patches),)  # timm, vision_transformer.py
RESHAPED: dict[str, tuple[tuple[str, int, Callable[[np.ndarray], np.ndarray]], ...]] = {
    "vgg": ((r"\bclassifier\.[03]\.weight$", 4, _flatten),),
    "tnt": ((r"\bpixel_pos$", 3, _to_grid),),
    "vit": _PATCHES,
    "deit": _PATCHES,
}


def rename(family: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the tensors of a published file under the names of its reference's code.

    Raises:
      ValueError: Two tensors would get the same name.
    """
    renamed: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        for pattern, replacement in RENAMED.get(family, ()):
            name = re.sub(pattern, replacement, name)
        if any(re.search(pattern, name) for pattern in IGNORED.get(family, ())):
            continue
        if name in renamed:
            raise ValueError(f"The weights have {name!r} twice, once by an older name.")
        for pattern, axes, reshape in RESHAPED.get(family, ()):
            if np.ndim(tensor) == axes and re.search(pattern, name):
                tensor = reshape(np.asarray(tensor))
        renamed[name] = tensor
    return from_jax(renamed) if family == "vit" else renamed


# google-research/vision_transformer, whose `.npz` files timm reads too -> timm's names.
_JAX_MARK = "Transformer/encoder_norm/scale"
_JAX = (
    (r"^Transformer/encoderblock_(\d+)/", r"blocks.\1."),
    (r"^Transformer/encoder_norm/", "norm."),
    (r"^Transformer/posembed_input/pos_embedding$", "pos_embed"),
    (r"^embedding/", "patch_embed.proj."),
    (r"^cls$", "cls_token"),
    (r"LayerNorm_0/", "norm1."),
    (r"LayerNorm_\d/", "norm2."),
    (r"MlpBlock_\d/Dense_0/", "mlp.fc1."),
    (r"MlpBlock_\d/Dense_1/", "mlp.fc2."),
    (r"MultiHeadDotProductAttention_\d/out/", "attn.proj."),
    (r"/", "."),
    (r"\.(kernel|scale)$", ".weight"),
)
_JAX_QKV = re.compile(r"^(.*)MultiHeadDotProductAttention_\d/(query|key|value)/(kernel|bias)$")
_JAX_PREFIX = "opt/target/"  # of checkpoints with the optimizer's state


def from_jax(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns a ViT of google-research/vision_transformer under timm's names, in PyTorch's layout.

    Kernels are IO and HWIO there. Queries, keys and values are apart, [C, heads, C / heads], and
    their output's kernel is [heads, C / heads, C]. Other tensors are returned as they are.

    Raises:
      ValueError: A part of a block's attention is missing, or has another number of axes.
    """
    if _JAX_PREFIX + _JAX_MARK in tensors:
        tensors = {
            name.removeprefix(_JAX_PREFIX): tensor
            for name, tensor in tensors.items()
            if name.startswith(_JAX_PREFIX)
        }
    if _JAX_MARK not in tensors:
        return dict(tensors)
    converted: dict[str, np.ndarray] = {}
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, tensor in tensors.items():
        tensor = np.asarray(tensor)
        if qkv := _JAX_QKV.match(name):
            block, part, leaf = qkv.groups()
            _require_axes(name, tensor, 3 if leaf == "kernel" else 2)
            parts.setdefault(f"{block}/{leaf}", {})[part] = tensor
            continue
        if name.endswith("/out/kernel"):
            _require_axes(name, tensor, 3)
            tensor = tensor.reshape(-1, tensor.shape[-1])  # [heads, C / heads, C] -> [C, C]
        for pattern, replacement in _JAX:
            name = re.sub(pattern, replacement, name)
        is_kernel = name.endswith(".weight") and tensor.ndim in (2, 4)
        converted[name] = np.moveaxis(tensor, (-1, -2), (0, 1)) if is_kernel else tensor
    for place, found in parts.items():
        block, _, leaf = place.rpartition("/")
        if len(found) < 3:
            raise ValueError(f"The weights have no query, key and value at {block!r}.")
        qkv = [found[part] for part in ("query", "key", "value")]
        if leaf == "kernel":
            qkv = [kernel.reshape(len(kernel), -1).T for kernel in qkv]  # [C, heads, d] -> [C, C]
        name = re.sub(*_JAX[0], block) + ("attn.qkv." + ("weight" if leaf == "kernel" else leaf))
        converted[name] = np.concatenate([np.ravel(v) if leaf == "bias" else v for v in qkv])
    return converted


def _require_axes(name: str, tensor: np.ndarray, axes: int) -> None:
    if tensor.ndim != axes:
        raise ValueError(f"{name} has shape {tensor.shape}, and should have {axes} axes.")
