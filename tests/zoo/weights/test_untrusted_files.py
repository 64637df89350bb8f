"""Strangers' files: what is no checkpoint is named, and what is a forged one does no harm."""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import time
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest

from zoo.weights import legacy_file, pickled, torch_file, zip_file
from zoo.weights.pickled import Placeholder

VALUES = np.arange(8, dtype=np.float32)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]


def storage(count=8, key="0", kind="FloatStorage", part=b"") -> bytes:
    return (
        b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu")
    ) + (number(count) + part + b"tQ")


def tensor(shape=(8,), strides=(1,), offset=0, stored=None) -> bytes:
    """Opcodes of a tensor as PyTorch writes them."""
    sizes, steps = (b"(" + b"".join(map(number, part)) + b"t" for part in (shape, strides))
    start = b"ctorch._utils\n_rebuild_tensor_v2\n(" + (stored or storage())
    return start + number(offset) + sizes + steps + b"\x89ccollections\nOrderedDict\n)RtR"


def state_dict(**values: bytes) -> bytes:
    return b"\x80\x02}(" + b"".join(text(k) + v for k, v in values.items()) + b"u."


def save_zip(path, pickle: bytes, values=VALUES, method=zipfile.ZIP_STORED, **others: bytes):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("m/data.pkl", pickle)
        archive.writestr("m/data/0", values.tobytes())
        for name, content in others.items():
            archive.writestr(f"m/{name}", content)
    return path


def save_legacy(path, index: bytes, keys, *storages: bytes, little=True):
    headers = (legacy_file.MAGIC, 1001, {"little_endian": little})
    parts = [*(pickle.dumps(header, protocol=2) for header in headers), index]
    path.write_bytes(b"".join([*parts, pickle.dumps(keys, protocol=2), *storages]))
    return path


def zipped(**entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    return file.getvalue()


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def framed(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


GOOD = framed(b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8))
TWICE = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},' + GOOD[9:-8].replace(
    b'"F32","shape":[2]', b'"U8","shape":[8]'
)
NOT_WEIGHTS = {
    "it is JSON": b'{"weight_map": {"fc.weight": "model-00001-of-00002.bin"}}',
    "a git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "a web page": b"\n<!DOCTYPE html><html>404</html>",
    "an HDF5": b"\x89HDF\r\n\x1a\n" + bytes(99),
    "one numpy array": b"\x93NUMPY\x01\x00" + bytes(99),
    "compressed by gzip": gzip.compress(b"x" * 99),
    "a tar archive": tarred(),
    "it is empty": b"",
    "zeros only": bytes(9999),
    "an empty zip": zipped(),
    "none of its entries is a data.pkl": zipped(word__document=b"x"),
    "more than one of its entries is a data.pkl": zipped(
        **{"a__data.pkl": b"", "b__data.pkl": b""}
    ),
    "a TorchScript": zipped(**{"m__data.pkl": b"\x80\x02}.", "m__constants.pkl": b""}),
    "a zip that is cut short": zipped(**{"m__data.pkl": b"\x80\x02}."})[:-9],
    "holds a list": zipped(**{"m__data.pkl": pickle.dumps([1], 2)}),
    "holds a net.Net": zipped(**{"m__data.pkl": b"\x80\x02cnet\nNet\n)\x81}b."}),
    "holds a torch.FloatStorage": zipped(**{"m__data.pkl": b"\x80\x02ctorch\nFloatStorage\n."}),
    "its first number is another": pickle.dumps({"w": 1}, 2),
    "no file of weights": b"\xff\xd8\xff\xe0 is a photograph",
    "holds object, not numbers": npz(w=np.array([{}], object)),
    "holds <U1, not numbers": npz(w=np.array(["x"])),
}


