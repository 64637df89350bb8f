"""Distillation: a network learns what another one, its teacher, says of the same images."""

import jax
import jax.numpy as jnp
import optax

KINDS = ("soft", "soft_deit", "hard")


def soft_distillation(
    logits: jax.Array, teacher: jax.Array, *, temperature: float = 1.0
) -> jax.Array:
    """Divergence of the student's from the teacher's probabilities, times the temperature squared.

    Source: Hinton et al. 2015, arXiv:1503.02531, section 2. Its gradient is that of the cross
    entropy with the teacher's probabilities.

    Args:
      logits, teacher: [B, K], of the student and of the teacher.
      temperature: above 0, by which both logits are divided.

    Returns:
      float [B].
    """
    student = jax.nn.log_softmax(logits / temperature)
    teacher = jax.nn.log_softmax(teacher / temperature)
    return temperature**2 * optax.losses.kl_divergence_with_log_targets(student, teacher)


def distill(
    base: jax.Array,
    logits: jax.Array,
    teacher: jax.Array,
    *,
    kind: str = "soft",
    alpha: float = 0.5,
    temperature: float = 1.0,
) -> jax.Array:
    """The loss of a student: (1 - alpha) times that of the labels and alpha times the teacher's.

    Source: Touvron et al. 2020, arXiv:2012.12877, section 4, and Hinton et al. 2015.

    Args:
      base: float [B], the loss of the labels; of DeiT's distilled networks that of the class head.
      logits: [B, K], of the student; of DeiT's distilled networks those of the distillation head.
      teacher: [B, K], the teacher's logits.
      kind: "soft" is `soft_distillation`; "soft_deit" the same divided by the number of classes, as
        in DeiT's code; "hard" the cross entropy with the teacher's decision.
      alpha: in [0, 1].
      temperature: above 0, of both kinds of soft distillation.

    Returns:
      float [B].

    Raises:
      ValueError: the kind is none of these.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not known: choose {', '.join(KINDS)}.")
    teacher = jax.lax.stop_gradient(teacher)
    if kind == "hard":
        decided = jnp.argmax(teacher, axis=-1)
        taught = optax.softmax_cross_entropy_with_integer_labels(logits, decided)
    else:
        taught = soft_distillation(logits, teacher, temperature=temperature)
        taught = taught / logits.shape[-1] if kind == "soft_deit" else taught
    return (1 - alpha) * base + alpha * taught
