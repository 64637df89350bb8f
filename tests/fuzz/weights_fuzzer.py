"""Reads mutated weights files, and says what came of each.

    python tests/fuzz/weights_fuzzer.py KIND START COUNT

reads the inputs START ... START + COUNT - 1 of a kind in this process, whose memory is limited to
1 GB above what it takes to start and which an input of over 10 s ends. An input is a function of
its kind and number. The last line is JSON: how often each outcome came, and the slowest input. The
line before it is the number of the input that was read last.
"""

import collections
import io
import json
import os
import pickle
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import zipfile

import numpy as np

SECONDS, GIGABYTES = 10, 1
VALUES = bytes(np.arange(64, dtype=np.float32))
NUMBERS = (
    0,
    1,
    2,
    7,
    15,
    16,
    255,
    2**15,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63,
    2**64 - 1,
)
GLOBALS = (
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_tensor\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch._tensor\n_rebuild_from_type_v2\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch\nBFloat16Storage\n",
    b"ctorch\nSize\n",
    b"ccollections\nOrderedDict\n",
    b"cargparse\nNamespace\n",
    b"cbuiltins\nprint\n",
)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def tensor(key: str, shape: tuple[int, ...], offset=0, count=64, legacy=False) -> bytes:
    """The opcodes of one contiguous float32 tensor."""
    strides = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
    storage = text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(count)
    sizes, steps = (b"(" + b"".join(map(number, part)) + b"t" for part in (shape, strides))
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(("
        + (storage + b"N" * legacy + b"tQ")
        + number(offset)
        + (sizes + steps)
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def index(legacy=False) -> bytes:
    """The pickle of a checkpoint with a shared storage, a parameter, a Namespace and numbers."""
    weight = tensor("0", (4, 8), 0, legacy=legacy)
    parts = {
        "conv.weight": weight + b"q\x05",
        "conv.bias": tensor("0", (8,), 32, legacy=legacy),
        "tied": b"h\x05",
        "fc": b"ctorch._utils\n_rebuild_parameter\n("
        + tensor("1", (64,), legacy=legacy)
        + b"\x88)tR",
    }
    tensors = b"ccollections\nOrderedDict\n)R(" + b"".join(
        text(name) + value for name, value in parts.items()
    )
    arguments = b"cargparse\nNamespace\n)\x81}" + text("lr") + b"G?\xb9\x99\x99\x99\x99\x99\x9asb"
    others = text("args") + arguments + text("epoch") + b"K\x03" + text("l") + b"](K\x01K\x02e"
    return b"\x80\x02}(" + text("model") + tensors + b"u}b" + others + b"u."


def pack(entries: dict[str, bytes], method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def zip_entries() -> dict[str, bytes]:
    contents = {"data.pkl": index(), "byteorder": b"little", "data/0": VALUES, "data/1": VALUES}
    return {f"m/{name}": content for name, content in contents.items()}


def legacy_parts() -> list[bytes]:
    headers = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    storage = struct.pack("<q", 64) + VALUES
    keys = pickle.dumps(["0", "1"], protocol=2)
    return [*(pickle.dumps(h, protocol=2) for h in headers), index(True), keys, storage, storage]


def safetensors_parts() -> list[bytes]:
    entries = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [4, 8], "data_offsets": [0, 128]},
        "b": {"dtype": "BF16", "shape": [64], "data_offsets": [128, 256]},
    }
    return [json.dumps(entries).encode(), VALUES]


PART = "part.safetensors"


def safetensors_file() -> bytes:
    header, data = safetensors_parts()
    return struct.pack("<Q", len(header)) + header + data


def shards_index() -> bytes:
    """The index of a model in several files, here one, which lies beside it."""
    places = {"metadata": {"total_size": 256}, "weight_map": {"a": PART, "b": PART}}
    return json.dumps(places, indent=1).encode()


def npz_entries() -> dict[str, bytes]:
    entries = {}
    for name, dtype in (("a", "<f4"), ("b", ">i8"), ("c", "?")):
        file = io.BytesIO()
        np.save(file, np.ones((4, 8), dtype))
        entries[f"{name}.npy"] = file.getvalue()
    return entries


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Changes a few places: bits, bytes, numbers, opcodes, digits; cuts, repeats, moves pieces."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 2, 4, 8, 32)))
        kind = rng.randrange(10)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 2:
            data[at:end] = (rng.choice(NUMBERS) % 2**64).to_bytes(8, "little")[: max(end - at, 1)]
        elif kind == 3:
            del data[at:end]
        elif kind == 4:
            data[at:at] = data[at:end] * rng.choice((1, 2, 100))
        elif kind == 5:
            data[at:at] = bytes(rng.choices(b"(.0)NRTQbdelstu}]\x81\x85\x86\x87\x88\x93\x94", k=3))
        elif kind == 6:
            data[at:at] = rng.choice(GLOBALS)
        elif kind == 7:
            other = rng.randrange(len(data) + 1)
            data[at:end] = data[other : other + end - at]
        elif kind == 8:
            data[at:end] = str(rng.choice((-1, -8, *NUMBERS))).encode()
        elif rng.random() < 0.2:
            del data[at:]
    return bytes(data)


def make(kind: str, seed: int) -> bytes:
    """Returns input `seed` of a kind. In half of them what encloses the mutated part is right."""
    rng = random.Random(f"{kind}:{seed}")
    inside = rng.random() < 0.7
    if kind in ("zip", "npz"):
        entries = zip_entries() if kind == "zip" else npz_entries()
        method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        if inside:
            name = (
                rng.choice(list(entries)) if kind == "npz" or rng.random() < 0.1 else "m/data.pkl"
            )
            entries[name] = mutate(entries[name], rng)
        file = pack(entries, method)
        return file if inside else mutate(file, rng)
    if kind == "shards":
        return mutate(shards_index(), rng)
    if kind == "legacy":
        parts = legacy_parts()
        if inside:
            chosen = rng.choice((0, 1, 2, 3, 3, 3, 3, 4, 5))
            parts[chosen] = mutate(parts[chosen], rng)
        file = b"".join(parts)
        return file if inside else mutate(file, rng)
    header, data = safetensors_parts()
    if inside:
        header = mutate(header, rng)
    file = struct.pack("<Q", len(header)) + header + data
    return file if inside else mutate(file, rng)


def touch(value) -> None:
    """Reads every byte of every array in it, so that one outside of its memory would be noticed."""
    stack, seen = [value], set()
    while stack:
        item = stack.pop()
        if isinstance(item, np.ndarray) and item.size < 2**22:
            np.ascontiguousarray(item).view(np.uint8).sum()
        elif isinstance(item, (dict, list, tuple)) and id(item) not in seen:
            seen.add(id(item))
            stack.extend(item.values() if isinstance(item, dict) else item)


def outcome(path: str) -> str:
    """Reads a file; returns "read", "refused", or what must not be."""
    from zoo.weights import torch_file

    try:
        touch(torch_file.read(path))
        return "read"
    except ValueError as error:
        message = str(error)
        if path not in message:
            return f"not named: {message[:200]}"
        return "no memory" if "MemoryError" in message else "refused"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:200]}"


