import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import input_pipeline
from input_pipeline import transforms

pytestmark = pytest.mark.quick


def test_classes_and_files_are_in_sorted_order(image_folder):
    source = input_pipeline.open(f"folder:{image_folder}", "train")
    assert source.class_names == ("cat", "cup") and len(source) == 9
    names = [Path(source[i].name).name for i in range(9)]
    assert names == [f"{i}.jpg" for i in (0, 2, 4, 6, 8, 1, 3, 5, 7)]
    assert [source[i].label for i in range(9)] == [0] * 5 + [1] * 4
    assert source[0].image == (image_folder / "train" / "cat" / "0.jpg").read_bytes()


def test_a_file_that_has_gone_is_named(tmp_path):
    path = tmp_path / "train" / "cat" / "0.PNG"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    source = input_pipeline.open(f"folder:{tmp_path}", "train")
    path.unlink()
    with pytest.raises(input_pipeline.UnreadableImage, match="0.PNG cannot be read"):
        source[0]


def test_what_is_missing_is_explained(image_folder, tmp_path):
    with pytest.raises(input_pipeline.DataError, match="splits found here: train"):
        input_pipeline.open(f"folder:{image_folder}", "test")
    with pytest.raises(input_pipeline.DataError, match="splits found here: none"):
        input_pipeline.open(f"folder:{tmp_path / 'nowhere'}", "test")
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(input_pipeline.DataError, match="no image in"):
        input_pipeline.open(f"folder:{tmp_path}", "train")


@pytest.fixture
def make(tmp_path):
    """make(files) -> root, with an image or, for names that end in /, a folder at each path."""

    def made(*paths: str) -> Path:
        for name in paths:
            path = tmp_path / "train" / name
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                Image.new("RGB", (8, 8)).save(path)
        return tmp_path

    return made


def names(source) -> list[str]:
    return ["/".join(Path(path).parts[-2:]) for path, _ in source.examples.files]


TOOLS = [".ipynb_checkpoints", "__MACOSX", "@eaDir", ".git", "$RECYCLE.BIN", "lost+found"]


@pytest.mark.parametrize("tool", TOOLS)
def test_folders_of_tools_are_neither_classes_nor_looked_into(make, tool, capsys):
    root = make("cat/1.jpg", "dog/1.jpg", f"{tool}/x.jpg", f"cat/{tool}/2.jpg")
    source = input_pipeline.open(f"folder:{root}", "train")
    assert source.class_names == ("cat", "dog") and names(source) == ["cat/1.jpg", "dog/1.jpg"]
    input_pipeline.open(f"folder:{root}", "train")
    assert capsys.readouterr().out.count("hidden files and folders of tools (2)") == 1


def test_hidden_splits_are_none(make):
    (make("cat/1.jpg") / ".cache").mkdir()
    with pytest.raises(input_pipeline.DataError, match="splits found here: train"):
        input_pipeline.open(f"folder:{make()}", "test")


def test_images_are_found_at_any_depth_in_the_order_of_torchvision(make):
    root = make("cat/b/2.jpg", "cat/9.jpg", "cat/a/1/3.jpg", "dog/x/y/z/4.jpg")
    (root / "train" / "dog" / "x" / "up").symlink_to("..")  # a circle
    source = input_pipeline.open(f"folder:{root}", "train")
    assert names(source) == ["cat/9.jpg", "1/3.jpg", "b/2.jpg", "z/4.jpg"]
    assert [source[i].label for i in range(4)] == [0, 0, 0, 1]


def test_many_formats_are_read_and_others_are_counted(make, capsys):
    formats = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "JPG")
    root = make(*(f"cat/{i}.{ending}" for i, ending in enumerate(formats)), "eel/")
    for name in ("a.heic", "b.heic", "c.txt", "._0.jpg", "README"):
        (root / "train" / "cat" / name).write_bytes(b"x")
    (root / "train" / "loose.jpg").write_bytes(b"x")
    os.mkfifo(root / "train" / "cat" / "fifo.jpg")
    (root / "train" / "cat" / "device.jpg").symlink_to("/dev/zero")
    (root / "train" / "cat" / "nowhere.jpg").symlink_to("nowhere")
    (root / "train" / "cat" / "itself.jpg").symlink_to("itself.jpg")
    source = input_pipeline.open(f"folder:{root}", "train")
    assert len(source) == len(formats)
    assert all(transforms.Resize(4)(source[i]).shape == (4, 4, 3) for i in range(len(source)))
    said = capsys.readouterr().out
    for text in (
        *(".heic files (2)", ".txt files (1)", "files without an ending (1)"),
        *("hidden files and folders of tools (1)", "files outside of classes (1)"),
        *("FIFOs, devices and broken links (4)", "no image in 1 classes (eel)"),
    ):
        assert text in said


def test_what_became_a_fifo_is_not_waited_for(make):
    root = make("cat/1.jpg")
    source = input_pipeline.open(f"folder:{root}", "train")
    path = root / "train" / "cat" / "1.jpg"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(input_pipeline.UnreadableImage, match="1.jpg is not a regular file"):
        source[0]
    path.unlink()
    path.touch()
    os.truncate(path, 2**40)  # a hole that takes no space on the disk
    with pytest.raises(input_pipeline.UnreadableImage, match="bytes, and .* is the limit"):
        source[0]


