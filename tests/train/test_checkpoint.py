import json
import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.checkpoint import Checkpoints
from train.errors import TrainError
from train.sharding import make_mesh, state_shardings

pytestmark = pytest.mark.quick

STATE = {
    "params": {"kernel": np.random.RandomState(0).normal(size=(64, 32)).astype(np.float32)},
    "step": np.int32(0),
}


def on_mesh(state, fsdp=1):
    mesh = make_mesh(0, fsdp)
    return jax.tree.map(jax.device_put, state, state_shardings(state, mesh))


def shapes(state):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


def states(count):
    return [
        on_mesh({"params": {"kernel": STATE["params"]["kernel"] + i}, "step": np.int32(i)})
        for i in range(count)
    ]


def written(folder, count=3):
    """Checkpoints of steps 0 to count - 1."""
    checkpoints = Checkpoints(folder, keep=2)
    for step, state in enumerate(states(count)):
        checkpoints.save(step, state)
    checkpoints.close()


def restored(folder, like=None):
    checkpoints = Checkpoints(folder, keep=2)
    try:
        return checkpoints.restore(shapes(states(1)[0] if like is None else like))
    finally:
        checkpoints.close()


def assert_equal(state, expected):
    jax.tree.map(np.testing.assert_array_equal, state, expected)


def test_the_newest_is_restored_and_two_are_kept(tmp_path):
    written(tmp_path)
    assert_equal(restored(tmp_path), states(3)[2])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_nothing_is_restored_from_an_empty_folder(tmp_path):
    assert restored(tmp_path) is None


def test_a_checkpoint_may_be_spread_otherwise_when_it_is_restored(tmp_path):
    written(tmp_path)
    state = restored(tmp_path, like=on_mesh(STATE, fsdp=8))
    assert len(state["params"]["kernel"].sharding.device_set) == 8
    assert state["params"]["kernel"].addressable_shards[0].data.shape == (8, 32)
    assert_equal(state, states(3)[2])


def truncate(folder):
    largest = max(folder.rglob("*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-7])


def flip_a_bit(folder):
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "files.json"]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def remove_a_file(folder):
    (folder / "default" / "manifest.ocdbt").unlink()


def remove_the_list(folder):
    (folder / "files.json").unlink()


def cut_the_list(folder):
    path = folder / "files.json"
    path.write_text(path.read_text()[:100])


def remove_all_but_the_folder(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


DAMAGES = [
    truncate,
    flip_a_bit,
    remove_a_file,
    remove_the_list,
    cut_the_list,
    remove_all_but_the_folder,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_set_aside_for_the_one_before(tmp_path, damage, capfd):
    written(tmp_path)
    damage(tmp_path / "2")
    assert_equal(restored(tmp_path), states(2)[1])
    warning = capfd.readouterr().err
    assert f"{tmp_path / '2'} is damaged" in warning and str(tmp_path / "1") in warning
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.restore(shapes(states(1)[0]))
    checkpoints.save(2, states(3)[2])
    checkpoints.close()
    assert_equal(restored(tmp_path), states(3)[2])


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "3", "null", "{}", '{"files": []}', '{"files": {}}', '{"leaves": {}, "files": {}}'),
        *('{"leaves": 1, "files": {"a": [1, "x"]}}', '{"leaves": {}, "files": {"a": [1]}}'),
        *('{"leaves": {}, "files": {"a": 1}}', '{"leaves": {}, "files": {"default": [4096, "x"]}}'),
        '{"leaves": {}, "files": {"%s": [1, "x"]}}' % ("n" * 5000),
        '{"leaves": {}, "files": {"a": [Infinity, "x"]}}',
        '{"files":' + "[" * 10**5 + "]" * 10**5 + "}",
        *("\x00" * 20, "\udcff"),
    ],
    ids=lambda text: repr(text[:40]),
)
def test_a_list_of_another_form_is_damage(tmp_path, text):
    written(tmp_path)
    (tmp_path / "2" / "files.json").write_bytes(text.encode(errors="surrogateescape"))
    assert_equal(restored(tmp_path), states(2)[1])


def test_a_file_that_the_list_lacks_is_damage(tmp_path):
    written(tmp_path)
    path = tmp_path / "2" / "files.json"
    manifest = json.loads(path.read_text())
    manifest["files"].popitem()
    path.write_text(json.dumps(manifest))
    assert_equal(restored(tmp_path), states(2)[1])


def test_all_damaged_means_a_new_start_and_nothing_is_deleted(tmp_path, capfd):
    written(tmp_path)
    for step in ("1", "2"):
        flip_a_bit(tmp_path / step)
    assert restored(tmp_path) is None
    assert "training starts at step 0" in capfd.readouterr().err
    assert sorted(path.name for path in (tmp_path / "damaged").iterdir()) == ["1", "2"]


@pytest.mark.parametrize(
    "other, difference",
    [
        ({"kernel": jnp.zeros((64, 33))}, r"params/kernel.*float32\[64, 32\].*float32\[64, 33\]"),
        ({"kernel": jnp.zeros((64, 32), jnp.bfloat16)}, r"params/kernel.*float32.*bfloat16"),
        ({"bias": jnp.zeros(3)}, r"params/bias.*nothing.*float32\[3\]"),
    ],
)
def test_another_model_is_refused_with_the_first_difference(tmp_path, other, difference):
    written(tmp_path)
    with pytest.raises(TrainError, match=difference):
        restored(tmp_path, like=on_mesh({"params": other, "step": jnp.int32(0)}))
    assert_equal(restored(tmp_path), states(3)[2])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_saved(tmp_path, value):
    written(tmp_path)
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.restore(shapes(states(1)[0]))
    bad = on_mesh({"params": {"kernel": jnp.full((64, 32), value)}, "step": jnp.int32(3)})
    with pytest.raises(TrainError, match="not finite after step 3.*last good checkpoint is .*2"):
        checkpoints.save(3, bad)
    checkpoints.close()
    assert_equal(restored(tmp_path), states(3)[2])


# TensorStore completes its futures when orbax has closed their event loop already.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_reported_and_spares_what_is_there(tmp_path):
    written(tmp_path)
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.restore(shapes(states(1)[0]))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # no file may grow beyond
    try:
        with pytest.raises(TrainError, match="step 3 could not be written.*last good.*2"):
            checkpoints.save(3, states(4)[3])
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    checkpoints.close()
    assert_equal(restored(tmp_path), states(3)[2])


def test_the_list_names_each_file(tmp_path):
    written(tmp_path)
    listed = json.loads((tmp_path / "2" / "files.json").read_text())
    files = {str(p.relative_to(tmp_path / "2")) for p in (tmp_path / "2").rglob("*") if p.is_file()}
    assert listed["files"].keys() == files - {"files.json"}
    assert listed["leaves"] == {"params/kernel": "float32[64, 32]", "step": "int32[]"}
