"""Makes goldens/preprocess: what torchvision and timm make of pictures, and files of pictures.

    python tests/zoo/make_preprocess.py      (needs torchvision, timm and scikit-image)

expected.npz holds, by "SOURCE|PICTURE", 15 x 15 pixels of the result, evenly spaced from border to
border, as uint8 before normalising; settings.json what each source says of its preprocessing.
"""

import io
import json
from pathlib import Path

import numpy as np
import timm
import torchvision.models
from drawings import DRAWN, draw
from PIL import Image
from skimage import data, transform

FOLDER = Path(__file__).parent / "goldens" / "preprocess"
POINTS = 15
TORCHVISION = (
    *("resnet50:IMAGENET1K_V1", "resnet50:IMAGENET1K_V2", "efficientnet_b0:IMAGENET1K_V1"),
    *("swin_v2_t:IMAGENET1K_V1", "inception_v3:IMAGENET1K_V1", "convnext_tiny:IMAGENET1K_V1"),
    "vit_h_14:IMAGENET1K_SWAG_E2E_V1",
)
TIMM = (
    *("vit_small_patch16_224.augreg_in21k_ft_in1k", "tf_efficientnet_lite3.in1k"),
    *("inception_v4.tf_in1k", "resnetv2_50.a1h_in1k", "cait_xs24_384.fb_dist_in1k"),
    "tf_efficientnetv2_s.in21k_ft_in1k",
)


def files() -> dict[str, bytes]:
    """Photographs and drawings as people keep them."""
    cat, rocket = Image.fromarray(data.chelsea()), Image.fromarray(data.rocket())
    cat, rocket = cat.resize((225, 150)), rocket.resize((240, 160))
    huge = (255 * transform.resize(data.coffee(), (1200, 1800), order=3)).astype(np.uint8)
    rgba = rocket.copy()
    rgba.putalpha(Image.linear_gradient("L").resize(rgba.size))
    turned = Image.Exif()
    turned[274] = 6  # to be turned by 90 degrees for showing
    palette = cat.quantize(64)
    saved = {
        "photo.jpg": (cat, {"quality": 80}),
        "huge.jpg": (Image.fromarray(huge), {"quality": 20, "subsampling": "4:2:0"}),
        "progressive.jpg": (rocket, {"quality": 80, "progressive": True}),
        "turned.jpg": (cat, {"quality": 70, "exif": turned}),
        "grey.jpg": (cat.convert("L"), {"quality": 70}),
        "cmyk.jpg": (rocket.convert("CMYK"), {"quality": 70}),
        "alpha.png": (rgba.resize((90, 60)), {}),
        "palette.png": (palette.resize((120, 80)), {"transparency": 3}),
        "grey_alpha.png": (rgba.convert("LA").resize((90, 60)), {}),
        "bits.png": (cat.convert("1"), {}),
        "photo.webp": (cat, {"quality": 60}),
    }
    contents = {}
    for name, (image, options) in saved.items():
        stream = io.BytesIO()
        kind = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[name.rpartition(".")[2]]
        image.save(stream, kind, **options)
        contents[name] = stream.getvalue()
    return contents


def sources() -> dict[str, tuple]:
    """By name: the reference's transform, and its settings as `zoo.Info` has them."""
    found = {}
    for name in TORCHVISION:
        model, _, weights = name.partition(":")
        preset = torchvision.models.get_model_weights(model)[weights].transforms()
        (size,), (shorter,) = preset.crop_size, preset.resize_size
        settings = {"image_size": size, "crop": size / shorter, "mean": preset.mean}
        settings |= {"interpolation": preset.interpolation.value, "std": preset.std}
        found[f"torchvision/{name}"] = preset, settings
    for name in TIMM:
        config = timm.get_pretrained_cfg(name)
        pipeline = timm.data.create_transform(
            input_size=config.input_size,
            interpolation=config.interpolation,
            mean=config.mean,
            std=config.std,
            crop_pct=config.crop_pct,
            crop_mode=config.crop_mode,
        )
        settings = {"image_size": config.input_size[1], "crop": config.crop_pct}
        settings |= {"interpolation": config.interpolation, "mean": config.mean, "std": config.std}
        found[f"timm/{name}"] = pipeline, settings | {"crop_mode": config.crop_mode}
    return found


def sampled(image: Image.Image, pipeline, settings: dict) -> np.ndarray:
    """uint8 [POINTS, POINTS, 3] of the result."""
    result = np.asarray(pipeline(image.convert("RGB"))).transpose(1, 2, 0)
    scaled = 255 * (result.astype(np.float64) * settings["std"] + settings["mean"])
    pixels = scaled.round()
    assert np.abs(scaled - pixels).max() < 1e-3  # the references crop and resize bytes
    at = np.linspace(0, len(pixels) - 1, POINTS).round().astype(int)
    return pixels.astype(np.uint8)[at][:, at]


def main() -> None:
    """Writes the folder."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        if not (FOLDER / name).exists():  # encoders change
            (FOLDER / name).write_bytes(content)
    pictures = {name: Image.fromarray(draw(*size)) for name, size in DRAWN.items()}
    pictures |= {name: Image.open(FOLDER / name) for name in files()}
    expected, table = {}, {}
    for number, (source, (pipeline, settings)) in enumerate(sources().items()):
        table[source] = settings
        for name, picture in pictures.items():
            if name in DRAWN or name == "huge.jpg" or number in (1, 7):
                expected[f"{source}|{name}"] = sampled(picture, pipeline, settings)
    np.savez_compressed(FOLDER / "expected.npz", **expected)
    (FOLDER / "settings.json").write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
