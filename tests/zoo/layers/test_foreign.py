import ctypes

import jax
import numpy as np
import pytest

from zoo.layers import foreign


def doubled(key, inputs, outputs):
    """Four floats, times two; the key says what goes wrong."""
    if key == b"wrong":
        raise ValueError("this went wrong")
    source, target = ((ctypes.c_float * 4).from_address(pointer) for pointer in inputs + outputs)
    for i in range(4):
        target[i] = 2 * source[i]


foreign.register("test_doubled", doubled)


@jax.jit
def program(x):
    return 1 + jax.ffi.ffi_call("test_doubled", jax.ShapeDtypeStruct((4,), np.float32))(x, key="")


def test_a_program_calls_it():
    np.testing.assert_array_equal(program(np.arange(4, dtype=np.float32)), [1, 3, 5, 7])


def test_what_it_raises_is_the_programs_error():
    call = jax.ffi.ffi_call("test_doubled", jax.ShapeDtypeStruct((4,), np.float32))
    with pytest.raises(jax.errors.JaxRuntimeError, match="test_doubled: this went wrong"):
        jax.block_until_ready(jax.jit(lambda x: call(x, key="wrong"))(np.zeros(4, np.float32)))
    np.testing.assert_array_equal(program(np.zeros(4, np.float32)), np.ones(4))
