import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zoo import macs
from zoo.kernels import einsum as module
from zoo.kernels import extension, onednn
from zoo.kernels.einsum import einsum
from zoo.layers.dense import Dense


@pytest.fixture(params=["oneDNN", "XLA alone"])
def form(request, monkeypatch):
    """The two ways in which CPU multiplies; also what is too small to be worth a call."""
    monkeypatch.setattr(module, "FEWEST_PRODUCTS", 0)
    if request.param == "XLA alone":
        monkeypatch.setattr(onednn, "available", lambda: False)
    jax.clear_caches()
    yield request.param
    jax.clear_caches()


def random(seed, *shape):
    values = np.random.RandomState(seed).standard_normal(shape)
    return (values / math.sqrt(shape[-1])).astype(np.float32)


SIZES = dict(a=1, b=2, h=3, n=5, m=7, d=8, c=6, f=4)
CASES = [
    "bnhd,bmhd->bhnm",
    "bhnm,bmhd->bnhd",
    "bnc,cf->bnf",
    "bnmc,cf->bnmf",
    "bahd,bmhd->bham",  # one row
    "bham,bmhd->bahd",
    "na,ac->nc",
    "nc,fc->nf",
    "nc,cf->fn",
    "bnm,bm->bn",  # a vector, so XLA does it
    "bnhd,bmhd->bnmh",  # ends in the letter of a batch, likewise
]


@pytest.mark.parametrize("subscripts", CASES)
def test_equals_jax(subscripts, form):
    """The result, both gradients, and the count of multiply-adds."""
    names = subscripts.replace("->", ",").split(",")
    shapes = [[SIZES[letter] for letter in name] for name in names]
    first, second, weights = (random(seed, *shape) for seed, shape in enumerate(shapes))

    def loss(function, first, second):
        return (jnp.sin(function(subscripts, first, second)) * weights).sum()

    ours = jax.jit(jax.value_and_grad(partial(loss, einsum), (0, 1)))
    expected = jax.value_and_grad(partial(loss, jnp.einsum), (0, 1))(first, second)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), ours(first, second), expected
    )
    counts = {macs.count(partial(f, subscripts), first, second) for f in (einsum, jnp.einsum)}
    assert counts == {math.prod(SIZES[letter] for letter in set("".join(names)))}


@pytest.mark.quick
@pytest.mark.parametrize("subscripts", CASES)
def test_onednn_runs_what_is_a_product_of_matrices(subscripts):
    first, second, result = names = subscripts.replace("->", ",").split(",")
    a_vector, in_batch = second == "bm", result[-1] in set(first) & set(second)
    assert onednn.is_matrix_product(names) == (not a_vector and not in_batch)
    assert not onednn.is_matrix_product(("bnmc", "bhc", "bnhm"))  # n and m come apart
    assert not onednn.is_matrix_product(("nmc", "mnf", "cf"))  # in another order
    assert not onednn.is_matrix_product(("nmc", "cf", "nf"))  # a sum over m alone


def test_dense_is_flaxs(form):
    x = random(0, 2, 5, 6)
    variables = nn.Dense(4).init(jax.random.key(0), x)
    again = Dense(4).init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, again, variables)
    np.testing.assert_allclose(
        jax.jit(Dense(4).apply)(variables, x), nn.Dense(4).apply(variables, x), rtol=1e-5, atol=1e-6
    )
    for dtype in (jnp.bfloat16, jnp.float16):
        assert Dense(4, dtype=dtype).apply(variables, x).dtype == dtype


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match='"m" of .* is both 7 and 5'):
        einsum("nm,mc->nc", random(0, 3, 7), random(1, 5, 6))
    with pytest.raises(ValueError, match='"nmc" does not fit'):
        einsum("nmc,cf->nmf", random(0, 3, 7), random(1, 7, 6))


@pytest.mark.quick
@pytest.mark.parametrize(
    ("axes", "first", "second"),
    [
        ((0, None), (3, 4, 4, 5), (4, 5, 6)),
        ((None, 1), (4, 4, 5), (4, 3, 5, 6)),
        ((1, 2), (4, 3, 4, 5), (4, 5, 3, 6)),
    ],
)
def test_vmap(axes, first, second, form):
    arrays = random(0, *first), random(1, *second)
    ours = jax.jit(jax.vmap(partial(einsum, "bnc,bcf->bnf"), axes))(*arrays)
    expected = jax.vmap(partial(jnp.einsum, "bnc,bcf->bnf"), axes)(*arrays)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


X, W = random(0, 8, 5, 16), random(1, 16, 16)


def twice(x, w, form=einsum):
    for _ in range(2):
        x = jnp.sin(form("bnc,cf->bnf", x, w))
    return x


native = partial(twice, form=jnp.einsum)


def test_derivatives_of_second_order(form):
    def hessian_product(function):
        gradient = jax.grad(lambda w: function(X, w).sum())
        return jax.jit(lambda: jax.jvp(gradient, (W,), (W,)))()

    for ours, expected in zip(hessian_product(twice), hessian_product(native), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4)


def test_on_several_devices(form):
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    spec = PartitionSpec("data")
    sharded = jax.shard_map(twice, mesh=mesh, in_specs=(spec, PartitionSpec()), out_specs=spec)
    np.testing.assert_allclose(jax.jit(sharded)(X, W), native(X, W), rtol=1e-4, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda w: sharded(X, w).sum()))(W)
    expected = jax.grad(lambda w: native(X, w).sum())(W)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)
    split = jax.device_put(
        X, NamedSharding(mesh, spec)
    )  # by the compiler, which knows only its own
    compiled = jax.jit(twice).lower(split, W).compile()
    assert extension.ONEDNN not in compiled.as_text()
    np.testing.assert_allclose(compiled(split, W), native(X, W), rtol=1e-4, atol=1e-5)
