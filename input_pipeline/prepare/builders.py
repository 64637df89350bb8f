"""tfds builders that prepare well-known data sets without TensorFlow.

Each inherits from the builder of tfds (name, version, features, splits and order), but reads the
examples with the standard library and stores PNG or JPEG bytes that TensorFlow has not encoded. The
plain `tfds.data_source(name)` reads the result.
"""

import contextlib
import gzip
import hashlib
import io
import math
import socket
import tarfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import registered
from tensorflow_datasets.datasets.imagenet2012 import imagenet2012_dataset_builder as imagenet

from input_pipeline import decode, png
from input_pipeline.example import DataError
from input_pipeline.files import MAX_BYTES, open_regular, read_regular

EMBEDDED = {"mnist": Path(__file__).parents[1] / "data" / "mnist"}
VALIDATION_LABELS = "val_labels.txt"

_MAX_LABELS = 2**24  # bytes of a list of labels; ImageNet's has 0.5 million
_MAX_NAME = 2**16  # bytes of a member's long name or other headers, which tarfile reads whole


def builder(name: str, data_dir: Path, manual_dir: Path) -> tfds.core.DatasetBuilder:
    """Returns our builder of a data set if there is one, else that of tfds.

    Args:
      name: NAME, NAME/CONFIG or NAME:VERSION.
      data_dir: folder of tfds's data sets.
      manual_dir: folder in which our builders look for the original files first.
    """
    base, _, version = name.partition(":")
    stock = tfds.builder_cls(base) if base in _EXAMPLES else None
    if stock is None or version not in ("", str(stock.VERSION)):
        return tfds.builder(name, data_dir=data_dir)
    with registered.skip_registration():
        # Files next to the stock builder's module (citation, checksums) are found by its package.
        attributes = {
            "name": base,
            "pkg_dir_path": stock.pkg_dir_path,
            "__module__": __name__,
            "url_infos": stock.url_infos,
            "originals_dir": manual_dir,
            # tfds would say "Downloading", and that it does not know the size.
            "_log_download_bytes": _say_where,
            "_log_download_done": lambda self: None,
        }
        cls = type(stock.__name__, (_EXAMPLES[base], stock), attributes)
    return cls(data_dir=data_dir)


def _say_where(self: Any) -> None:
    print(f"Preparing {self.name} in {self.data_dir}.", flush=True)


class _IdxExamples:
    """MNIST and its successors: four gzipped IDX files."""

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        files = _originals(self, dl_manager)
        return {
            split: self._generate_examples(
                _read_idx(files[f"{prefix}-images-idx3-ubyte.gz"], 3),
                _read_idx(files[f"{prefix}-labels-idx1-ubyte.gz"], 1),
            )
            for split, prefix in {"train": "train", "test": "t10k"}.items()
        }

    def _generate_examples(self, images: np.ndarray, labels: np.ndarray) -> Iterator:
        pairs = zip(images.reshape(-1, 28, 28, 1), labels, strict=True)
        for index, (pixels, label) in enumerate(pairs):
            yield index, {"image": png.encode(pixels), "label": int(label)}


class _CifarExamples:
    """CIFAR-10 and -100: a tar of binary records (labels, then 3x32x32 pixels)."""

    _cifar_info: Any  # these two are of the stock builder
    info: Any

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        files_of = self._cifar_info
        (archive,) = _originals(self, dl_manager).values()
        with gzip.open(archive) as tar:
            members = _members(cast(BinaryIO, tar), str(archive))
            files = {Path(name).name: content for name, content in members}
        for key, file in zip(files_of.label_keys, files_of.label_files, strict=True):
            self.info.features[key].names = [x for x in files[file].decode().split("\n") if x]
        return {
            split: self._generate_examples(f"{split}_", b"".join(files[name] for name in names))
            for split, names in {"train": files_of.train_files, "test": files_of.test_files}.items()
        }

    def _generate_examples(self, prefix: str, content: bytes) -> Iterator:
        keys = self._cifar_info.label_keys
        records = np.frombuffer(content, np.uint8).reshape(-1, len(keys) + 3 * 32 * 32)
        for index, record in enumerate(records):
            pixels = record[len(keys) :].reshape(3, 32, 32).transpose(1, 2, 0)
            labels = {key: int(label) for key, label in zip(keys, record, strict=False)}
            yield index, {"id": f"{prefix}{index:05d}", "image": png.encode(pixels), **labels}