@pytest.mark.parametrize(
    "part, expected",
    [
        ("train[:90%]", (18, 9, 3)),
        ("train[90%:]", (2, 1, 0)),
        ("train[:50%]", (10, 5, 2)),  # half of 3 to an even number, as tfds rounds
        ("train[-2:]", (2, 2, 2)),
        ("train[:12.5%]", (2, 1, 0)),
        ("train[5:7]", (2, 2, 0)),
    ],
)
def test_parts_are_taken_of_each_class(make, part, expected):
    files = [f"{c}/{i:02}.jpg" for c, n in (("a", 20), ("b", 10), ("c", 3)) for i in range(n)]
    source = input_pipeline.open(f"folder:{make(*files)}", part)
    labels = [label for _, label in source.examples.files]
    assert tuple(labels.count(c) for c in range(3)) == expected
    assert source.class_names == ("a", "b", "c") and source.split == part


def test_the_advice_for_a_folder_without_validation_works(make):
    root = make(*(f"{c}/{i}.jpg" for c in "ab" for i in range(10)))
    with pytest.raises(input_pipeline.DataError, match=r"train\[90%:\].*train\[:90%\]"):
        input_pipeline.eval_split(f"folder:{root}")
    parts = [input_pipeline.open(f"folder:{root}", p) for p in ("train[:90%]", "train[90%:]")]
    whole = input_pipeline.open(f"folder:{root}", "train")
    assert sorted(parts[0].examples.files + parts[1].examples.files) == list(whole.examples.files)
    for wrong in ("train[::2]", "train[a:]", "train]", "train[:1%%]"):
        with pytest.raises(input_pipeline.DataError, match="is not understood"):
            input_pipeline.open(f"folder:{root}", wrong)


def test_classes_in_natural_order_are_a_choice(make):
    root = make(*(f"{c}/1.jpg" for c in ("10", "9", "1", "class2", "class10")))
    assert input_pipeline.open(f"folder:{root}", "train").class_names == (
        *("1", "10", "9"),
        *("class10", "class2"),
    )
    natural = input_pipeline.open(f"folder:{root}", "train", class_order="natural")
    assert natural.class_names == ("1", "9", "10", "class2", "class10")
    assert [Path(natural[i].name).parent.name for i in range(5)] == list(natural.class_names)
    with pytest.raises(input_pipeline.DataError, match="'sorted' as strings or in 'natural'"):
        input_pipeline.open(f"folder:{root}", "train", class_order="random")


@pytest.fixture
def without_splits(tmp_path):
    for name, count in {"cat": 10, "dog": 5, "one": 1}.items():
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.new("RGB", (8, 8)).save(tmp_path / name / f"{i}.png")
    return tmp_path


def held_out(root, **settings) -> tuple[list[str], list[str]]:
    splits = ("train", input_pipeline.eval_split(f"folder:{root}"))
    sources = [input_pipeline.open(f"folder:{root}", split, **settings) for split in splits]
    assert sources[0].class_names == sources[1].class_names == ("cat", "dog", "one")
    return names(sources[0]), names(sources[1])


def test_a_folder_of_classes_is_split_by_class_and_seed(without_splits, capsys):
    train, evaluation = held_out(without_splits)
    assert not set(train) & set(evaluation) and len(train + evaluation) == 16
    classes = [name.split("/")[0] for name in evaluation]
    assert classes == ["cat", "cat", "dog"]  # a class of one image is trained on
    assert "20% of each class are held out for evaluation (seed 0), 3 images; 13" in (
        capsys.readouterr().out
    )
    assert (train, evaluation) == held_out(without_splits)
    assert evaluation != held_out(without_splits, split_seed=1)[1]
    assert len(held_out(without_splits, held_out=0.5)[1]) == 5 + 2
    Image.new("RGB", (8, 8)).save(without_splits / "cat" / "new.png")
    more = held_out(without_splits)[1]
    assert len(set(more) ^ set(evaluation)) <= 2  # those at the border


def test_a_part_of_a_folder_of_classes(without_splits):
    part = input_pipeline.open(f"folder:{without_splits}", "train[:2]")
    assert [name.split("/")[0] for name in names(part)] == ["cat", "cat", "dog", "dog", "one"]
    assert len(input_pipeline.open(f"folder:{without_splits}", "all")) == 16
    with pytest.raises(input_pipeline.DataError, match="splits found here: all, held_out, train"):
        input_pipeline.open(f"folder:{without_splits}", "validation")


def test_classes_of_one_image_are_not_split(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "one.png")
    assert len(input_pipeline.open(f"folder:{tmp_path}", "train")) == 2
    with pytest.raises(input_pipeline.DataError, match="too few .* The split all has all of them"):
        input_pipeline.open(f"folder:{tmp_path}", "held_out")


def test_photographs_are_turned_if_asked(tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 255  # the left half is white
    for orientation in range(1, 9):
        picture, exif = Image.fromarray(pixels), Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / "train" / "cat" / f"{orientation}.jpg"
        picture.save(path, exif=exif.tobytes(), quality=95)
    asis, turned = (
        input_pipeline.open(f"folder:{tmp_path}", "train", exif_orientation=turn)
        for turn in (False, True)
    )
    for i in range(8):
        found = transforms.Resize(16)(turned[i])
        expected = ImageOps.exif_transpose(Image.open(turned[i].name)).convert("RGB")
        expected = np.asarray(expected.resize((16, 16), Image.Resampling.BILINEAR))
        assert np.abs(found.astype(int) - expected).max() <= 1
        assert (transforms.Resize(16)(asis[i]) == transforms.Resize(16)(asis[0])).all()
