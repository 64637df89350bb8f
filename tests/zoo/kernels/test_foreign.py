import ctypes
import functools
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from zoo.kernels import foreign


def doubled(key, inputs, outputs):
    """Four floats, times two, each in a part of its own; the key says what goes wrong."""
    if key == b"wrong":
        raise ValueError("this went wrong")
    source, target = ((ctypes.c_float * 4).from_address(pointer) for pointer in inputs + outputs)

    def part(i):
        if key == b"wrong in a part" and i == 2:
            raise ValueError("this went wrong in a part")
        if key == b"interrupted in a part" and i == 2:
            raise KeyboardInterrupt
        target[i] = 2 * source[i]

    if key == b"whole":
        return [lambda: [part(i) for i in range(4)]]
    return [functools.partial(part, i) for i in range(4)]


foreign.register("test_doubled", doubled)


@functools.partial(jax.jit, static_argnums=1)
def program(x, key):
    return 1 + jax.ffi.ffi_call("test_doubled", jax.ShapeDtypeStruct((4,), np.float32))(x, key=key)


@pytest.mark.parametrize("key", ["whole", "in parts"])
def test_a_program_calls_it(key):
    np.testing.assert_array_equal(program(np.arange(4, dtype=np.float32), key), [1, 3, 5, 7])


@pytest.mark.parametrize("key", ["wrong", "wrong in a part"])
def test_what_it_raises_is_the_programs_error(key):
    with pytest.raises(jax.errors.JaxRuntimeError, match=f"test_doubled: this went {key}"):
        jax.block_until_ready(program(np.zeros(4, np.float32), key))
    np.testing.assert_array_equal(program(np.zeros(4, np.float32), "in parts"), np.ones(4))


def test_an_interruption_ends_the_program_too():
    with pytest.raises(jax.errors.JaxRuntimeError, match="test_doubled: KeyboardInterrupt"):
        jax.block_until_ready(program(np.zeros(4, np.float32), "interrupted in a part"))


def test_parts_many_times_from_many_threads():
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(
            lambda i: np.asarray(program(np.full(4, i, "f"), "in parts")), range(800)
        )
        for i, result in enumerate(results):
            np.testing.assert_array_equal(result, 1 + 2 * np.full(4, i, "f"))
