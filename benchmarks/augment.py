"""Augmentation on the device beside torchvision v2: images per second on two cores.

    python benchmarks/augment.py --torch_python=VENV/bin/python [--only=rotate,equalize]

A batch of 64 uint8 images of 224x224 pixels, each image with draws of its own. Ours is one compiled
function of (key, batch); torchvision's a transform of one image after the other, with two threads,
whose results are stacked to a batch again (the table has its figure without that, too: then a crop
is a view of memory that nobody reads). Both run in processes of their own that are bound to two
cores and take turns, row by row; figures are medians over the rounds, each of a second.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

CORES, BATCH, SIZE, SECONDS = 2, 64, 224, 1.0
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHORTEST = (224, 240, 256, 288)  # of RandomShortestSize


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--torch_python", help="a Python with torch and torchvision")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="rows, with commas between them")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
        CONTENDERS[arguments.contender]()
        return
    rows = [row for row in arguments.only.split(",") if row] or list(ROWS)
    pythons = {"ours": sys.executable, "torchvision": arguments.torch_python}
    processes = {name: start(python, name) for name, python in pythons.items() if python}
    print("| | ours | torchvision | ours is | torchvision, not stacked | ours is |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in processes}
        for _ in range(arguments.rounds):
            for name, process in processes.items():
                found[name].append(ask(process, row))
        print(line(row, found), flush=True)
    for process in processes.values():
        process.kill()


def line(row: str, found: dict[str, list[dict[str, float]]]) -> str:
    """A row of the table: medians, and how many times as fast ours is."""

    def median(name: str, figure: str) -> float:
        return statistics.median(one[figure] for one in found[name])

    ours = median("ours", "batch")
    cells = [f"{ours:,.0f}"]
    if "torchvision" in found:
        for figure in ("batch", "images"):
            theirs = median("torchvision", figure)
            cells += [f"{theirs:,.0f}", f"{ours / theirs:.2f}x"]
    return f"| {row} | {' | '.join(cells)} |"


def start(python: str, name: str) -> subprocess.Popen:
    """Starts a contender: it answers each row on a line of its input by a line of figures."""
    environment = os.environ | {"OMP_NUM_THREADS": str(CORES), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [python, __file__, f"--contender={name}"],
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def ask(process: subprocess.Popen, row: str) -> dict[str, float]:
    """Images per second of a row."""
    assert process.stdin and process.stdout
    process.stdin.write(f"{row}\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"A contender ended in the row {row}: see above.")
    return json.loads(answer)


def answer(measure: Callable[[str], dict[str, float]]) -> None:
    """The other end of `ask`."""
    for row in sys.stdin:
        print(json.dumps(measure(row.strip())), flush=True)


def images_per_second(step: Callable[[], Any]) -> float:
    """Of a function that goes through one batch; its first two calls are not counted."""
    step()
    step()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        step()
        count += 1
    return BATCH * count / (time.perf_counter() - started)


def pixels() -> Any:
    """A batch of smooth pictures with noise, uint8 [B, H, W, 3]."""
    import numpy as np

    random = np.random.RandomState(0)
    coarse = random.randint(0, 256, (BATCH, 14, 14, 3)).repeat(16, 1).repeat(16, 2)
    return np.clip(coarse + random.randint(-20, 20, coarse.shape), 0, 255).astype(np.uint8)


def ours() -> None:
    """Answers with our figures."""
    import jax

    from train.memory import keep_freed_memory

    keep_freed_memory()  # as training does
    images = jax.numpy.asarray(pixels())

    @functools.cache
    def compiled(row: str) -> Callable:
        return jax.jit(ROWS[row][0]())

    def measure(row: str) -> dict[str, float]:
        keys = iter(jax.random.split(jax.random.key(0), 100_000))
        function = compiled(row)
        return {
            "batch": images_per_second(lambda: jax.block_until_ready(function(next(keys), images)))
        }

    answer(measure)


def torchvision() -> None:
    """Answers with torchvision's figures."""
    import torch

    torch.set_num_threads(CORES)
    images = list(torch.from_numpy(pixels()).permute(0, 3, 1, 2).contiguous())

    def measure(row: str) -> dict[str, float]:
        transform = ROWS[row][1]()

        def each() -> list:
            return [transform(image) for image in images]

        def stacked() -> Any:
            results = each()
            several = isinstance(results[0], tuple)
            batch = torch.stack([torch.stack(one) if several else one for one in results])
            return OF_BATCH[row](batch) if row in OF_BATCH else batch

        return {"batch": images_per_second(stacked), "images": images_per_second(each)}

    answer(measure)