@pytest.mark.parametrize("what", NOT_WEIGHTS)
def test_what_a_file_is_instead_is_said(what, tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(NOT_WEIGHTS[what])
    with pytest.raises(ValueError, match=f"model.pth is not .*{what}.*torch.save"):
        torch_file.read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[:-1], "cut short or damaged"),
        (GOOD[:30], "cut short in its header"),
        (GOOD + b"x", "cut short or damaged"),
        (b"\0" * 5, "zeros only"),
        (struct.pack("<Q", 2**63) + b"{}", "cut short in its header"),
        (framed(b"[1, 2]"), "(?i:invalid)"),
        (framed(b'{"a":' + b"[" * 10**5), "(?i:recursion|invalid)"),
        (NOT_WEIGHTS["a git-lfs pointer"], "git lfs pull"),
        (NOT_WEIGHTS["a web page"], "a web page"),
        (zipped(**{"m__data.pkl": b"\x80\x02}."}), "is a zip named .safetensors"),
        (GOOD.replace(b"[0,8]", b"[8,0]"), "damaged"),
        (GOOD.replace(b"[0,8]", b"[-8,0]"), "damaged"),
        (GOOD.replace(b"[2]", b"[3]"), "damaged"),
        (GOOD.replace(b"F32", b"F99"), "damaged"),
        (framed(TWICE, bytes(8)), "name twice"),
        (framed(b'{"w":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}', b"x"), "has not"),
    ],
)
def test_damaged_safetensors(content, message, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"model.safetensors is not .*({message})"):
        torch_file.read(path)


def test_the_content_decides_what_a_file_is(tmp_path):
    (tmp_path / "safetensors.bin").write_bytes(GOOD)
    np.testing.assert_array_equal(torch_file.read(tmp_path / "safetensors.bin")["w"], [0, 0])
    path = save_zip(tmp_path / "zip.bin", state_dict(w=tensor()))
    np.testing.assert_array_equal(torch_file.read(path)["w"], VALUES)


def test_npz(tmp_path):
    arrays = {
        "float": np.arange(6, dtype=np.float32).reshape(2, 3),
        "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big-endian": np.arange(3, dtype=">i4"),
        "number": np.array(7),
        "bfloat16": np.arange(3).astype(ml_dtypes.bfloat16),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "w.npz", **arrays)
        read = torch_file.read(tmp_path / "w.npz")
        assert read.keys() == arrays.keys()
        for name, array in arrays.items():
            assert read[name].dtype == array.dtype
            np.testing.assert_array_equal(read[name], array)


def test_only_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    for path in (tmp_path / "pipe.pth", "/dev/zero"):
        with pytest.raises(ValueError, match="a pipe or a device"):
            torch_file.read(path)
    with pytest.raises(ValueError, match="not a path"):
        torch_file.read("a\0b")
    with pytest.raises(IsADirectoryError):
        torch_file.read(tmp_path)


def test_what_stands_beside_the_tensors_is_kept_as_a_name(tmp_path):
    others = state_dict(
        w=tensor(),
        args=b"cargparse\nNamespace\n)\x81}" + text("lr") + b"K\x01sb",
        best=b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n" + text("f8") + b"\x85Rtq\x01R",
        path=b"cpathlib\nPosixPath\n" + text("x") + b"\x85R",
        counts=b"ccollections\ndefaultdict\ncbuiltins\nlist\n\x85R" + text("a") + b"K\x02s",
        size=b"ctorch\nSize\nK\x02\x85\x85R",
        a_set=b"\x8f(K\x01K\x02\x90",
        tuples=b"}(K\x01\x85K\x02" + text("a") + b"K\x03u",
        half=b"ctorch._utils\n_rebuild_qtensor\n)R",
        byte=b"("
        + text("storage")
        + b"ctorch\nQInt8Storage\n"
        + text("0")
        + text("cpu")
        + b"K\x08tQ",
        extend=b"ccollections\ndeque\n)R(K\x01K\x02e",
        array=b"\x96" + struct.pack("<Q", 2) + b"ab",
        device=b"c__builtin__\nobject\n)}\x92",
    )
    read = torch_file.read(save_zip(tmp_path / "m.pth", b"\x80\x04" + others[2:]))
    np.testing.assert_array_equal(read["w"], VALUES)
    assert isinstance(read["args"], Placeholder) and read["args"].state == {"lr": 1}
    assert repr(read["best"]) == "<numpy.core.multiarray.scalar(...)>"
    assert read["path"].arguments == ("x",) and read["counts"] == {"a": 2}
    assert read["size"] == (2,) and read["a_set"] == [1, 2] and read["tuples"] == {"a": 3}
    assert read["half"].name == "torch._utils._rebuild_qtensor"
    assert read["byte"].name == "torch.QInt8Storage" and read["extend"] == {}


