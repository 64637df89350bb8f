"""Images per second from JPEG files to the five best classes: ResNet-50, float32, batches of 32.

    python benchmarks/predict.py --images=FOLDER_OR_TAR ... --torch_python=VENV/bin/python

`train.use.predictions.predict`, which `python -m train.predict` runs, beside the loop of timm's
`inference.py` (its data set, its loader with two workers, softmax and topk; random weights, which
take the same time), on 500 files: the JPEGs found, repeated. Each contender runs in a process of
its own, bound to two cores, with two threads; the first batch, in which things are compiled, is
left out. The contenders alternate; the table gives medians over the rounds.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

MODEL, BATCH, TOP, CORES, FILES = "resnet50", 32, 5, 2, 500


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", nargs="+", help="folders of JPEGs, or tars of them")
    parser.add_argument("--torch_python", help="a Python with torch and timm")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="the name of one contender")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
        print(CONTENDERS[arguments.contender](arguments.folder))
        return
    if not arguments.images:
        parser.error("--images=FOLDER_OR_TAR: whose JPEGs?")
    with tempfile.TemporaryDirectory() as folder:
        contents = [content for source in arguments.images for content in jpegs(Path(source))]
        for number in range(FILES):
            path = Path(folder, "class", f"{number:03}.jpg")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(contents[number % len(contents)])
        pythons = {"flax-zoo": sys.executable, "timm": arguments.torch_python}
        names = [name for name in CONTENDERS if pythons[name] and arguments.only in (name, "")]
        speeds: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(arguments.rounds):
            for name in names:
                speeds[name].append(run(pythons[name], name, folder))
    print(f"| {MODEL}, {len(contents)} JPEGs repeated to {FILES} | images/s |\n| --- | ---: |")
    for name, found in speeds.items():
        print(f"| {name} | {statistics.median(found):.1f} ({min(found):.1f} to {max(found):.1f}) |")


def jpegs(source: Path) -> Iterator[bytes]:
    """Yields the content of all JPEGs in a folder or a tar, also in the tars of a tar."""
    if source.is_dir():
        for path in sorted(source.rglob("*.[jJ][pP]*[gG]")):
            yield path.read_bytes()
        return
    pending = [tarfile.open(source)]
    while pending:
        tar = pending.pop()
        for member in sorted((m for m in tar if m.isfile()), key=lambda m: m.name):
            file = tar.extractfile(member)
            assert file is not None
            if member.name.endswith(".tar"):
                pending.append(tarfile.open(fileobj=io.BytesIO(file.read())))
            else:
                yield file.read()


def run(python: str, name: str, folder: str) -> float:
    """Runs a contender in a process of its own; returns its images per second."""
    environment = os.environ | {"OMP_NUM_THREADS": str(CORES), "JAX_PLATFORMS": "cpu"}
    command = [python, __file__, f"--contender={name}", f"--folder={folder}"]
    done = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, check=True)
    return float(done.stdout.split()[-1])


def ours(folder: str) -> float:
    """Images per second of `predict`, by the clock, after the first batch."""
    import jax

    import zoo
    from train.memory import keep_freed_memory
    from train.use import predictions
    from zoo.weights.pretrained import PretrainedModel

    keep_freed_memory()
    model, info = zoo.create(MODEL), zoo.info(MODEL)
    preprocessing = zoo.preprocess(info)
    images = jax.numpy.zeros((1, info.image_size, info.image_size, 3))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    trained = PretrainedModel(model, variables, info, preprocessing)
    files = predictions.find_images([folder])
    started = 0.0
    for number, _ in enumerate(predictions.predict(trained, files, top=TOP, threads=CORES), 1):
        if number == BATCH:
            started = time.perf_counter()
    return (len(files) - BATCH) / (time.perf_counter() - started)


def timm(folder: str) -> float:
    """Images per second of the loop of timm's inference.py, after the first batch."""
    import timm
    import torch
    from timm.data import create_dataset, create_loader, resolve_data_config

    torch.set_num_threads(CORES)
    device = torch.device("cpu")
    model = timm.create_model(MODEL).eval()
    config = resolve_data_config({}, model=model)
    config |= {"interpolation": "bilinear", "crop_pct": 0.875}  # those of ours
    loader = create_loader(
        create_dataset("", folder),
        batch_size=BATCH,
        use_prefetcher=True,
        num_workers=2,
        device=device,
        **config,
    )
    started, count, indices = 0.0, 0, []
    with torch.inference_mode():
        for number, (images, _) in enumerate(loader):
            values, classes = model(images).softmax(-1).topk(TOP)
            indices.append((values.numpy(), classes.numpy()))
            if number == 0:
                started = time.perf_counter()
            else:
                count += len(images)
    return count / (time.perf_counter() - started)


CONTENDERS = {"flax-zoo": ours, "timm": timm}

if __name__ == "__main__":
    main()
