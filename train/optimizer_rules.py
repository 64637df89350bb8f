"""Optimizers by the rules of their references, where optax has none or another one.

Each is called as (learning_rate, **options), the learning rate a number or a function of the number
of updates, and gives an `optax.GradientTransformation`. Where "weight_decay" and "mask" are
arguments, the decay is part of the rule; elsewhere it is added to the gradient (L2) by
`train.optimizers.make_optimizer`. The goldens that they equal are in tests/goldens/recipes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from train.freeze import parameter_name
from train.parameters import map_updates, tensor_norm

Mask = Callable[[Any], Any] | None  # from parameters to a tree of bool; None: all


def caffe_sgd(
    learning_rate: optax.ScalarOrSchedule, momentum: float = 0.9, nesterov: bool = False
) -> optax.GradientTransformation:
    """SGD whose learning rate is inside the momentum: v = momentum v + rate g; p = p - v.

    Caffe's, and AlexNet's and He's of 2015. It differs from `sgd` only while the rate changes.
    """
    return optax.chain(
        optax.scale_by_learning_rate(learning_rate), optax.trace(momentum, nesterov=nesterov)
    )


def rmsprop_tf(
    learning_rate: optax.ScalarOrSchedule,
    decay: float = 0.9,
    eps: float = 1e-10,
    momentum: float = 0.0,
) -> optax.GradientTransformation:
    """RMSProp of TensorFlow 1 (timm's `RMSpropTF`), of Inception, MobileNet and EfficientNet.

    The mean of squares starts at 1, `eps` is inside the root, the learning rate inside the
    momentum.
    """
    return optax.rmsprop(
        learning_rate, decay, eps, initial_scale=1.0, eps_in_sqrt=True, momentum=momentum or None
    )


def rmsprop_torch(
    learning_rate: optax.ScalarOrSchedule,
    decay: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
) -> optax.GradientTransformation:
    """RMSProp of PyTorch, of torchvision's MobileNetV3.

    The mean of squares starts at 0, `eps` is outside of the root, the learning rate outside of the
    momentum. PyTorch calls `decay` alpha.
    """
    scale = optax.scale_by_stddev if centered else optax.scale_by_rms
    return optax.chain(
        scale(decay, eps, eps_in_sqrt=False),
        optax.trace(momentum) if momentum else optax.identity(),
        optax.scale_by_learning_rate(learning_rate),
    )


def adagrad(
    learning_rate: optax.ScalarOrSchedule,
    initial_accumulator_value: float = 0.1,
    eps: float = 1e-7,
) -> optax.GradientTransformation:
    """Adagrad of PyTorch (Duchi et al. 2011): p -= rate g / (sqrt(sum of squares of g) + eps).

    `optax.adagrad`, whose eps is inside the root, is "optax:adagrad".

    Args:
      learning_rate: a number or a schedule.
      initial_accumulator_value: what the sum of squares begins with; optax's default, PyTorch's
        is 0.
      eps: outside of the root.
    """

    def init(params) -> optax.ScaleByRssState:
        start = jax.tree.map(lambda p: jnp.full_like(p, initial_accumulator_value), params)
        return optax.ScaleByRssState(sum_of_squares=start)

    def update(gradients, state: optax.ScaleByRssState, params=None):
        del params
        sums = jax.tree.map(lambda total, g: total + g**2, state.sum_of_squares, gradients)
        directions = jax.tree.map(lambda g, total: g / (jnp.sqrt(total) + eps), gradients, sums)
        return directions, optax.ScaleByRssState(sum_of_squares=sums)

    return optax.chain(
        optax.GradientTransformation(init, cast(optax.TransformUpdateFn, update)),
        optax.scale_by_learning_rate(learning_rate),
    )


class NadamState(NamedTuple):
    """Moments of the gradients, the number of updates, and the product of momenta so far."""

    count: jax.Array
    mu: optax.Updates
    nu: optax.Updates
    product: jax.Array


def nadam(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    momentum_decay: float = 0.004,
) -> optax.GradientTransformation:
    """NAdam of PyTorch, whose momentum grows: b1 (1 - 0.96 ** (t momentum_decay) / 2) at step t.

    The schedule is that of Dozat 2016; `optax.nadam`, which has none, is "optax:nadam".
    """

    def momentum(step) -> jax.Array:
        return b1 * (1 - 0.5 * 0.96 ** (step * momentum_decay))

    def init(params) -> NadamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        product = jnp.ones([], jnp.result_type(float))
        return NadamState(jnp.zeros([], jnp.int32), zeros, zeros, product)

    def update(gradients, state: NadamState, params=None):
        del params
        step = (state.count + 1).astype(state.product.dtype)
        now, following = momentum(step), momentum(step + 1)
        product = state.product * now
        mu = optax.tree.update_moment(gradients, state.mu, b1, 1)
        nu = optax.tree.update_moment(gradients, state.nu, b2, 2)

        def direction(g, m, v):
            ahead = (1 - now) / (1 - product) * g + following / (1 - product * following) * m
            return (ahead / (jnp.sqrt(v / (1 - b2**step)) + eps)).astype(g.dtype)

        directions = jax.tree.map(direction, gradients, mu, nu)
        return directions, NadamState(state.count + 1, mu, nu, product)

    return optax.chain(
        optax.GradientTransformation(init, cast(optax.TransformUpdateFn, update)),
        optax.scale_by_learning_rate(learning_rate),
    )


def lamb(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    mask: Mask = None,
    trust_clip: bool = False,
    always_adapt: bool = False,
) -> optax.GradientTransformation:
    """LAMB of timm, of DeiT III and of "ResNet strikes back".

    Parameters without weight decay have no trust ratio: their update is Adam's. timm clips the norm
    of all gradients at 1, which is `optimizer.clip_norm` here. `optax.lamb`, whose trust ratio
    applies to all parameters, is "optax:lamb".

    Args:
      learning_rate: a number or a schedule.
      b1, b2, eps: as Adam's.
      weight_decay: added to the direction before its norm is taken.
      mask: which parameters decay.
      trust_clip: whether trust ratios are at most 1 (LAMBC).
      always_adapt: whether parameters without decay have a trust ratio too.
    """

    def adapt(name, update, param):
        norm, update_norm = tensor_norm(name, param), tensor_norm(name, update)
        ratio = jnp.where((norm > 0) & (update_norm > 0), norm / update_norm, 1.0)
        return update * (jnp.minimum(ratio, 1.0) if trust_clip else ratio)

    return optax.chain(
        optax.scale_by_adam(b1, b2, eps),
        optax.add_decayed_weights(weight_decay, mask),
        optax.masked(map_updates(adapt), _adapted(weight_decay, mask, always_adapt)),
        optax.scale_by_learning_rate(learning_rate),
    )


def lars(
    learning_rate: optax.ScalarOrSchedule,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    mask: Mask = None,
    trust_coefficient: float = 0.001,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """LARS of timm (You et al. 2017): SGD on gradients that are scaled by a trust ratio.

    The ratio is trust_coefficient |p| / (|g| + weight_decay |p| + eps). Parameters without weight
    decay have none: their update is that of SGD. `optax.lars` is "optax:lars".

    Args:
      learning_rate: a number or a schedule; it multiplies the momentum from outside.
      momentum, nesterov: as those of SGD.
      weight_decay: added to the gradient after the trust ratio is taken.
      mask: which parameters decay.
      trust_coefficient, eps: of the trust ratio.
    """

    def adapt(name, gradient, param):
        norm, gradient_norm = tensor_norm(name, param), tensor_norm(name, gradient)
        ratio = trust_coefficient * norm / (gradient_norm + weight_decay * norm + eps)
        ratio = jnp.where((norm > 0) & (gradient_norm > 0), ratio, 1.0)
        return (gradient + weight_decay * param) * ratio

    return optax.chain(
        optax.masked(map_updates(adapt), _adapted(weight_decay, mask)),
        optax.trace(momentum, nesterov) if momentum else optax.identity(),
        optax.scale_by_learning_rate(learning_rate),
    )


def novograd(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.95,
    b2: float = 0.98,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    mask: Mask = None,
    grad_averaging: bool = False,
) -> optax.GradientTransformation:
    """NovoGrad of NVIDIA (timm's `NvNovoGrad`): momentum on gradients over their running norms.

    The first running norm is that of the first gradient. `optax.novograd`, which has no mask and no
    averaging of gradients, is "optax:novograd".

    Args:
      learning_rate: a number or a schedule.
      b1: momentum.
      b2: decay of the mean of the squared norm of each parameter's gradient.
      eps: added to the norm.
      weight_decay: added to the normalized gradient.
      mask: which parameters decay.
      grad_averaging: whether new directions count 1 - b1 in the momentum instead of 1.
    """

    def squared_norm(path, gradient):
        return tensor_norm(parameter_name(path), gradient) ** 2

    def init(params):
        return jax.tree_util.tree_map_with_path(
            lambda path, param: jnp.zeros_like(squared_norm(path, param)), params
        )

    def update(gradients, norms, params=None):
        del params
        new = jax.tree_util.tree_map_with_path(squared_norm, gradients)
        norms = jax.tree.map(
            lambda old, new: jnp.where(old == 0, new, b2 * old + (1 - b2) * new), norms, new
        )
        return jax.tree.map(lambda g, norm: g / (jnp.sqrt(norm) + eps), gradients, norms), norms

    return optax.chain(
        optax.GradientTransformation(init, cast(optax.TransformUpdateFn, update)),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale(1 - b1 if grad_averaging else 1.0),
        optax.trace(b1),
        optax.scale_by_learning_rate(learning_rate),
    )


def _adapted(weight_decay: float, mask: Mask, always: bool = False) -> Callable[[Any], Any]:
    """Which parameters have a trust ratio: those that decay, or all."""

    def adapted(params):
        if mask and weight_decay and not always:
            return mask(params)
        return jax.tree.map(lambda _: always or weight_decay != 0, params)

    return adapted
