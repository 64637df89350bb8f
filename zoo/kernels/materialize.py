"""Arrays that XLA on CPU stores instead of computing them again in each fusion that reads them.

Where cheap operations follow one another, as sums of gradients do, recomputation makes programs
grow with the square of their number, and with them the time to compile. On CPU optimization
barriers are dropped before fusion. FFI calls are not.
"""

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from zoo.kernels import bilinear, extension, platform


def materialize(array: jax.Array) -> jax.Array:
    """Identity that makes XLA on CPU store its operand, and its cotangent, in memory.

    Without it each fusion that reads the array computes it again.
    """
    return _materialize.bind(array) if platform.form(array) == platform.CPU else array


def _stored(array: jax.Array) -> jax.Array:
    result = jax.ShapeDtypeStruct(array.shape, array.dtype)
    return jax.ffi.ffi_call(extension.MATERIALIZE, result, input_output_aliases={0: 0})(array)


def _lower_for_cpu(context, array):
    if not bilinear.ffi_calls_allowed(context) or extension.load() is None:
        return [array]
    return mlir.lower_fun(_stored, multiple_results=False)(context, array)


_materialize = Primitive("materialize")
_materialize.def_impl(lambda array: array)
_materialize.def_abstract_eval(lambda array: array)
ad.deflinear2(_materialize, lambda gradient, _: [materialize(gradient)])
batching.defvectorized(_materialize)
mlir.register_lowering(_materialize, lambda context, array: [array])
mlir.register_lowering(_materialize, _lower_for_cpu, platform="cpu")
