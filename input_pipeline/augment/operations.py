"""Operations by name, for policies: one of a list for each image, each with one argument.

Names and arguments are neutral: policies turn the magnitudes of their papers into them.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from input_pipeline.augment import color, filters, histogram
from input_pipeline.augment.combine import switch
from input_pipeline.augment.geometry import affine_matrix, transform
from input_pipeline.augment.pixels import Fill

Operation = Callable[[jax.Array, jax.Array], jax.Array]

BLUR_WINDOW = 23  # pixels, of the tensor backend's blur: SimCLR's at 224 pixels

# The affine operations, and on which axes their sources lie between pixels.
AFFINE = {"shear_x": "x", "shear_y": "y", "translate_x": "x", "translate_y": "y", "rotate": "xy"}


def _operations(backend: str) -> dict[str, Operation]:
    """The operations that are not affine, in a backend's convention."""

    def blur(images: jax.Array, argument: jax.Array) -> jax.Array:
        if backend == "pillow":
            return filters.pillow_gaussian_blur(images, argument)
        return filters.gaussian_blur(images, BLUR_WINDOW, argument)

    return {
        "identity": lambda images, argument: images,
        "brightness": color.adjust_brightness,
        "contrast": lambda images, a: color.adjust_contrast(images, a, backend),
        "saturation": lambda images, a: color.adjust_saturation(images, a, backend),
        "sharpness": filters.adjust_sharpness,
        "posterize": color.posterize,
        "solarize": color.solarize,
        "solarize_add": color.solarize_add,
        "autocontrast": lambda images, argument: histogram.autocontrast(images),
        "equalize": lambda images, argument: histogram.equalize(images),
        "invert": lambda images, argument: color.invert(images),
        "grayscale": lambda images, argument: color.rgb_to_grayscale(
            images, images.shape[-1], backend
        ),
        "hue": lambda images, a: color.adjust_hue(images, a, backend),
        "gamma": color.adjust_gamma,
        "gaussian_blur": blur,
    }


OPS = (*AFFINE, *_operations("tensor"))


def apply_ops(
    images: jax.Array,
    index: jax.Array,
    argument: jax.Array,
    *,
    ops: Sequence[str | Operation],
    fill: Fill = None,
    interpolation: str = "nearest",
    backend: str = "tensor",
) -> jax.Array:
    """Applies to each image one operation of a list, or several: on CPU no others are computed.

    | name | argument |
    | --- | --- |
    | shear_x, shear_y | tangent: the source is x + argument * y, from the top left corner |
    | translate_x, translate_y | pixels by which the content moves right, down |
    | rotate | degrees, counter-clockwise about the centre |
    | brightness, contrast, saturation, sharpness | factor; 1 leaves the image |
    | posterize | bits that are kept, 0 to 8 |
    | solarize | values from it on are inverted, 0 to 256 |
    | solarize_add | is added to values below 128 |
    | hue, gamma | turns, exponent |
    | gaussian_blur | standard deviation in pixels; "tensor": in a window of 23, "pillow": up to 2 |
    | identity, autocontrast, equalize, invert, grayscale | none |

    Args:
      images: uint8 [B, H, W, C].
      index: int [B], which of `ops`, or [B, K] for K operations one after the other; clipped.
      argument: float [B] or [B, K], the arguments of those operations.
      ops: names as above, also "rotate:bicubic" for an interpolation of its own; or functions
        (images [b, H, W, C], argument [b]) -> uint8 [b, H, W, C].
      fill: what affine operations place outside of the image: None (zero), a number, or one for
        each channel.
      interpolation: of affine operations: "nearest", "bilinear" or (Pillow) "bicubic".
      backend: "tensor" or "pillow", whose convention is followed.

    Returns:
      uint8 [B, H, W, C].

    Raises:
      ValueError: there is no operation of that name.

    Example:
      >>> augment.apply_ops(images, jnp.array([0, 1]), jnp.array([30.0, 4.0]),
      ...                   ops=("rotate", "posterize"), interpolation="bilinear")
    """
    others = _operations(backend)
    branches: list[Callable[..., jax.Array]] = []
    affine: dict[tuple[str, str], int] = {}  # branches of resampling, which operations share
    of_op: list[int] = []
    kinds: list[int] = []  # which of AFFINE, for the matrix
    for op in ops:
        name, _, own = op.partition(":") if isinstance(op, str) else ("", "", "")
        kinds.append(list(AFFINE).index(name) if name in AFFINE else 0)
        if name in AFFINE:
            kind = own or interpolation
            way = kind, "xy" if kind == "nearest" else AFFINE[name]
            if way not in affine:
                affine[way] = len(branches)
                branches.append(_resampled(*way, fill, backend))
            of_op.append(affine[way])
            continue
        if isinstance(op, str) and name not in others:
            raise ValueError(f"There is no operation {op!r}: choose of {', '.join(OPS)}.")
        of_op.append(len(branches))
        branches.append(_with_argument(others[name] if isinstance(op, str) else op))
    index = jnp.clip(index, 0, len(ops) - 1)
    return switch(jnp.asarray(of_op)[index], branches, images, argument, jnp.asarray(kinds)[index])