class _ImagenetExamples:
    """ImageNet 2012 from the two original tars (the test tar too where it is given)."""

    originals_dir: Path
    info: Any  # of the stock builder

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        folder = self.originals_dir
        tars = {
            split: folder / f"ILSVRC2012_img_{short}.tar"
            for split, short in {"train": "train", "validation": "val", "test": "test"}.items()
        }
        missing = [
            str(tars[split]) for split in ("train", "validation") if not tars[split].exists()
        ]
        if missing:
            raise DataError(
                f"imagenet2012 cannot be prepared: {' and '.join(missing)} not found. Download the "
                "two tars from https://image-net.org/download-images (which needs a registration) "
                "and name their folder as manual_dir."
            )
        generators = {
            "train": self._generate_examples(tars["train"]),
            "validation": self._flat_examples(
                tars["validation"], _validation_labels(tars["validation"])
            ),
        }
        if tars["test"].exists():
            generators["test"] = self._flat_examples(tars["test"], None)
        return generators

    def _generate_examples(self, path: Path) -> Iterator:
        """Yields the examples of the training tar, in which each class is a tar of its own."""
        classes = self.info.features["label"].names
        for class_tar, file in _files(path, str(path)):
            label = Path(class_tar).stem
            if label not in classes:
                raise DataError(
                    f"{path} holds {class_tar}, which is not the tar of a class of ImageNet, such "
                    f"as {classes[0]}.tar. Take the original tar."
                )
            for name, image in _members(file, f"{class_tar} in {path}"):
                if name in imagenet.CMYK_IMAGES or name in imagenet.PNG_IMAGES:
                    image = _rgb_jpeg(image, name)
                yield name, {"file_name": name, "image": image, "label": label}

    def _flat_examples(self, path: Path, labels: dict[str, str] | None) -> Iterator:
        for name, image in _members(path, str(path)):
            label = -1 if labels is None else labels[name]
            yield name, {"file_name": name, "image": image, "label": label}


_EXAMPLES = {
    "mnist": _IdxExamples,
    "fashion_mnist": _IdxExamples,
    "kmnist": _IdxExamples,
    "cifar10": _CifarExamples,
    "cifar100": _CifarExamples,
    "imagenet2012": _ImagenetExamples,
}


def _originals(self: Any, dl_manager: tfds.download.DownloadManager) -> dict[str, Path]:
    """The verified original files as {file name: path}.

    They are taken from the manual_dir if all are there, else downloaded by tfds.
    """
    infos = {Path(url).name: (url, info) for url, info in self.url_infos.items()}
    paths = {file: self.originals_dir / file for file in infos}
    missing = [file for file, path in paths.items() if not path.exists()]
    if missing:
        require_network(self)
        print(f"{', '.join(missing)} not found in {self.originals_dir}: downloading.")
        paths = {file: Path(dl_manager.download(url)) for file, (url, _) in infos.items()}
    for file, path in paths.items():
        _verify(path, infos[file][1].checksum, self.name)
    return paths


