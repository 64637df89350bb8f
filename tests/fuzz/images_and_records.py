"""Gives mutated files to a reader, in a process of its own with limits.

    python tests/fuzz/images_and_records.py READER FIRST LAST

Each seed in [FIRST, LAST) makes one input from a good file. Only DataError (UnreadableImage is one)
may come out, and what is read must be what Pillow reads, or what the good file held. A list of a
checkpoint's files is accepted only if it tells the truth. Prints how
often which outcome came, as JSON; stops at the first fault with its seed. A hang of over 10 s or
over 1 GB of memory ends the process: the last seed stands in the file that FUZZ_SEED names.
"""

import collections
import contextlib
import gzip
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from input_pipeline import decode, jpeg, png, transforms
from input_pipeline.example import DataError, Example, UnreadableImage

SECONDS, MEMORY = 10, 2**30
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz"))
EDGES = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """One to four changes: bits, numbers, bytes left out, doubled or put in, an end cut off."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        # Headers are where most decisions are made.
        at = rng.randrange(min(len(data), rng.choice((16, 64, 256, 10**9))) or 1)
        kind = rng.randrange(7)
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and data:
            data[at] = rng.choice((0, 1, 127, 128, 254, 255, rng.randrange(256)))
        elif kind == 2:
            code = rng.choice((">H", "<H", ">I", "<I", "<Q"))
            size = struct.calcsize(code)
            data[at : at + size] = struct.pack(code, rng.choice(EDGES) % 2 ** (8 * size))
        elif kind == 3:
            del data[at : at + rng.choice((1, 2, 4, 16, 100))]
        elif kind == 4:
            data[at:at] = data[at : at + rng.choice((1, 4, 16, 100))]
        elif kind == 5:
            data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 30)))
        else:
            del data[rng.randrange(len(data) + 1) :]
    return bytes(data)


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    planes = [(3 * x + 5 * y) % 256, (x * y) % 256, (x // 4 * 40 + y // 4 * 9) % 256]
    return np.stack(planes[:channels], -1).astype(np.uint8)


def stored(pixels: np.ndarray, kind: str, mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    grey = pixels.shape[2] == 1
    image = Image.fromarray(pixels[:, :, 0] if grey else pixels)
    image.convert("L" if grey else mode).save(stream, kind, **options)
    return stream.getvalue()


def by_pillow(content: bytes, mode: str) -> np.ndarray | None:
    """What Pillow reads, or None; of modes that it does not clip."""
    try:
        image = Image.open(io.BytesIO(content), formats=decode.FORMATS)
        image.load()
        if image.mode in ("I", "F", "LAB") or image.mode.startswith("I;"):
            return None
        return np.asarray(image.convert(mode))
    except Exception:
        return None


def read_png(content: bytes) -> None:
    for shape in ((28, 28, 1), (24, 20, 3)):
        with contextlib.suppress(UnreadableImage):
            pixels = decode.decode_to_shape(content, shape, "x")
            assert pixels.shape == shape and pixels.dtype == np.uint8
            expected = by_pillow(content, "L" if shape[2] == 1 else "RGB")
            if expected is None:
                assert png.decode(content, shape) is None, "read, and Pillow cannot"
            else:
                assert (pixels == expected.reshape(shape)).all(), "unlike Pillow's"
    read_image(content)


def read_image(content: bytes) -> None:
    pixels = decode.decode_rgb(content, "x")
    expected = by_pillow(content, "RGB")
    assert expected is None or (pixels == expected).all(), "unlike Pillow's"
    assert transforms.Resize(24)(Example(content, 0, "x")).shape == (24, 24, 3)


GOOD = stored(picture(40, 56), "JPEG", quality=90)
GOOD_PIXELS = np.asarray(Image.open(io.BytesIO(GOOD)).convert("RGB"))


def read_jpeg(content: bytes) -> None:
    decoder = jpeg.decoder()
    assert decoder is not None, "libjpeg-turbo is not installed"
    try:
        rng = np.random.default_rng(zlib.crc32(content))
        crop = transforms.RandomResizedCrop(24, (0.01, 0.5))
        assert crop(Example(content, 0, "x"), rng).shape == (24, 24, 3)
        size = decoder.size(content)
        if size is not None:
            part = decoder.decode_region(content, (0, 0, *size), 1)
            expected = by_pillow(content, "RGB")
            if part is not None and expected is not None:
                assert (part == expected).all(), "unlike Pillow's"
    finally:
        good = decoder.decode_region(GOOD, (0, 0, 56, 40), 1)
        assert good is not None and (good == GOOD_PIXELS).all(), "the next image is spoilt"


def records(count: int) -> list[bytes]:
    from input_pipeline.tfds_source import _Example

    made = []
    for index in range(count):
        example = _Example()
        feature = example.features.feature
        feature["image"].bytes_list.value.append(png.encode(picture(8, 8, 1)))
        feature["label"].int64_list.value.append(index)
        made.append(example.SerializeToString())
    return made


def framed(record: bytes) -> bytes:
    from input_pipeline.tfrecord import _masked_crc

    length = struct.pack("<Q", len(record))
    length += struct.pack("<I", _masked_crc(length))
    return length + record + struct.pack("<I", _masked_crc(record))


SHARD = FOLDER / "x-train.tfrecord-00000-of-00001"
INDEX = FOLDER / ".x-train.tfrecord_offsets.npz"


def open_shard():
    from input_pipeline import tfds_source, tfrecord

    what = SimpleNamespace(filename=str(SHARD), skip=0, take=6, examples_in_shard=6)
    with contextlib.redirect_stdout(io.StringIO()):
        found = tfrecord.open_records([what])
    return tfds_source.TfdsExamples(found, "x/train", "image", "label", None, (8, 8, 1))


def assert_whole(examples) -> None:
    """The six examples are those that were written; one by one, as some may be damaged."""
    failure = None
    for index in range(6):
        try:
            example = examples[index]
            assert example.label == index and (example.image == picture(8, 8, 1)).all(), "other"
        except UnreadableImage as error:
            failure = error
    if failure:
        raise failure


def read_tfrecord(content: bytes) -> None:
    """A shard that is damaged before or, if its length allows, after it was indexed."""
    INDEX.unlink(missing_ok=True)
    good = good_shard()
    if len(content) == len(good):
        SHARD.write_bytes(good)
        examples = open_shard()
        SHARD.write_bytes(content)
        with contextlib.suppress(UnreadableImage):
            assert_whole(examples)
    INDEX.unlink(missing_ok=True)
    SHARD.write_bytes(content)
    assert_whole(open_shard())


def read_index(content: bytes) -> None:
    SHARD.write_bytes(good_shard())
    os.utime(SHARD, ns=(10**18, 10**18))
    INDEX.write_bytes(content)
    assert_whole(open_shard())


def good_shard() -> bytes:
    return b"".join(map(framed, records(6)))


def good_index() -> bytes:
    SHARD.write_bytes(good_shard())
    os.utime(SHARD, ns=(10**18, 10**18))
    INDEX.unlink(missing_ok=True)
    open_shard()
    return INDEX.read_bytes()


def read_record(content: bytes) -> None:
    """A record whose check sum is right and whose message is not."""
    from input_pipeline import tfds_source

    class One(list):
        def __getitems__(self, indices):
            return [self[i] for i in indices]

    examples = tfds_source.TfdsExamples(One([content]), "x", "image", "label", None, (8, 8, 1))
    assert np.shape(examples[0].image) == (8, 8, 1)


def read_idx(content: bytes) -> None:
    from input_pipeline.prepare import builders

    path = FOLDER / "x-idx3-ubyte.gz"
    path.write_bytes(content if content[:2] == b"\x1f\x8b" else gzip.compress(content, 1))
    assert builders._read_idx(path, 3).ndim == 3


def arrays_file() -> bytes:
    stream = io.BytesIO()
    pixels = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
    labels = np.arange(6) % 3
    np.savez(stream, x_train=pixels, y_train=labels, class_names=np.array(["a", "b", "c"]))
    return stream.getvalue()


def mutated_arrays(content: bytes, rng: random.Random) -> bytes:
    """Half of them are mutated as they are; in the others an array is, in a zip that is right."""
    if rng.random() < 0.5:
        return mutated(content, rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            new.writestr(name, mutated(old.read(name), rng) if name == chosen else old.read(name))
    return stream.getvalue()


def read_arrays(content: bytes) -> None:
    from input_pipeline import arrays

    path = FOLDER / "data.npz"
    path.write_bytes(content)
    source = arrays.open_npz(path, "train")
    for index in range(len(source)):
        example = source[index]
        assert example.image.dtype == np.uint8 and example.image.ndim == 3


def read_tar(content: bytes) -> None:
    from input_pipeline.prepare import builders

    path = FOLDER / "ILSVRC2012_img_val.tar"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        builders._validation_labels(path)
    for _, file in builders._files(path, "x"):
        inner = list(builders._members(file, "inner"))
        assert all(isinstance(name, str) and isinstance(body, bytes) for name, body in inner)


def tar_of(files: dict[str, bytes], **options) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(mode="w", fileobj=stream, **options) as tar:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return stream.getvalue()


def good_tars() -> list[bytes]:
    inner = tar_of({"a.JPEG": b"a" * 700, "b.JPEG": b"b"})
    long = tar_of({"x" * 150: b"c" * 10}, format=tarfile.GNU_FORMAT)
    pax = tar_of({"ä" * 150: b"d"}, format=tarfile.PAX_FORMAT)
    return [tar_of({"n1.tar": inner, "n2.tar": long, "n3.tar": pax})]


def idx() -> bytes:
    return struct.pack(">4i", 0x803, 3, 5, 7) + bytes(range(105))


CHECKPOINT = {"d/array": b"weights" * 9, "d/.hidden": b"", "metadata": b"{}", "ocdbt": b"\0\1\2"}
LEAVES = {"params/conv1/kernel": "float32[5, 5, 1, 6]", "step": "int32[]"}


def checkpoint_list() -> bytes:
    """The list of a checkpoint in FOLDER, whose files it writes."""
    from train import checkpoint

    folder = FOLDER / "100"
    for name, content in CHECKPOINT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    files = {name: checkpoint._size_and_digest(folder / name) for name in CHECKPOINT}
    return json.dumps({"leaves": LEAVES, "files": files}, indent=1).encode()


VALUES = ("-1", "0", "1e999", "-Infinity", "NaN", "null", "true", '""', "[]", "{}", "[[1], 2]")
NAMES = (
    "../../x",
    "/etc/passwd",
    "",
    ".",
    "\\u0000",
    "\\ud800",
    "d",
    "d/array",
    "é" * 300,
    "files",
)


def mutated_list(content: bytes, rng: random.Random) -> bytes:
    """Half of them are mutated as bytes; in the others values, names or entries are replaced."""
    if rng.random() < 0.5:
        return mutated(content, rng)
    text = content.decode()
    for _ in range(rng.choice((1, 1, 2, 3))):
        what = rng.choice((r'"[^"]*"', r"(?<=\[)\s*-?\d+", r"\[[^]]*\]", r"\{[^{}]*\}"))
        tokens = list(re.finditer(what, text))
        if not tokens:
            continue
        token, kind = rng.choice(tokens), rng.randrange(5)
        start, end = token.span()
        if kind == 0:
            new = rng.choice(VALUES)
        elif kind == 1:
            new = f'"{rng.choice(NAMES)}"'
        elif kind == 2:
            new = rng.choice(("", "-")) + str(rng.choice(EDGES)) + rng.choice(("", "0" * 5000))
        elif kind == 3:
            depth = rng.choice((1, 3, 2000, 10**5))
            new = "[" * depth + token[0] + "]" * depth
        else:
            new = rng.choice(tokens)[0]
        text = text[:start] + new + text[end:]
    return text.encode(errors="surrogatepass")


def read_checkpoint_list(content: bytes) -> None:
    from train import checkpoint

    folder = FOLDER / "100"
    (folder / checkpoint.MANIFEST).write_bytes(content)
    if problem := checkpoint._verify(folder):
        raise DataError(problem)
    manifest = json.loads(content)
    assert isinstance(manifest["leaves"], dict)
    for name in CHECKPOINT.keys() - {"d/.hidden"}:
        assert manifest["files"][name] == checkpoint._size_and_digest(folder / name), "believed"


JPEG_OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"subsampling": 0},
    {"progressive": True},
    {"restart_marker_blocks": 2},
)

# Reader: (it, the good files that are mutated).
READERS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "png": (
        read_png,
        lambda: [
            png.encode(picture(28, 28, 1)),
            png.encode(picture(24, 20)),
            stored(picture(24, 20), "PNG"),
            stored(picture(24, 20), "PNG", "P"),
        ],
    ),
    "jpeg": (
        read_jpeg,
        lambda: (
            [stored(picture(48, 64), "JPEG", quality=80, **options) for options in JPEG_OPTIONS]
            + [stored(picture(33, 47, 1), "JPEG"), stored(picture(33, 47), "JPEG", "CMYK")]
        ),
    ),
    "other images": (
        read_image,
        lambda: [
            stored(picture(24, 20), "GIF", "P"),
            stored(picture(24, 20), "BMP"),
            stored(picture(24, 20), "WEBP"),
            stored(picture(24, 20), "WEBP", lossless=True),
            stored(picture(24, 20), "TIFF"),
            stored(picture(24, 20), "TIFF", compression="tiff_lzw"),
            stored(picture(24, 20), "TIFF", compression="jpeg"),
            stored(picture(24, 20), "PPM"),
        ],
    ),
    "tfrecord": (read_tfrecord, lambda: [good_shard()]),
    "index": (read_index, lambda: [good_index()]),
    "record": (read_record, lambda: records(3)),
    "idx": (read_idx, lambda: [idx(), gzip.compress(idx(), mtime=0)]),
    "tar": (read_tar, good_tars),
    "checkpoint list": (read_checkpoint_list, lambda: [checkpoint_list()]),
    "arrays": (read_arrays, lambda: [arrays_file()]),
}
MUTATE = {"checkpoint list": mutated_list, "arrays": mutated_arrays}  # the others: `mutated`


def main(name: str, first: int, last: int) -> None:
    warnings.simplefilter("ignore")
    read, good_files = READERS[name]
    good = good_files()
    outcomes = collections.Counter()
    if not first:
        for content in good:
            read(content)  # what is not mutated is read
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process
    note = open(os.environ["FUZZ_SEED"], "w") if "FUZZ_SEED" in os.environ else io.StringIO()
    for seed in range(first, last):
        rng = random.Random(f"{name} {seed}")
        content = MUTATE.get(name, mutated)(rng.choice(good), rng)
        note.seek(0)
        print(name, seed, file=note, flush=True)
        signal.alarm(SECONDS)
        try:
            read(content)
            outcomes["read"] += 1
        except DataError as error:
            if isinstance(error.__cause__, MemoryError):
                sys.exit(f"{name}, seed {seed}: took over {MEMORY} bytes")
            outcomes[type(error).__name__] += 1
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
            sys.exit(f"{name}, seed {seed}: {text}")
        signal.alarm(0)
    print(json.dumps(outcomes))


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    finally:
        shutil.rmtree(FOLDER)