def test_tensors_in_all_their_forms(tmp_path):
    stored = storage()
    old = (
        b"ctorch._utils\n_rebuild_tensor\n("
        + stored
        + b"K\x00ctorch\nSize\nK\x08\x85\x85RK\x01\x85tR"
    )
    typed = (
        b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\ncmy\nTensor\n"
    )
    values = dict(
        old=old,
        parameter=b"ctorch._utils\n_rebuild_parameter\n(" + tensor() + b"\x88NtR",
        typed=typed + b"(" + stored + b"K\x00K\x08\x85K\x01\x85t}tR",
        transposed=tensor((2, 4), (1, 2)),
        expanded=tensor((3, 8), (0, 1)),
        empty=tensor((0, 5), (5, 1)),
        number=tensor((), (), 7),
    )
    read = torch_file.read(save_zip(tmp_path / "m.pth", state_dict(**values)))
    for name in ("old", "parameter", "typed"):
        np.testing.assert_array_equal(read[name], VALUES)
    np.testing.assert_array_equal(read["transposed"], VALUES.reshape(4, 2).T)
    np.testing.assert_array_equal(read["expanded"], np.stack([VALUES] * 3))
    assert read["empty"].shape == (0, 5) and read["number"] == 7
    assert np.shares_memory(read["old"], read["transposed"])  # a storage is read once
    with pytest.raises(ValueError, match="read-only"):
        read["old"][0] = 1


OUTSIDE = {
    "larger": tensor((9,), (1,)),
    "offset": tensor((8,), (1,), 1),
    "stride": tensor((2,), (8,)),
    "negative offset": tensor((1,), (1,), -1),
    "negative stride": tensor((2,), (-1,), 4),
    "negative size": tensor((-1,), (1,)),
    "4e9 elements": tensor((4 * 10**9,), (1,)),
    "beyond any index": tensor((2**62, 2**62), (2**62, 1)),
    "repeated": tensor((2**40,), (0,)),
    "not as many strides": tensor((2, 2), (1,)),
    "size is no tuple": b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage() + b"K\x00K\x08K\x01tR",
    "boolean size": tensor().replace(number(8) + b"t(", b"\x88t("),
    "storage of another size": tensor(stored=storage(7)),
    "storage of another type": tensor(stored=storage(8, kind="DoubleStorage")),
    "storage that is not there": tensor(stored=storage(8, "1")),
    "storage of negative size": tensor(stored=storage(-1)),
    "part of a storage": tensor(stored=storage(8, part=b"(" + text("1") + b"K\x04K\x08t")),
    "no arguments": b"ctorch._utils\n_rebuild_tensor_v2\n)R",
    "no storage": b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))tR",
    "persistent text": text("x") + b"Q",
    "persistent without a type": b"(" + text("storage") + b"NNNK\x01tQ",
    "nested subclasses": b"ctorch._tensor\n_rebuild_from_type_v2\n"
    b"(ctorch._tensor\n_rebuild_from_type_v2\nN)tR",
    "65 axes": tensor((1,) * 65, (1,) * 65),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_tensors_outside_of_their_storages(name, tmp_path):
    index = state_dict(w=OUTSIDE[name])
    with pytest.raises(ValueError, match="m.pth is not a PyTorch state dict"):
        torch_file.read(save_zip(tmp_path / "m.pth", index))
    filled = struct.pack("<q", 8) + VALUES.tobytes()
    with pytest.raises(ValueError, match="m.pth is not a PyTorch state dict"):
        torch_file.read(save_legacy(tmp_path / "m.pth", index, ["0"], filled))


def test_a_part_of_a_storage(tmp_path):
    part = tensor((2,), (1,), 1, stored=storage(8, part=b"(" + text("1") + b"K\x04K\x03t"))
    filled = struct.pack("<q", 8) + VALUES.tobytes()
    read = torch_file.read(save_legacy(tmp_path / "m.pth", state_dict(w=part), ["0"], filled))
    np.testing.assert_array_equal(read["w"], VALUES[5:7])