def _verify(path: Path, sha256: str, name: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise DataError(
            f"{path} is not the original file of {name}: its sha256 is {found}, expected {sha256}. "
            "It may be cut short, or belong to another data set with the same file names (those of "
            "mnist, fashion_mnist and kmnist are the same). Download it again."
        )


def require_network(builder: tfds.core.DatasetBuilder) -> None:
    """Raises DataError if the files cannot be downloaded; tfds would retry for minutes."""
    if urllib.request.getproxies() or not builder.url_infos:
        return
    url = next(iter(builder.url_infos))
    try:
        socket.getaddrinfo(urllib.parse.urlparse(url).hostname, None)
    except OSError as error:
        raise DataError(
            f"{builder.name} is not prepared and cannot be downloaded: no network reaches {url} "
            f"({error}). Get the files {', '.join(builder.url_infos)} by other means, put them "
            f"into a folder and run: python -m input_pipeline.prepare {builder.name} "
            "--manual_dir=FOLDER"
        ) from error


def _read_idx(path: Path, axes: int) -> np.ndarray:
    """Reads a gzipped IDX file of bytes: uint8 of as many axes.

    A reader of its own because no library that is here otherwise has one. The format is that of
    http://yann.lecun.com/exdb/mnist: a magic number, the sizes as big-endian int32, the bytes.

    Raises:
      DataError: the file is damaged, cut short, or another than it should be.
    """
    try:
        with open_regular(path) as packed, gzip.open(packed) as file:
            header = file.read(4 + 4 * axes)
            magic, *shape = np.frombuffer(header, ">i4").tolist() or [0]
            if magic != 0x800 + axes or len(shape) != axes or min(shape) < 0:
                raise ValueError(f"its header {header.hex()} is not that of {axes} axes of bytes")
            size = math.prod(shape)
            if size > MAX_BYTES:
                raise ValueError(f"it says {size:,} bytes, and {MAX_BYTES:,} is the limit")
            content = file.read(size + 1)  # more would be another file's, or a bomb
            if len(content) != size:
                raise ValueError(f"its header says {size:,} bytes, and there are fewer or more")
    except Exception as error:  # gzip, zlib and numpy have each their own
        raise DataError(
            f"{path} cannot be read as an IDX file: {error}. Download it again."
        ) from error
    return np.frombuffer(content, np.uint8).reshape(shape)


class _Header(tarfile.TarInfo):
    """The header of a member of a tar, as a strict reader takes it.

    tarfile takes a damaged header for the end of the archive, and fills holes of sparse members
    with as many zeros as the header says.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf and not any(buf):  # the block of zeros at the end
                raise
            raise tarfile.ReadError(f"damaged or cut short: {error}") from error
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(f"{header.name} is a sparse file, which no original holds")
        if header.size < 0 or (header.size > _MAX_NAME and not header.isfile()):
            raise tarfile.ReadError(f"{header.name} is no file and has {header.size:,} bytes")
        return header


def _files(tar: Path | BinaryIO, title: str) -> Iterator[tuple[str, BinaryIO]]:
    """Yields (name, file to be read before the next) of the files of a tar, in its order.

    Raises:
      DataError: it is no tar, damaged, cut short or holds a sparse file.
    """
    with _raising_data_error(title), contextlib.ExitStack() as stack:
        if isinstance(tar, Path):
            tar = stack.enter_context(open_regular(tar, io.DEFAULT_BUFFER_SIZE))
        archive = stack.enter_context(tarfile.open(mode="r:", fileobj=tar, tarinfo=_Header))
        for member in archive:
            if member.sparse is not None:
                raise tarfile.ReadError(f"{member.name} is a sparse file")
            if member.isreg():
                file: Any = archive.extractfile(member)
                yield member.name, file
        if any(tar.read(tarfile.BLOCKSIZE)):  # two blocks of zeros end a tar
            raise tarfile.ReadError("zeros in the middle")


@contextlib.contextmanager
def _raising_data_error(title: str) -> Iterator[None]:
    """Turns whatever tarfile raises into a DataError that names the tar."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # beside its own types, those of zlib, of decoding and of numbers
        raise DataError(
            f"{title} is cut short or is not a tar ({str(error) or type(error).__name__}). "
            "Download it again."
        ) from error


def _members(tar: Path | BinaryIO, title: str) -> Iterator[tuple[str, bytes]]:
    """Yields (name, content) of the files of a tar, none larger than `MAX_BYTES`.

    Raises:
      DataError: see `_files`; or a file is larger.
    """
    for name, file in _files(tar, title):
        size = file.seek(0, io.SEEK_END)
        if size > MAX_BYTES:
            raise DataError(
                f"{name} in {title} has {size:,} bytes, and {MAX_BYTES:,} is the limit: it is not "
                "the original. Download it again."
            )
        file.seek(0)
        with _raising_data_error(title):
            content = file.read()
        yield name, content


def _validation_labels(tar: Path) -> dict[str, str]:
    """{image name: class name}: line i of the list belongs to the i-th name in sorted order.

    Raises:
      DataError: the tar or the list cannot be read, or they do not belong together.
    """
    own = tar.with_name(VALIDATION_LABELS)
    tfds_list = Path(imagenet.imagenet_common.label_names_file()).with_name("validation_labels.txt")
    path = own if own.exists() else tfds_list
    try:
        labels = read_regular(path, _MAX_LABELS).decode().split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The list of labels {path} cannot be read: {error}. It holds one class name per line, "
            "as UTF-8."
        ) from error
    names = sorted(name for name, _ in _files(tar, str(tar)))
    if len(names) != len(labels):
        raise DataError(
            f"{tar} holds {len(names)} images, and the label list {path} has {len(labels)} lines. "
            f"If the tar is a part of the original, put its own list next to it as "
            f"{VALIDATION_LABELS}: one class name per line, in the order of the sorted image "
            "names. Otherwise download the tar again."
        )
    return dict(zip(names, labels, strict=True))


def _rgb_jpeg(content: bytes, name: str) -> bytes:
    """The image as an RGB JPEG, which is how tfds stores the CMYK and PNG images of the split."""
    pixels = decode.decode_rgb(content, name)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()
