"""The tensors in a PyTorch pickle: views of storages, each compared with its storage first."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from zoo.weights import pickled

STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
# Elements of a view that repeats elements of a small storage, as `expand` makes it.
_MAX_REPEATED = 2**20


@dataclasses.dataclass(frozen=True)
class _Storage:
    """A storage that a tensor of the pickle may view; `take` returns its elements, 1-D."""

    take: Callable[[], np.ndarray]


class Storages:
    """The storages of one file, each of which is read once.

    `read` returns the elements of the storage with a key, from its dtype and number of elements.
    """

    def __init__(self, read: Callable[[Any, np.dtype, int], np.ndarray]):
        self._read, self._known = read, {}

    def persistent(self, saved_id: Any) -> Any:
        """Returns what a persistent id of the pickle stands for.

        A storage is ("storage", type, key, device, number of elements), in old files with None or
        (key of a part, offset, number of elements) at the end.
        """
        if isinstance(saved_id, tuple) and saved_id[:1] == ("module",) and len(saved_id) > 1:
            return saved_id[1]  # a class with its source code, of a whole model
        if not isinstance(saved_id, tuple) or len(saved_id) < 5 or saved_id[0] != "storage":
            raise ValueError("its pickle refers to something else than tensors' storages")
        _, kind, key, _, count, *part = saved_id
        if not isinstance(kind, pickled.Global) or type(key) not in (str, int):
            raise ValueError("its pickle refers to a storage without a type or a key")
        module, _, name = kind.name.rpartition(".")
        if not module.startswith("torch") or name not in STORAGES:
            return pickled.Placeholder(kind.name, ())
        _check_numbers(count)
        dtype = np.dtype(STORAGES[name])

        def take() -> np.ndarray:
            size, known = self._known.setdefault(key, (count * dtype.itemsize, {}))
            if size != count * dtype.itemsize:
                raise ValueError(f"its storage {pickled.shown(str(key))} has two sizes")
            if dtype not in known:
                known[dtype] = self._read(key, dtype, count)
            values = known[dtype]
            if not part or part[0] is None:
                return values
            _, offset, length = part[0]
            _check_numbers(offset, length)
            if offset + length > count:
                raise ValueError("its pickle has a storage outside of the one it is a part of")
            return values[offset : offset + length]

        return _Storage(take)


def make(name: str, arguments: tuple) -> Any:
    """Returns what a call of the global `name` makes: an array, or a placeholder."""
    maker = _MAKERS.get(name)
    try:
        return maker(*arguments) if maker else pickled.Placeholder(name, arguments)
    except TypeError:
        raise ValueError(f"its pickle calls {name} with wrong arguments") from None


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
    """Returns a read-only view of the storage, after checking that it lies within.

    A view of elements of which we know no dtype is a placeholder.
    """
    if isinstance(storage, pickled.Placeholder):
        return storage
    if not isinstance(storage, _Storage):
        raise ValueError("it holds a tensor without a storage")
    if not isinstance(size, (tuple, list)) or not isinstance(stride, (tuple, list)):
        raise ValueError("it holds a tensor without a shape or without strides")
    _check_numbers(offset, *size, *stride)
    if len(size) != len(stride):
        raise ValueError("it holds a tensor whose shape and strides differ in length")
    values = storage.take()
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and last >= values.size:
        raise ValueError("it holds a tensor that is larger than its storage")
    if count > max(values.size, _MAX_REPEATED):
        raise ValueError("it holds a tensor of many more elements than its storage")
    if not count:
        return np.empty(size, values.dtype)
    steps = [step * values.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False)


def _check_numbers(*numbers: Any) -> None:
    """Raises ValueError unless these are whole numbers from 0 up that an index can be."""
    if not all(type(number) is int and 0 <= number < 2**48 for number in numbers):
        raise ValueError("it holds a tensor whose size, offset or strides are no such numbers")


def _first(value: Any, *_: Any) -> Any:
    """Returns a parameter's tensor; `requires_grad`, hooks and state are dropped."""
    return value


def _subclass(function: Any, _kind: Any, arguments: Any, *_: Any) -> Any:
    """Returns the tensor of a subclass of Tensor."""
    if not isinstance(function, pickled.Global) or not isinstance(arguments, tuple):
        raise TypeError
    if function.name == "torch._tensor._rebuild_from_type_v2":
        raise ValueError("it holds a subclass of a subclass of Tensor")
    return make(function.name, arguments)


_MAKERS: dict[str, Callable[..., Any]] = {
    "torch.Size": _first,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch._tensor._rebuild_from_type_v2": _subclass,
}
