"""Images per second and core through decoding, RandomResizedCrop(224) and flip.

    python benchmarks/loader.py --torch_python=VENV/bin/python --tf_python=VENV/bin/python

Ours, by threads and by worker processes, beside torchvision's DataLoader (PIL: RandomResizedCrop,
flip, PILToTensor) and tf.data (sample_distorted_bounding_box, decode_and_crop_jpeg, resize, flip),
on the same JPEGs of about 500x375 pixels and 110 KB, made from scikit-image's photographs. Each
contender runs in a process of its own, with the Python given for it (torch and torchvision;
tensorflow-cpu), bound to as many cores as it has workers; the contenders alternate. tf.data's
default resize does not antialias; the row "antialias" does the work that the other contenders do.
The table gives the medians over the rounds of
- images/s: images per second by the clock;
- per core: images per second of CPU time of all its processes, which other programs on the machine
  disturb less.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SIZE, BATCH = 224, 64
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "immunohistochemistry")


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--torch_python", help="a Python with torch and torchvision")
    parser.add_argument("--tf_python", help="a Python with tensorflow")
    parser.add_argument("--only", default="", help="contenders whose names begin so")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="timed, for each run")
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[: arguments.workers])
        batches = CONTENDERS[arguments.contender](arguments.folder, arguments.workers)
        print(*measure(batches, arguments.seconds))
    else:
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Runs all contenders and prints the table."""
    pythons = {
        "ours": sys.executable,
        "ours, processes": sys.executable,
        "torchvision": arguments.torch_python,
        "tf.data": arguments.tf_python,
        "tf.data antialias": arguments.tf_python,
    }
    results = {
        (name, w): []
        for w in (1, 2)
        for name, python in pythons.items()
        if python and name.startswith(arguments.only)
    }
    with tempfile.TemporaryDirectory() as folder:
        size = write_images(Path(folder), arguments.images)
        print(f"{arguments.images} JPEGs of 500x375, {size / 1e3:.0f} KB on average")
        for _ in range(arguments.rounds):
            for (name, workers), figures in results.items():
                command = [pythons[name], __file__, "--contender", name, "--folder", folder]
                command += ["--workers", str(workers), "--seconds", str(arguments.seconds)]
                run = subprocess.run(command, capture_output=True, text=True)
                if run.returncode:
                    sys.exit(f"{name} failed:\n{run.stderr}")
                figures.append([float(x) for x in run.stdout.split()[-2:]])
    print(f"{'':20} {'workers':>7} {'images/s':>9} {'per core':>9} {'ours is':>8}")
    for (name, workers), figures in results.items():
        clock, core = (statistics.median(x) for x in zip(*figures, strict=True))
        ours = statistics.median(x[1] for x in results.get(("ours", workers), figures))
        print(f"{name:20} {workers:7} {clock:9.0f} {core:9.0f} {ours / core:7.2f}x")


def write_images(folder: Path, count: int) -> float:
    """Writes folder/train/CLASS/*.jpg and returns their mean size in bytes."""
    import numpy as np
    from PIL import Image
    from skimage import data

    random = np.random.RandomState(0)
    photographs = [Image.fromarray(getattr(data, name)()) for name in PHOTOGRAPHS]
    sizes = []
    for index in range(count):
        image = photographs[index % len(photographs)]
        scale = max(500 / image.width, 375 / image.height) * random.uniform(1, 1.3)
        image = image.resize((round(image.width * scale), round(image.height * scale)))
        left, top = random.randint(image.width - 499), random.randint(image.height - 374)
        image = image.crop((left, top, left + 500, top + 375))
        content = _jpeg_of_size(image, 110_000)
        path = folder / "train" / f"class{index % 10}" / f"{index:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        sizes.append(len(content))
    return sum(sizes) / len(sizes)


def _jpeg_of_size(image, size: int) -> bytes:
    """Encodes an image in the quality whose size in bytes comes closest to `size`."""
    best = b""
    for quality in range(99, 70, -1):
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        content = stream.getvalue()
        if abs(len(content) - size) > abs(len(best) - size):
            break
        best = content
    return best


def ours(folder: str, workers: int, processes: bool = False) -> Iterator[int]:
    """Yields the sizes of batches from our loader, on threads or on worker processes."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import input_pipeline
    from input_pipeline import loader, transforms

    source = input_pipeline.open(f"folder:{folder}", "train")
    transform = transforms.RandomResizedCrop(SIZE)
    batches = loader.train_batches(
        source,
        transform,
        batch_size=BATCH,
        seed=0,
        start_step=0,
        num_steps=10**6,
        workers=workers if processes else 0,
    )
    for batch in batches:
        yield len(batch["image"])


def torchvision(folder: str, workers: int) -> Iterator[int]:
    """Yields the sizes of batches from torchvision's dataset and PyTorch's DataLoader."""
    import torch
    from torchvision import datasets, transforms

    chain = [
        transforms.RandomResizedCrop(SIZE),
        transforms.RandomHorizontalFlip(),
        transforms.PILToTensor(),
    ]
    dataset = datasets.ImageFolder(f"{folder}/train", transforms.Compose(chain))
    sampler = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=10**6)
    batches = torch.utils.data.DataLoader(dataset, BATCH, sampler=sampler, num_workers=workers)
    for images, _ in batches:
        yield len(images)


def tf_data(folder: str, workers: int, antialias: bool = False) -> Iterator[int]:
    """Yields the sizes of batches from tf.data."""
    import tensorflow as tf

    def example(path):
        content = tf.io.read_file(path)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(content),
            tf.zeros([1, 0, 4]),
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.concat([begin[:2], size[:2]], 0)
        image = tf.image.decode_and_crop_jpeg(content, window, channels=3)
        image = tf.image.resize(image, (SIZE, SIZE), antialias=antialias)
        return tf.cast(tf.image.random_flip_left_right(image), tf.uint8)

    files = sorted(str(path) for path in Path(folder).glob("train/*/*.jpg"))
    dataset = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files)).repeat()
    dataset = dataset.map(example, num_parallel_calls=workers).batch(BATCH).prefetch(2)
    options = tf.data.Options()
    options.threading.private_threadpool_size = workers
    options.threading.max_intra_op_parallelism = 1
    for images in dataset.with_options(options):
        yield len(images)


CONTENDERS = {
    "ours": ours,
    "ours, processes": lambda folder, workers: ours(folder, workers, processes=True),
    "torchvision": torchvision,
    "tf.data": tf_data,
    "tf.data antialias": lambda folder, workers: tf_data(folder, workers, antialias=True),
}


def measure(batches: Iterator[int], seconds: float) -> tuple[float, float]:
    """Returns images per second by the clock and by CPU time, once the workers have started."""
    for _ in range(8):
        next(batches)
    images, start, cpu = 0, time.perf_counter(), cpu_seconds()
    while time.perf_counter() < start + seconds:
        images += next(batches)
    return images / (time.perf_counter() - start), images / (cpu_seconds() - cpu)


def cpu_seconds() -> float:
    """Returns the CPU time of this process and of all its living descendants, in seconds."""
    fields = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = path.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended meanwhile
            continue
        fields[int(path.parent.name)] = after_name
    descendants, grown = {os.getpid()}, True
    while grown:
        children = {pid for pid, stat in fields.items() if int(stat[1]) in descendants}
        grown = bool(children - descendants)
        descendants |= children
    ticks = sum(int(x) for pid in descendants for x in fields[pid][11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