def of_ours(name: str, **options: Any) -> Callable[[], Callable]:
    """A random form of ours, or an operation that draws nothing."""

    def make() -> Callable:
        from input_pipeline import augment

        function = getattr(augment, name)
        draws = name.startswith(("random", "color", "elastic", "gaussian_noise", "scale_jitter"))
        if draws:
            return functools.partial(function, **options)
        return lambda key, images: function(images, **options)

    return make


def of_v2(*chain: tuple[str, dict[str, Any]]) -> Callable[[], Callable]:
    """Transforms of torchvision v2, one after the other; names of interpolations become modes."""

    def make() -> Callable:
        from torchvision.transforms import v2

        made = []
        for name, options in chain:
            if "interpolation" in options:
                mode = v2.InterpolationMode(options["interpolation"])
                options = options | {"interpolation": mode}
            made.append(getattr(v2, name)(**options))
        return made[0] if len(made) == 1 else v2.Compose(made)

    return make


def gamma_of_ours() -> Callable:
    """A gamma of its own for each image."""
    from input_pipeline import augment

    def adjust(key: Any, images: Any) -> Any:
        gamma = augment.uniform(augment.image_keys(key, images.shape[0]), 0.5, 2.0)
        return augment.adjust_gamma(images, gamma)

    return adjust


def gamma_of_v2() -> Callable:
    """A gamma of its own for each image."""
    import torch
    from torchvision.transforms.v2 import functional

    return lambda image: functional.adjust_gamma(image, float(torch.empty(1).uniform_(0.5, 2.0)))


def erasing_of_ours() -> Callable:
    """Random erasing of images that are not yet normalised, by zeros."""
    import jax.numpy as jnp

    from input_pipeline import augment

    def erase(key: Any, images: Any) -> Any:
        keys = augment.image_keys(key, images.shape[0])
        box = augment.random_box(keys, SIZE, SIZE, (0.02, 0.33), (0.3, 3.3))
        return augment.erase(images, *box, jnp.uint8(0))

    return erase


def policy_of_ours(name: str, **options: Any) -> Callable[[], Callable]:
    """A policy by its name in recipes."""

    def make() -> Callable:
        from input_pipeline.augment.policies import make_policy

        return make_policy(name, **options)

    return make


def deit_of_ours() -> Callable:
    """DeiT's training images, with torchvision's RandAugment: to mixed batches and targets."""
    import jax
    import jax.numpy as jnp

    from input_pipeline import augment
    from input_pipeline.augment.erasing import random_erasing
    from input_pipeline.augment.mixing import Mixing
    from input_pipeline.augment.policies import make_policy

    policy = make_policy("randaugment")
    mixing = Mixing(1000, mixup=0.8, cutmix=1.0, convention="torchvision")
    labels = jnp.arange(BATCH)

    def pipeline(key: Any, images: Any) -> Any:
        crop_key, flip_key, policy_key, erasing_key, mixing_key = jax.random.split(key, 5)
        images = augment.random_resized_crop(crop_key, images, SIZE, interpolation="bicubic")
        images = policy(policy_key, augment.random_flip(flip_key, images))
        images = random_erasing(erasing_key, augment.normalize(images, MEAN, STD), 0.25)
        return mixing(mixing_key, images, labels)

    return pipeline


def deit_of_v2() -> Callable:
    """The same of one image; `mix_of_v2` mixes."""
    import torch
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, interpolation=v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
            v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
            v2.RandomErasing(0.25, value="random"),
        ]
    )