def test_byte_order(tmp_path):
    swapped, index = VALUES.astype(">f4"), state_dict(w=tensor())
    path = save_zip(tmp_path / "m.pth", index, swapped, byteorder=b"big")
    np.testing.assert_array_equal(torch_file.read(path)["w"], VALUES)
    path = save_zip(tmp_path / "m.pth", index, byteorder=b"little")
    np.testing.assert_array_equal(torch_file.read(path)["w"], VALUES)
    with pytest.raises(ValueError, match="byte order is b'middle'"):
        torch_file.read(save_zip(path, index, byteorder=b"middle"))
    filled = struct.pack("<q", 8) + swapped.tobytes()
    with pytest.raises(ValueError, match="big-endian"):
        torch_file.read(save_legacy(tmp_path / "m.pth", index, ["0"], filled, little=False))


@pytest.mark.parametrize(
    ("keys", "storages", "message"),
    [
        ([], (), "list of storages does not fit"),
        (["0", "0"], (8, 8), "list of storages does not fit"),
        (["0", "1"], (8, 8), "list of storages does not fit"),
        ([["0"]], (8,), "list of storages is damaged"),
        ("0", (8,), "list of storages is damaged"),
        (["0"], (), "cut short or damaged, in storage 0"),
        (["0"], (1,), "cut short or damaged, in storage 0"),
        (["0"], (9,), "cut short or damaged, in storage 0"),
    ],
)
def test_legacy_storages_are_filled_exactly(keys, storages, message, tmp_path):
    filled = [struct.pack("<q", count) + bytes(4 * count) for count in storages]
    with pytest.raises(ValueError, match=message):
        torch_file.read(save_legacy(tmp_path / "m.pth", state_dict(w=tensor()), keys, *filled))


def test_a_legacy_file_cut_anywhere(tmp_path):
    path = tmp_path / "m.pth"
    filled = struct.pack("<q", 8) + VALUES.tobytes()
    whole = save_legacy(path, state_dict(w=tensor()), ["0"], filled).read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="m.pth is not a PyTorch state dict"):
            torch_file.read(path)


def test_every_flipped_byte_of_a_zips_contents_is_noticed(tmp_path):
    path = save_zip(tmp_path / "m.pth", state_dict(w=tensor()))
    whole = bytearray(path.read_bytes())
    start = whole.index(b"\x80\x02}("), whole.index(VALUES.tobytes())
    places = [*range(start[0], start[0] + 20), *range(start[1], start[1] + VALUES.nbytes)]
    for at in places:
        whole[at] ^= 1
        path.write_bytes(whole)
        with pytest.raises(ValueError, match="Bad CRC"):
            torch_file.read(path)
        whole[at] ^= 1


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(method, tmp_path):
    with pytest.raises(ValueError, match="in a way that PyTorch and numpy never use"):
        torch_file.read(save_zip(tmp_path / "m.pth", state_dict(w=tensor()), method=method))


def test_an_encrypted_zip(tmp_path):
    path = save_zip(tmp_path / "m.pth", state_dict(w=tensor()))
    whole = bytearray(path.read_bytes())
    whole[6] |= 1
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="encrypted"):
        torch_file.read(path)


