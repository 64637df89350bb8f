"""Where oneDNN cannot be used: one warning, the portable form, the same numbers."""

import os
import subprocess
import sys

import pytest

from zoo.kernels import extension

# A convolution and a product of matrices, large enough for oneDNN, twice.
PROGRAM = """
import warnings
import jax, jax.numpy as jnp, numpy as np
{fault}
from zoo.kernels.conv import conv
from zoo.kernels.einsum import einsum

def run():
    images = jnp.asarray(np.random.RandomState(0).randn(2, 16, 16, 32), jnp.float32)
    kernel = jnp.asarray(np.random.RandomState(1).randn(3, 3, 32, 32), jnp.float32)
    matrix = jnp.asarray(np.random.RandomState(2).randn(32, 2048), jnp.float32)

    def loss(kernel):
        x = conv(images, kernel, (1, 1), "SAME")
        return jnp.sum(einsum("bhwc,cf->bhwf", x, matrix) ** 2) / 1e6

    return float(loss(kernel)), float(jnp.linalg.norm(jax.jit(jax.grad(loss))(kernel)))

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    run()
    numbers = run()
ours = [str(w.message) for w in caught if "oneDNN" in str(w.message)]
print(len(ours), *ours)
print(*numbers)
"""

MISSING = "import importlib.metadata as m; m.files = lambda name: {answer}"
REFUSED = """
def refuse(*args, **kwargs):
    raise RuntimeError("INVALID_ARGUMENT: API version")
jax.ffi.{function} = refuse
"""
BROKEN_LIBRARY = """
import importlib.metadata, pathlib
broken = pathlib.Path({path!r})
broken.write_bytes(b"no library")
class File:
    name = "libdnnl.so.3"
    def locate(self):
        return broken
importlib.metadata.files = lambda name: [File()]
"""
NOT_BUILT = "import sys; sys.modules['zoo.kernels._onednn'] = None"
# A faulty build: products come out wrong, or every call fails.
WRONG = """
import zoo.kernels.extension as extension
def wrong():
    raise RuntimeError("a product of matrices came out as [[0.0, 0.0], [0.0, 0.0]]")
extension._try = wrong
"""


def run(fault: str) -> tuple[list[str], list[float]]:
    """The first line that the program prints, and its numbers."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(fault=fault)],
        env=os.environ | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    warned, numbers = done.stdout.strip().splitlines()
    return warned, [float(number) for number in numbers.split()]


@pytest.fixture(scope="module")
def expected():
    warned, numbers = run("")
    assert warned == "0"
    return numbers


@pytest.mark.parametrize(
    "fault, message",
    [
        (BROKEN_LIBRARY, "oneDNN cannot be used"),
        (REFUSED.format(function="register_ffi_target"), "INVALID_ARGUMENT: API version"),
        (REFUSED.format(function="register_ffi_type"), "INVALID_ARGUMENT: API version"),
        (WRONG, "came out as"),
    ],
    ids=["broken library", "refused handler", "refused type", "wrong numbers"],
)
def test_what_does_not_work_is_one_warning(fault, message, expected, tmp_path):
    if "{path" in fault:
        fault = fault.format(path=str(tmp_path / "libdnnl.so.3"))
    warned, numbers = run(fault)
    assert warned.startswith("1 oneDNN cannot be used") and message in warned
    assert numbers == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "fault",
    [MISSING.format(answer="[]"), MISSING.format(answer="None"), NOT_BUILT],
    ids=["no library in the package", "no list of files", "no extension"],
)
def test_what_is_not_installed_is_no_warning(fault, expected):
    warned, numbers = run(fault)
    assert warned == "0"
    assert numbers == pytest.approx(expected, rel=1e-5)


def test_a_failure_of_onednn_is_the_programs_error():
    """Here XLA hands over a description that oneDNN refuses."""
    import jax
    import numpy as np

    if extension.load() is None:
        pytest.fail("oneDNN is a requirement of the project on this platform")
    attributes = dict(operation="matmul", parts=np.int64(1), threads=np.int64(1))
    numbers = dict(order=(0, 1, 2), offsets=(0, 0, 0))
    numbers |= dict.fromkeys(("window_strides", "padding_low", "padding_high"), ())
    shapes = {"source": (2, 3), "weights": (2, 2), "destination": (2, 2)}  # 3 is not 2
    for name, shape in shapes.items():
        numbers |= {name: shape, f"{name}_strides": (shape[1], 1)}
    attributes |= {name: np.array(values, np.int64) for name, values in numbers.items()}
    call = jax.ffi.ffi_call(extension.ONEDNN, jax.ShapeDtypeStruct((2, 2), np.float32))
    x = np.ones((2, 3), np.float32)
    with pytest.raises(jax.errors.JaxRuntimeError, match="oneDNN failed"):
        jax.jit(lambda x: call(x, x[:, :2], **attributes))(x).block_until_ready()


def test_operations_go_with_the_programs_that_call_them():
    """A server of many image sizes keeps what its compiled functions need, and no more."""
    import gc

    import jax
    import jax.numpy as jnp
    import numpy as np

    from zoo.kernels.conv import conv

    loaded = extension.load()
    jax.clear_caches()
    gc.collect()
    before = loaded.alive()
    kernel = jnp.ones((3, 3, 8, 16))
    served = {}
    for side in range(8, 28):
        images = np.ones((1, side, side, 8), np.float32)
        served[side] = jax.jit(lambda x: conv(x, kernel, (1, 1), "SAME")).lower(images).compile()
        served[side](images).block_until_ready()
    twice = jax.jit(lambda x: conv(x, kernel, (1, 1), "SAME"))
    twice(images).block_until_ready()  # the same operation in another program
    assert loaded.alive() - before == len(served)
    served.clear()
    del twice
    jax.clear_caches()
    gc.collect()
    assert loaded.alive() == before