def matrices(kind: jax.Array, argument: jax.Array, height: int, width: int) -> jax.Array:
    """From the positions of the result to the source: float32 [B, 2, 3].

    Args:
      kind: int [B], which of `AFFINE`.
      argument: [B], see `apply_ops`.
    """
    argument = argument.astype(jnp.float32)
    zero, one = jnp.zeros_like(argument), jnp.ones_like(argument)
    rotation = affine_matrix(-argument)
    # Shears leave the top left corner where it is, positions are measured from the centre.
    rows = [
        (one, argument, argument * (height / 2), zero, one, zero),
        (one, zero, zero, argument, one, argument * (width / 2)),
        (one, zero, -argument, zero, one, zero),
        (one, zero, zero, zero, one, -argument),
    ]
    choices = [jnp.stack(row, -1).reshape(-1, 2, 3) for row in rows] + [rotation]
    return jnp.choose(kind.reshape(-1, 1, 1), choices, mode="clip")


def _resampled(
    interpolation: str, between: str, fill: Fill, backend: str
) -> Callable[..., jax.Array]:
    def branch(images: jax.Array, argument: jax.Array, kind: jax.Array) -> jax.Array:
        matrix = matrices(kind, argument, *images.shape[1:3])
        return transform(images, matrix, interpolation, fill, backend, between=between)

    return branch


def _with_argument(operation: Operation) -> Callable[..., jax.Array]:
    return lambda images, argument, kind: operation(images, argument)


# timm's name: ours, and our argument from timm's and the image's height and width.
_TimmArgument = Callable[[ArrayLike, int, int], ArrayLike]


def _same(argument: ArrayLike, height: int, width: int) -> ArrayLike:
    return argument


TIMM_OPS: dict[str, tuple[str, _TimmArgument]] = {
    "AutoContrast": ("autocontrast", _same),
    "Equalize": ("equalize", _same),
    "Invert": ("invert", _same),
    "Rotate": ("rotate", _same),
    "Solarize": ("solarize", _same),
    "SolarizeIncreasing": ("solarize", _same),
    "SolarizeAdd": ("solarize_add", _same),
    "Desaturate": ("saturation", lambda a, h, w: 1 - jnp.asarray(a)),
    "GaussianBlur": ("gaussian_blur", _same),
    "GaussianBlurRand": ("gaussian_blur", _same),
    "ShearX": ("shear_x", _same),
    "ShearY": ("shear_y", _same),
    "TranslateX": ("translate_x", lambda a, h, w: -jnp.asarray(a)),
    "TranslateY": ("translate_y", lambda a, h, w: -jnp.asarray(a)),
    "TranslateXRel": ("translate_x", lambda a, h, w: -jnp.asarray(a) * w),
    "TranslateYRel": ("translate_y", lambda a, h, w: -jnp.asarray(a) * h),
    **{f"Posterize{kind}": ("posterize", _same) for kind in ("", "Increasing", "Original")},
    **{
        f"{name}{kind}": (ours, _same)
        for name, ours in (
            ("Color", "saturation"),
            ("Contrast", "contrast"),
            ("Brightness", "brightness"),
            ("Sharpness", "sharpness"),
        )
        for kind in ("", "Increasing")
    },
}


def timm_op(
    images: jax.Array,
    name: str,
    argument: ArrayLike | None,
    *,
    interpolation: str = "bilinear",
    fill: Fill = None,
) -> jax.Array:
    """An operation by timm's name, at an argument as timm's tables give it; Pillow's convention.

    Args:
      images: uint8 [B, H, W, C].
      name: one of `TIMM_OPS`.
      argument: a number or [B]; None where the operation takes none.
      interpolation: of geometric operations: "bilinear" or "bicubic".
      fill: None (zero), a number, or one for each channel; timm's is (124, 116, 104).

    Returns:
      uint8 [B, H, W, C].

    Raises:
      ValueError: there is no operation of that name.
    """
    if name not in TIMM_OPS:
        raise ValueError(f"There is no operation {name!r}: choose of {', '.join(TIMM_OPS)}.")
    ours, convert = TIMM_OPS[name]
    batch, height, width, _ = images.shape
    value = convert(0.0 if argument is None else argument, height, width)
    return apply_ops(
        images,
        jnp.zeros(batch, jnp.int32),
        jnp.broadcast_to(jnp.asarray(value, jnp.float32), (batch,)),
        ops=(ours,),
        fill=fill,
        interpolation=interpolation,
        backend="pillow",
    )
