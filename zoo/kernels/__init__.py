"""Operations with an implementation for each platform.

`conv`, `einsum`, `max_pool` and `average_pool` are JAX functions of arrays. What they become in a
program is decided when it is traced, see `zoo.kernels.platform`:

- for accelerators, JAX's own operations: a model of the zoo is a plain Flax model there;
- for CPU, primitives whose lowering calls oneDNN (`onednn.cc`) where that is possible, and is a
  formulation that XLA compiles well where it is not;
- in portable form, such formulations written in JAX's own operations.
"""
