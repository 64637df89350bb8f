"""The compiled extension, onednn.cc: loaded and registered with XLA at first use."""

import functools
import importlib
import importlib.metadata
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes import CDLL
from types import ModuleType

import jax
import numpy as np

PACKAGE = "onednn-cpu-gomp"
ONEDNN, MATERIALIZE = "zoo_onednn", "zoo_materialize"  # names of the FFI handlers


@functools.cache
def load() -> ModuleType | None:
    """Loads the extension and registers its FFI handlers with XLA, once per process.

    Returns:
      The extension, or None where it or oneDNN is not installed. Where both are installed and do
      not work, None and one warning with the reason.
    """
    try:
        library = _library()
        extension = importlib.import_module("zoo.kernels._onednn") if library else None
    except ModuleNotFoundError:  # installed where there is no compiler
        return None
    except Exception as error:
        return _unavailable(error, "Is libgomp.so.1, GNU's OpenMP, on this system?")
    if extension is None:
        return None
    try:
        jax.local_devices(backend="cpu")  # so that what XLA refuses raises here
        for name, type_registration in extension.types().items():
            jax.ffi.register_ffi_type(name, type_registration, platform="cpu")
        for name, handlers in extension.targets().items():
            jax.ffi.register_ffi_target(name, handlers, platform="cpu")
        _run_in_new_thread(_try)
    except Exception as error:
        return _unavailable(error, "Installing flax-zoo again builds it for this version of JAX.")
    return extension


def _library() -> CDLL | None:
    """Loads oneDNN's shared library, which the extension needs; None if not installed."""
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = [str(file.locate()) for file in files if file.name == "libdnnl.so.3"]
    return CDLL(paths[0]) if paths else None


def _run_in_new_thread(function: Callable[[], None]) -> None:
    """Runs `function` without the trace, the mesh and the settings of the caller."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(function).result()


def _try() -> None:
    """Runs the handlers once; raises the errors of XLA and oneDNN, and if a product is wrong."""
    attributes = dict(operation="matmul", parts=np.int64(1), threads=np.int64(1))
    numbers = dict(order=(0, 1, 2), offsets=(0, 0, 0))
    numbers |= dict.fromkeys(("window_strides", "padding_low", "padding_high"), ())
    for name in ("source", "weights", "destination"):
        numbers |= {name: (2, 2), f"{name}_strides": (2, 1)}
    attributes |= {name: np.array(values, np.int64) for name, values in numbers.items()}
    matrix = np.array([[1, 2], [3, 4]], np.float32)
    result = jax.ShapeDtypeStruct((2, 2), np.float32)

    def square(matrix):
        stored = jax.ffi.ffi_call(MATERIALIZE, result, input_output_aliases={0: 0})(2 * matrix)
        return jax.ffi.ffi_call(ONEDNN, result)(stored, matrix, **attributes)

    # Explicit transfers, which no guard forbids.
    on_cpu = jax.device_put(matrix, jax.local_devices(backend="cpu")[0])
    found = jax.device_get(jax.jit(square)(on_cpu))
    if not np.array_equal(found, 2 * matrix @ matrix):
        raise RuntimeError(f"a product of matrices came out as {found.tolist()}")


def _unavailable(error: Exception, advice: str) -> None:
    warnings.warn(
        f"oneDNN cannot be used ({str(error).strip() or repr(error)}), so XLA alone computes on "
        f"CPU, several times slower. {advice}",
        stacklevel=3,
    )