def peak_memory() -> int:
    """The most memory that this program has used, in bytes. getrusage has its parent's as well."""
    with open("/proc/self/status") as file:
        return int(file.read().split("VmHWM:")[1].split()[0]) * 1024


def main(kind: str, start: int, count: int) -> None:
    with open("/proc/self/status") as file:
        size = int(file.read().split("VmSize:")[1].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size + GIGABYTES * 2**30,) * 2)
    suffix = {"safetensors": ".safetensors", "shards": ".safetensors.index.json"}.get(kind, ".pth")
    outcomes, slowest = collections.Counter(), (0.0, start)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"mutated{suffix}")
        with open(os.path.join(folder, PART), "wb") as file:
            file.write(safetensors_file())
        for seed in range(start, start + count):
            with open(path, "wb") as file:
                file.write(make(kind, seed))
            print(seed, flush=True)
            signal.alarm(SECONDS)
            begin = time.perf_counter()
            result = outcome(path)
            slowest = max(slowest, (time.perf_counter() - begin, seed))
            signal.alarm(0)
            outcomes[result if result in ("read", "refused") else f"{seed}: {result}"] += 1
    peak = peak_memory()
    print(json.dumps({"outcomes": outcomes, "slowest": slowest, "peak": peak}))


if __name__ == "__main__":
    import zoo.weights.torch_file  # noqa: F401 (before the limit of memory)

    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
