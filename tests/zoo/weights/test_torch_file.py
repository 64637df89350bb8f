"""Checkpoints as PyTorch writes them, made here without PyTorch."""

import collections
import io
import json
import pathlib
import pickle
import re
import struct
import sys
import tokenize
import types
import zipfile

import ml_dtypes
import numpy as np
import pytest

import zoo
from zoo.weights import legacy_file, tensors, torch_file, zip_file

pytestmark = pytest.mark.quick

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
    for name in tensors.STORAGES:
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
        (name,) = (n for n, dtype in tensors.STORAGES.items() if dtype == array.dtype.type)
        saved = ("storage", getattr(self.torch, name), thing.tensor.key, "cpu", array.size)
        return (*saved, None) if self.legacy else saved


def tensors_of(torch):
    return collections.OrderedDict(
        (name, Tensor(torch, str(i), array)) for i, (name, array) in enumerate(TENSORS.items())
    )


def assert_read(path):
    read = torch_file.read(path)
    assert set(read) == set(TENSORS)
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
        for header in (legacy_file.MAGIC, 1001, {"little_endian": True}):
            pickle.dump(header, file, protocol=2)
        Pickler(file, torch, legacy=True).dump(tensors_of(torch))
        pickle.dump([str(i) for i in range(len(TENSORS))], file, protocol=2)
        for array in TENSORS.values():
            file.write(struct.pack("<q", array.size) + array.tobytes())
    assert_read(tmp_path / "model.pth")


def test_safetensors(tmp_path):
    names = {"float32": "F32", "float16": "F16", "int64": "I64", "bfloat16": "BF16"}
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in TENSORS.items():
        span = [len(data), len(data) + array.nbytes]
        header[name] = {
            "dtype": names[array.dtype.name],
            "shape": array.shape,
            "data_offsets": span,
        }
        data += array.tobytes()
    text = json.dumps(header).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    assert_read(tmp_path / "m.safetensors")


def unicode(text: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(text)) + text.encode()


# Pickles that would call `print` (or change this process) by each way that the format has.
HOSTILE = {
    "REDUCE": b"cbuiltins\nprint\n(" + unicode("ran") + b"tR.",
    "STACK_GLOBAL": unicode("builtins") + unicode("print") + b"\x93(" + unicode("ran") + b"tR.",
    "INST": b"(" + unicode("ran") + b"ibuiltins\nprint\n.",
    "OBJ": b"(cbuiltins\nprint\n" + unicode("ran") + b"o.",
    "NEWOBJ": b"cbuiltins\nprint\n(" + unicode("ran") + b"t\x81.",
    "NEWOBJ_EX": b"cbuiltins\nprint\n(" + unicode("ran") + b"t}\x92.",
    "EXT1": b"\x82\x01.",
    "BUILD of a global": b"ctorch._utils\n_rebuild_tensor_v2\n}" + unicode("x") + b"K\x01sb.",
    "BUILD of its defaults": b"ccollections\nOrderedDict\nN}"
    + unicode("__defaults__")
    + b"K\x07\x85s\x86b.",
    "BUILD of a dict": b"}" + b"}" + unicode("x") + b"K\x01sb.",
    "a storage called": b"ctorch\nFloatStorage\n(K\x01tR.",
    "BINPERSID of a number": b"K\x01Q.",
    "BINPERSID of a global": b"(" + unicode("storage") + b"ccollections\nOrderedDict\n"
    b"K\x00K\x00K\x01tQ.",
    "PERSID": b"P0\n.",
    "an attribute of a global": unicode("collections")
    + unicode("OrderedDict.fromkeys")
    + b"\x93(tR.",
    "memo index of 2**31": unicode("x") + b"r" + struct.pack("<I", 2**31 - 1) + b"h\x07.",
    "memo that is empty": b"h\x07.",
    "memo that holds a global": b"cbuiltins\nprint\nq\x000h\x00(tR.",
    "a tensor without storage": b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))tR.",
}


def zip_checkpoint(path, hostile):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x04" + hostile)


def legacy_checkpoint(position):
    """The hostile pickle in place of the magic number, the version, ..., the list of keys."""

    def write(path, hostile):
        headers = (legacy_file.MAGIC, 1001, {"little_endian": True}, {}, [])
        pickles = [pickle.dumps(header, protocol=2) for header in headers]
        pickles[position] = b"\x80\x04" + hostile
        path.write_bytes(b"".join(pickles))

    return write


ENTRIES = {"zip": zip_checkpoint} | {f"legacy {i}": legacy_checkpoint(i) for i in range(5)}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_pickle_is_refused(kind, entry, tmp_path, capsys):
    path = tmp_path / "evil.pth"
    ENTRIES[entry](path, HOSTILE[kind])
    before = {name: vars(thing).copy() for name, thing in process_state()}
    with pytest.raises(ValueError, match="evil.pth is not a PyTorch state dict"):
        zoo.load_torch("lenet5", path)
    assert capsys.readouterr().out == ""
    assert {name: vars(thing) for name, thing in process_state()} == before


def process_state():
    """Whatever of the reader a pickle could try to change."""
    modules = (torch_file, zip_file, legacy_file, tensors)
    yield from {"dict": collections.OrderedDict, **{m.__name__: m for m in modules}}.items()
    for module in modules:
        for name, thing in vars(module).items():
            if isinstance(thing, types.FunctionType):
                state = {"defaults": thing.__defaults__, "own": vars(thing).copy()}
                yield f"{module.__name__}.{name}", types.SimpleNamespace(**state)


def test_a_pickle_that_would_run_code_is_named(tmp_path):
    zip_checkpoint(tmp_path / "evil.pth", HOSTILE["REDUCE"])
    with pytest.raises(ValueError, match="builtins.print, not only tensors"):
        torch_file.read(tmp_path / "evil.pth")


def test_nothing_else_unpickles():
    """One reader for all pickles; numpy's files are read without them."""
    root = pathlib.Path(torch_file.__file__).parents[2]
    calls = re.compile(
        r"\b(c?[pP]ickle|dill|cloudpickle|joblib|marshal|shelve)\b.{0,3}\b(loads?|Unpickler|open)\b"
        r"|allow_pickle=True|torch\.load|read_pickle"
    )
    sources = [
        path
        for room in ("zoo", "train", "input_pipeline", "configs")
        for path in (root / room).rglob("*.py")
    ]
    assert len(sources) > 50
    found = {str(path.relative_to(root)) for path in sources if calls.search(code_of(path))}
    assert found == set()
    assert calls.search("import pickle\npickle.load(file)")


def code_of(path: pathlib.Path) -> str:
    """A Python file without its texts and comments."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return "".join(t.string for t in tokens if t.type not in (tokenize.STRING, tokenize.COMMENT))


def test_another_file_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "model.pth").write_text("not a checkpoint")
    with pytest.raises(ValueError, match="model.pth is not a PyTorch state dict.*torch.save"):
        torch_file.read(tmp_path / "model.pth")
    with pytest.raises(FileNotFoundError):
        torch_file.read(tmp_path / "nothing.pth")
