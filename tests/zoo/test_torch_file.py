"""Checkpoints as PyTorch writes them, made here without PyTorch."""

import collections
import io
import json
import pickle
import struct
import sys
import types
import zipfile

import ml_dtypes
import numpy as np
import pytest

from zoo import torch_file

TENSORS = {
    "conv.weight": np.random.RandomState(0).randn(2, 3, 3, 3).astype(np.float32),
    "conv.bias": np.arange(2, dtype=np.float16),
    "count": np.array(7, dtype=np.int64),
    "half": np.arange(3).astype(ml_dtypes.bfloat16),
}


@pytest.fixture
def torch(monkeypatch):
    """A module `torch` with just what a checkpoint's pickle refers to."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in torch_file._STORAGES:
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*args):
        raise AssertionError("only its name is used")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch._utils = utils
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


class Tensor:
    """Pickles as a PyTorch tensor does: a call of `_rebuild_tensor_v2` on a storage."""

    def __init__(self, torch, key, array):
        self.torch, self.key, self.array = torch, key, array

    def __reduce__(self):
        strides = tuple(step // self.array.itemsize for step in self.array.strides)
        arguments = (Storage(self), 0, self.array.shape, strides, False, collections.OrderedDict())
        return self.torch._utils._rebuild_tensor_v2, arguments


class Storage:
    def __init__(self, tensor):
        self.tensor = tensor


class Pickler(pickle.Pickler):
    def __init__(self, file, torch, legacy):
        super().__init__(file, protocol=2)
        self.torch, self.legacy = torch, legacy

    def persistent_id(self, thing):
        if not isinstance(thing, Storage):
            return None
        array = thing.tensor.array
        (name,) = (n for n, dtype in torch_file._STORAGES.items() if dtype == array.dtype.type)
        saved = ("storage", getattr(self.torch, name), thing.tensor.key, "cpu", array.size)
        return (*saved, None) if self.legacy else saved


def tensors_of(torch):
    return collections.OrderedDict(
        (name, Tensor(torch, str(i), array)) for i, (name, array) in enumerate(TENSORS.items())
    )


def assert_read(path):
    read = torch_file.read(path)
    assert list(read) == list(TENSORS)
    for name, array in TENSORS.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_zip_format(torch, tmp_path):
    index = io.BytesIO()
    Pickler(index, torch, legacy=False).dump(tensors_of(torch))
    with zipfile.ZipFile(tmp_path / "model.pth", "w") as archive:
        archive.writestr("model/data.pkl", index.getvalue())
        for i, array in enumerate(TENSORS.values()):
            archive.writestr(f"model/data/{i}", array.tobytes())
    assert_read(tmp_path / "model.pth")


def test_legacy_format(torch, tmp_path):
    with open(tmp_path / "model.pth", "wb") as file:
        for header in (torch_file._LEGACY_MAGIC, 1001, {"little_endian": True}):
            pickle.dump(header, file, protocol=2)
        Pickler(file, torch, legacy=True).dump(tensors_of(torch))
        pickle.dump([str(i) for i in range(len(TENSORS))], file, protocol=2)
        for array in TENSORS.values():
            file.write(struct.pack("<q", array.size) + array.tobytes())
    assert_read(tmp_path / "model.pth")


def test_safetensors(tmp_path):
    codes = {np.dtype(dtype): code for code, dtype in torch_file._SAFETENSORS.items()}
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in TENSORS.items():
        span = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": codes[array.dtype], "shape": array.shape, "data_offsets": span}
        data += array.tobytes()
    text = json.dumps(header).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    assert_read(tmp_path / "m.safetensors")


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("this must not run",)

    with zipfile.ZipFile(tmp_path / "evil.pth", "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps({"weight": Evil()}))
    with pytest.raises(ValueError, match="builtins.print, not only tensors"):
        torch_file.read(tmp_path / "evil.pth")


def test_another_file_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "model.pth").write_text("not a checkpoint")
    with pytest.raises(ValueError, match="model.pth is not a PyTorch state dict.*torch.save"):
        torch_file.read(tmp_path / "model.pth")
    with pytest.raises(FileNotFoundError):
        torch_file.read(tmp_path / "nothing.pth")