DAMAGED = {
    "a call of a number": b"K\x01)R.",
    "a call with no tuple": b"ccollections\nOrderedDict\nK\x01R.",
    "an append to a number": b"K\x01K\x02a.",
    "an item of a number": b"K\x01K\x02K\x03s.",
    "a key without a value": b"}(K\x01u.",
    "attributes of a number": b"K\x01K\x02b.",
    "a name that is no text": b"K\x01K\x02\x93.",
    "nothing": b".",
    "an empty stack": b"0.",
    "no end": b"}",
    "an extension": b"\x82\x01.",
    "bytes of 2**62": b"\x8e" + struct.pack("<Q", 2**62) + b".",
    "a frame of 2**63": b"\x95" + struct.pack("<Q", 2**63) + b".",
    "a memo that is empty": b"h\x07.",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_pickles(kind, tmp_path):
    with pytest.raises(ValueError, match="m.pth is not a PyTorch state dict"):
        torch_file.read(save_zip(tmp_path / "m.pth", b"\x80\x04" + DAMAGED[kind]))


def many(count: int, opcodes: bytes, first=b"", end=b".") -> bytes:
    return b"\x80\x02" + first + opcodes * count + end


def contents(count: int) -> bytes:
    return zipped(**{f"m__data__{i}": b"" for i in range(count)} | {"m__data.pkl": b"\x80\x02}."})


def inflated(name: str, size: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", state_dict(w=tensor()))
        archive.writestr(name, bytes(size))
    return file.getvalue()


def header(entries: int) -> bytes:
    entry = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}
    return framed(json.dumps({str(i): entry for i in range(entries)}).encode(), b"x")


PAIRS = many(50_000, b"K\x01K\x02\x86", b"](", b"e\x85q\x010")
BOMBS = {
    "endless": many(600_000, b"N"),
    "dicts": many(600_000, b"}"),
    "calls": many(2**20, b"ca\nb\n)R"),
    "a line": b"\x80\x02c" + b"a" * (2**24 - 9),
    "a list of pairs again and again": PAIRS
    + many(10**4, b"ccollections\nOrderedDict\nh\x01R0")[2:],
    "a tensor again and again": state_dict(w=tensor())[:-2]
    + many(200_000, b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))tq\x010ca\nb\nh\x01R0")[2:],
    "deep": many(10**5, b"]\x94", b"", b"a" * (10**5 - 1) + b"."),
    "doubled": many(10**5, b"2\x86", b"K\x01"),
    "many bytes": many(1, b"\x8e" + struct.pack("<Q", 2**24 - 99) + bytes(2**20)),
}
FILES = {
    "an inflated storage": lambda: inflated("m/data/0", 2**26),
    "an inflated byte order": lambda: inflated("m/byteorder", 2**26),
    "a long table of contents": lambda: contents(80_000),
    "a long header": lambda: header(50_000),
    "a longer header": lambda: header(80_000),
    "zeros": lambda: bytes(2**24),
    "noise": lambda: bytes(range(255, -1, -1)) * 2**16,
} | {f"pickle: {name}": lambda name=name: zipped(**{"m__data.pkl": BOMBS[name]}) for name in BOMBS}


# Those that take seconds and differ little from another.
SLOW = {
    "pickle: dicts",
    "pickle: doubled",
    "pickle: a list of pairs again and again",
    "pickle: calls",
}


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[pytest.mark.full] if kind in SLOW else []) for kind in FILES],
)
def test_a_bomb_is_refused_soon_and_in_little_memory(kind, tmp_path):
    path = tmp_path / "m.pth"
    path.write_bytes(FILES[kind]())
    tracemalloc.start()
    begin = time.process_time()
    try:
        with pytest.raises(ValueError, match="m.pth is not a PyTorch state dict") as raised:
            torch_file.read(path)
        seconds, peak = time.process_time() - begin, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds < 5  # without tracemalloc, on a machine that does nothing else, half a second
    assert peak < 100e6
    assert len(str(raised.value)) < 600


def test_storages_are_not_counted_twice(tmp_path):
    """Entries of a zip that all point to the same bytes."""
    keys = [str(i) for i in range(100)]
    index = state_dict(**{key: tensor(stored=storage(key=key)) for key in keys})
    path = save_zip(
        tmp_path / "m.pth", index, **{f"data/{key}": VALUES.tobytes() for key in keys[1:]}
    )
    whole = path.read_bytes()
    assert len(torch_file.read(path)) == 100
    with pytest.raises(ValueError, match="larger than such a file can be"):
        archive = zip_file._Archive(io.BytesIO(whole), size=1000)
        for key in keys:
            archive.entry(f"m/data/{key}")


def test_names_are_shown_safely():
    assert pickled.shown("conv1.weight") == "conv1.weight"
    assert pickled.shown("\x1b[2J\ud800") == r"'\x1b[2J\ud800'"
    assert len(pickled.shown("x" * 10**6)) < 100
