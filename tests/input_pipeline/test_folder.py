from pathlib import Path

import pytest

import input_pipeline

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
