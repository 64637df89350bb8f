"""Weights and inputs that anyone can regenerate, and what the reference made of them.

`goldens/NAME.json` pins a public reference implementation: the names and shapes of its tensors, and
its logits, computed in float64, for the weights of `fill` and the images of `images`.
"""

import json
import pathlib
import zlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "goldens"

# Golden -> our name, where they differ.
OURS = {
    "alexnet_bvlc": "alexnet",
    "bn_inception": "inception_v2",
    "cait_xxs24_224": "cait_xxs24",
    "crossvit_tiny_224": "crossvit_ti",
    "crossvit_tiny_240": "crossvit_ti",
    "deit_tiny_distilled_patch16_224": "deit_ti_distilled",
    "deit_tiny_patch16_224": "deit_ti",
    "googlenet_bvlc": "googlenet",
    "localvit_pvt_tiny": "localvit_pvt_t",
    "localvit_small": "localvit_s",
    "localvit_tiny": "localvit_t",
    "nin_imagenet": "nin",
    "preresnet18_pytorchcv": "preresnet18",
    "preresnet50_pytorchcv": "preresnet50",
    "senet154_scaled": "senet154",
    "t2t_vit_14_scaled": "t2t_vit_14",
    "t2t_vit_7_scaled": "t2t_vit_7",
    "tnt_s_patch16_224": "tnt_s",
    "twins_pcpvt_small": "twins_pcpvt_s",
    "twins_svt_small": "twins_svt_s",
    "vit_small_patch16_224": "vit_s_16",
    "vit_tiny_patch16_224": "vit_ti_16",
}

# Golden -> whose names it has, where they are not those of `zoo.info(name).reference`.
ORIGINS = {"crossvit_tiny_224": "ibm"}

POSITIONS = (
    *("pos_embed", "position_embedding", "cls_token", "class_token", "dist_token"),
    *("relative_position_bias_table", "pos_embedding", "reg_token", "pos_emb", "cls_pe"),
)
GAINS = ("weight", "gamma", "gamma_1", "gamma_2", "layer_scale", "alpha")


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


def state_dict(golden: dict) -> dict[str, np.ndarray]:
    scales = golden.get("fill_scale", {})
    return {
        name: fill(name, shape) * next((scales[end] for end in scales if name.endswith(end)), 1)
        for name, shape in golden["state_dict"]
    }


def images(golden: dict, batch: int) -> np.ndarray:
    size = golden["test_size"]
    return np.random.RandomState(0).standard_normal((batch, size, size, golden["channels"]))


def fill(name: str, shape: list[int]) -> np.ndarray:
    """The tensor called `name`, in float64; the first rule that applies decides."""
    z = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    fan_in = np.prod(shape[1:])
    if name.endswith("running_var"):
        return 1 + 0.1 * abs(z)
    if name.endswith("running_mean"):
        return 0.1 * z
    if any(word in name for word in POSITIONS) or (len(shape) == 3 and shape[0] == 1):
        return 0.2 * z
    if len(shape) >= 2 and fan_in > 1:
        return z * np.sqrt(2 / fan_in)
    return 1 + 0.1 * z if name.endswith(GAINS) else 0.1 * z
