"""Writes `variants.json`: logits of reference models that have no published golden.

    python tests/zoo/make_variants.py "torchvision resnet34" "timm resnet200" ...

Needs torch, torchvision, timm and pytorchcv (those named), and nothing of this project's other
requirements. Weights and images are those of `goldens.py`, in float64; training mode is run with
dropout and drop path off. Entries that are there already are replaced.
"""

import json
import pathlib
import sys

import goldens
import numpy as np
import torch

FILE = pathlib.Path(__file__).parent / "variants.json"
# Factors by name suffix, where the plain weights amplify until rounding decides: see fp32_error.
SCALES = {
    "timm resnet200": {"bn3.weight": 0.2},
    "timm resnetv2": {"conv3.weight": 0.2},
    "pytorchcv preresnet": {"conv3.conv.weight": 0.2, "body.conv2.conv.weight": 0.2},
    "timm legacy_seresne": {"bn3.weight": 0.2},
    "torchvision efficientnet_v2": {"block.3.1.weight": 0.2},
}
SIZES = {"pytorchcv": 224, "torchvision vit": 224}
# Buffers that a reference keeps in its state dict and computes itself.
CONSTANTS = ("relative_coords_table",)


def build(reference: str) -> torch.nn.Module:
    package, name = reference.split()[:2]
    if package == "torchvision":
        import torchvision

        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return torchvision.models.get_model(name, weights=None, **options)
    if package == "timm":
        import timm

        return timm.create_model(name, pretrained=False)
    from pytorchcv.model_provider import get_model

    return get_model(name, pretrained=False)


def without_randomness(model: torch.nn.Module) -> torch.nn.Module:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for rate in ("drop_prob", "drop_rate", "p"):
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)
    return model


def figures(logits: np.ndarray) -> dict:
    def short(value: float) -> float:
        return float(f"{value:.9g}")

    statistics = dict(mean=logits.mean(), std=logits.std(), l1=np.abs(logits).mean())
    first8 = [[short(value) for value in row[:8]] for row in logits]
    return {"first8": first8, **{name: short(value) for name, value in statistics.items()}}


def entry(reference: str) -> dict:
    scales = next((SCALES[start] for start in SCALES if reference.startswith(start)), {})
    model = without_randomness(build(reference)).double().eval()
    size = next((SIZES[start] for start in SIZES if reference.startswith(start)), 64)
    timm_facts = getattr(model, "pretrained_cfg", {})
    if timm_facts.get("fixed_input_size"):
        size = timm_facts["input_size"][1]
    floating = {
        name: value
        for name, value in model.state_dict().items()
        if value.is_floating_point() and not name.endswith(CONSTANTS)
    }
    golden = {"state_dict": [[k, list(v.shape)] for k, v in floating.items()], "fill_scale": scales}
    tensors = {k: torch.from_numpy(np.array(v)) for k, v in goldens.state_dict(golden).items()}
    model.load_state_dict(tensors, strict=False)

    def run(batch: int, dtype: torch.dtype) -> np.ndarray:
        images = goldens.images({"test_size": size, "channels": 3}, batch).transpose(0, 3, 1, 2)
        with torch.no_grad():
            return model(torch.from_numpy(images.copy()).to(dtype)).double().numpy()

    evaluation = figures(double := run(2, torch.float64))
    result = {"test_size": size, "fill_scale": scales, "eval": evaluation}
    if any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules()):
        model.train()
        result["train_batch_stats"] = figures(run(4, torch.float64))
        model.load_state_dict(tensors, strict=False)  # the statistics as they were
    model.eval().float()
    error = np.abs(run(2, torch.float32) - double)[:, :8].max() / double.std()
    evaluation["fp32_error"] = float(f"{error:.3g}")
    return result


def main(references: list[str]) -> None:
    variants = json.loads(FILE.read_text()) if FILE.exists() else {}
    for reference in references:
        variants[reference] = entry(reference)
        print(reference, "float32 error", variants[reference]["eval"]["fp32_error"], flush=True)
        lines = [f"{json.dumps(key)}: {json.dumps(variants[key])}" for key in sorted(variants)]
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