def mix_of_v2(images: Any) -> Any:
    """Mixup or cutmix of a batch."""
    import torch
    from torchvision.transforms import v2

    mixes = [v2.MixUp(alpha=0.8, num_classes=1000), v2.CutMix(alpha=1.0, num_classes=1000)]
    return v2.RandomChoice(mixes)(images, torch.arange(BATCH))


def normalize_of_v2() -> Callable:
    """To float32 on the scale 0 to 1, and normalised."""
    import torch
    from torchvision.transforms import v2

    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])


SAMPLED = {"interpolation": "bilinear"}
BILINEAR = {"interpolation": "bilinear", "fill": 127}
AFFINE = {"degrees": 30, "translate": (0.1, 0.1), "scale": (0.8, 1.2), "shear": 10, **BILINEAR}
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
# Name of a row: what makes our function of (key, images), and torchvision's of an image.
ROWS: dict[str, tuple[Callable[[], Callable], Callable[[], Callable]]] = {
    "horizontal flip": (of_ours("random_flip"), of_v2(("RandomHorizontalFlip", {}))),
    "vertical flip": (of_ours("random_vertical_flip"), of_v2(("RandomVerticalFlip", {}))),
    "pad 4": (of_ours("pad", padding=4), of_v2(("Pad", {"padding": 4}))),
    "padded random crop": (
        of_ours("random_crop_with_padding", padding=4),
        of_v2(("RandomCrop", {"size": SIZE, "padding": 4})),
    ),
    "random crop 192": (
        of_ours("random_crop", size=192),
        of_v2(("RandomCrop", {"size": 192})),
    ),
    "center crop 192": (
        of_ours("center_crop", output_size=192),
        of_v2(("CenterCrop", {"size": 192})),
    ),
    "five crop 192": (of_ours("five_crop", size=192), of_v2(("FiveCrop", {"size": 192}))),
    "ten crop 192": (of_ours("ten_crop", size=192), of_v2(("TenCrop", {"size": 192}))),
    "resize 256": (of_ours("resize", size=256), of_v2(("Resize", {"size": 256}))),
    "resize 160": (of_ours("resize", size=160), of_v2(("Resize", {"size": 160}))),
    "resize 160 bicubic": (
        of_ours("resize", size=160, interpolation="bicubic"),
        of_v2(("Resize", {"size": 160, "interpolation": "bicubic"})),
    ),
    "random resized crop": (
        of_ours("random_resized_crop", size=SIZE),
        of_v2(("RandomResizedCrop", {"size": SIZE})),
    ),
    "random resized crop bicubic": (
        of_ours("random_resized_crop", size=SIZE, interpolation="bicubic"),
        of_v2(("RandomResizedCrop", {"size": SIZE, "interpolation": "bicubic"})),
    ),
    "scale jitter": (
        of_ours("scale_jitter", target_size=SIZE, scale_range=(0.5, 2.0)),
        of_v2(
            ("ScaleJitter", {"target_size": (SIZE, SIZE), "scale_range": (0.5, 2.0)}),
            ("RandomCrop", {"size": SIZE, "pad_if_needed": True}),
        ),
    ),
    "random shortest size": (
        of_ours("random_shortest_size", min_size=SHORTEST, size=SIZE),
        of_v2(("RandomShortestSize", {"min_size": list(SHORTEST)}), ("RandomCrop", {"size": SIZE})),
    ),
    "zoom-out and resize": (
        of_ours("random_zoom_out"),
        of_v2(("RandomZoomOut", {}), ("Resize", {"size": SIZE})),
    ),
    "rotation": (
        of_ours("random_rotation", degrees=30, fill=127),
        of_v2(("RandomRotation", {"degrees": 30, "fill": 127})),
    ),
    "rotation bilinear": (
        of_ours("random_rotation", degrees=30, **BILINEAR),
        of_v2(("RandomRotation", {"degrees": 30, **BILINEAR})),
    ),
    "affine bilinear": (of_ours("random_affine", **AFFINE), of_v2(("RandomAffine", AFFINE))),
    "perspective": (
        of_ours("random_perspective", p=1.0),
        of_v2(("RandomPerspective", {"p": 1.0})),
    ),
    "elastic": (of_ours("elastic_transform"), of_v2(("ElasticTransform", {}))),
    "brightness": (
        of_ours("color_jitter", brightness=0.4),
        of_v2(("ColorJitter", {"brightness": 0.4})),
    ),
    "contrast": (
        of_ours("color_jitter", contrast=0.4),
        of_v2(("ColorJitter", {"contrast": 0.4})),
    ),
    "saturation": (
        of_ours("color_jitter", saturation=0.4),
        of_v2(("ColorJitter", {"saturation": 0.4})),
    ),
    "hue": (of_ours("color_jitter", hue=0.1), of_v2(("ColorJitter", {"hue": 0.1}))),
    "color jitter": (of_ours("color_jitter", **JITTER), of_v2(("ColorJitter", JITTER))),
    "photometric distortion": (
        of_ours("random_photometric_distort"),
        of_v2(("RandomPhotometricDistort", {})),
    ),
    "gamma": (gamma_of_ours, gamma_of_v2),
    "grayscale": (
        of_ours("random_grayscale", p=1.0),
        of_v2(("RandomGrayscale", {"p": 1.0})),
    ),
    "channel permutation": (
        of_ours("random_channel_permutation"),
        of_v2(("RandomChannelPermutation", {})),
    ),
    "invert": (of_ours("random_invert", p=1.0), of_v2(("RandomInvert", {"p": 1.0}))),
    "posterize": (
        of_ours("random_posterize", bits=4, p=1.0),
        of_v2(("RandomPosterize", {"bits": 4, "p": 1.0})),
    ),
    "solarize": (
        of_ours("random_solarize", threshold=128, p=1.0),
        of_v2(("RandomSolarize", {"threshold": 128, "p": 1.0})),
    ),
    "autocontrast": (
        of_ours("random_autocontrast", p=1.0),
        of_v2(("RandomAutocontrast", {"p": 1.0})),
    ),
    "equalize": (of_ours("random_equalize", p=1.0), of_v2(("RandomEqualize", {"p": 1.0}))),
    "equalize half of them": (of_ours("random_equalize"), of_v2(("RandomEqualize", {}))),
    "sharpness": (
        of_ours("random_adjust_sharpness", sharpness_factor=1.5, p=1.0),
        of_v2(("RandomAdjustSharpness", {"sharpness_factor": 1.5, "p": 1.0})),
    ),
    "gaussian blur 5": (
        of_ours("random_gaussian_blur", kernel_size=5),
        of_v2(("GaussianBlur", {"kernel_size": 5, "sigma": (0.1, 2.0)})),
    ),
    "gaussian blur 23": (
        of_ours("random_gaussian_blur", kernel_size=23),
        of_v2(("GaussianBlur", {"kernel_size": 23, "sigma": (0.1, 2.0)})),
    ),
    "gaussian noise": (of_ours("gaussian_noise"), of_v2(("GaussianNoise", {}))),
    "JPEG": (of_ours("random_jpeg", quality=(50, 95)), of_v2(("JPEG", {"quality": (50, 95)}))),
    "erasing": (erasing_of_ours, of_v2(("RandomErasing", {"p": 1.0}))),
    "normalize": (of_ours("normalize", mean=MEAN, std=STD), normalize_of_v2),
    "RandAugment": (policy_of_ours("randaugment"), of_v2(("RandAugment", SAMPLED))),
    "AutoAugment": (policy_of_ours("autoaugment"), of_v2(("AutoAugment", SAMPLED))),
    "TrivialAugment": (
        policy_of_ours("trivial_augment_wide"),
        of_v2(("TrivialAugmentWide", SAMPLED)),
    ),
    "AugMix": (policy_of_ours("augmix"), of_v2(("AugMix", SAMPLED))),
    "DeiT": (deit_of_ours, deit_of_v2),
}
OF_BATCH = {"DeiT": mix_of_v2}  # what torchvision does to a batch
CONTENDERS = {"ours": ours, "torchvision": torchvision}

if __name__ == "__main__":
    main()
