"""Random forms of the colour operations: (key, images, ...) -> images, each image its own draw.

`key` is one key or keys [B]; images are uint8 [B, H, W, C]. Ranges and defaults are torchvision's.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from input_pipeline.augment import color, filters, histogram
from input_pipeline.augment.combine import fold_in, image_keys, random_apply, switch, uniform
from input_pipeline.augment.noise import normal_noise
from input_pipeline.augment.pixels import rounded

Range = float | Sequence[float]


def color_jitter(
    key: jax.Array,
    images: jax.Array,
    brightness: Range = 0.0,
    contrast: Range = 0.0,
    saturation: Range = 0.0,
    hue: Range = 0.0,
    backend: str = "tensor",
) -> jax.Array:
    """Changes brightness, contrast, saturation and hue in random order by random factors.

    Args:
      key, images: as above.
      brightness, contrast, saturation: factors are uniform in [max(0, 1 - x), 1 + x], or in the
        given pair; 0 leaves it out.
      hue: turns are uniform in [-x, x], or in the given pair.
      backend: "tensor" or "pillow".
    """
    adjust = {
        "brightness": lambda images, factor: color.adjust_brightness(images, factor),
        "contrast": lambda images, factor: color.adjust_contrast(images, factor, backend),
        "saturation": lambda images, factor: color.adjust_saturation(images, factor, backend),
        "hue": lambda images, turns: color.adjust_hue(images, turns, backend),
    }
    given = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    ranges = {name: value for name, value in given.items() if value}
    if not ranges:
        return images
    keys, count = image_keys(key, images.shape[0]), len(ranges)
    order = jax.vmap(lambda key: jax.random.permutation(key, count))(fold_in(keys, 0))
    low, high = jnp.asarray([_ends(name, value) for name, value in ranges.items()]).T
    factors = jax.vmap(lambda key: jax.random.uniform(key, (count,)))(fold_in(keys, 1))
    factors = low[None] + factors * (high - low)[None]
    in_order = jnp.take_along_axis(factors, order, axis=1)
    if count == 1:
        return adjust[next(iter(ranges))](images, factors[:, 0])
    return switch(order, [adjust[name] for name in ranges], images, in_order)


def _ends(name: str, value: Range) -> tuple[float, float]:
    if isinstance(value, int | float):
        return (-value, value) if name == "hue" else (max(0.0, 1.0 - value), 1.0 + value)
    return value[0], value[1]


def random_photometric_distort(
    key: jax.Array,
    images: jax.Array,
    brightness: Sequence[float] = (0.875, 1.125),
    contrast: Sequence[float] = (0.5, 1.5),
    saturation: Sequence[float] = (0.5, 1.5),
    hue: Sequence[float] = (-0.05, 0.05),
    p: float = 0.5,
) -> jax.Array:
    """SSD's distortion: each adjustment with probability `p`, contrast first or last; then, with
    probability `p`, the channels are permuted.

    Args:
      key, images: as above; images have 3 channels.
      brightness, contrast, saturation, hue: pairs between which the factors are uniform.
      p: probability of each.
    """
    keys = image_keys(key, images.shape[0])
    # In a row: brightness, contrast or not, saturation, hue, contrast or not.
    branches = [
        lambda images, factor: images,
        color.adjust_brightness,
        color.adjust_contrast,
        color.adjust_saturation,
        color.adjust_hue,
    ]
    places = ((1, brightness), (2, contrast), (3, saturation), (4, hue), (2, contrast))
    chosen = uniform(fold_in(keys, 0), shape=(5,)) < p
    chosen = chosen.at[:, 4].set(chosen[:, 1])
    first = uniform(fold_in(keys, 1)) < 0.5
    chosen = chosen.at[:, 1].set(chosen[:, 1] & first).at[:, 4].set(chosen[:, 4] & ~first)
    index = jnp.where(chosen, jnp.asarray([number for number, _ in places])[None], 0)
    low, high = jnp.asarray([ends for _, ends in places]).T
    factors = low[None] + uniform(fold_in(keys, 2), shape=(5,)) * (high - low)[None]
    images = switch(index, branches, images, factors)
    return random_apply(random_channel_permutation, p)(fold_in(keys, 3), images)


def random_channel_permutation(key: jax.Array, images: jax.Array) -> jax.Array:
    """Puts the channels of each image into a random order."""
    keys, channels = image_keys(key, images.shape[0]), images.shape[-1]
    order = jax.vmap(lambda key: jax.random.permutation(key, channels))(keys)
    # By comparing: gathering single bytes takes longer.
    result = jnp.zeros_like(images)
    for source in range(channels):
        chosen = (order == source)[:, None, None]
        result = jnp.where(chosen, images[..., source : source + 1], result)
    return result


def random_grayscale(
    key: jax.Array, images: jax.Array, p: float = 0.1, backend: str = "tensor"
) -> jax.Array:
    """Makes each image grey with probability `p`; the number of channels stays."""
    channels = images.shape[-1]
    return _maybe(key, images, p, lambda images: color.rgb_to_grayscale(images, channels, backend))


def random_invert(key: jax.Array, images: jax.Array, p: float = 0.5) -> jax.Array:
    """Inverts each image with probability `p`."""
    return _maybe(key, images, p, color.invert)


def random_posterize(key: jax.Array, images: jax.Array, bits: int, p: float = 0.5) -> jax.Array:
    """Keeps the upper `bits` of each image's values with probability `p`."""
    return _maybe(key, images, p, lambda images: color.posterize(images, bits))


def random_solarize(
    key: jax.Array, images: jax.Array, threshold: float, p: float = 0.5
) -> jax.Array:
    """Inverts each image's values from `threshold` on with probability `p`."""
    return _maybe(key, images, p, lambda images: color.solarize(images, threshold))


def random_adjust_sharpness(
    key: jax.Array, images: jax.Array, sharpness_factor: float, p: float = 0.5
) -> jax.Array:
    """Adjusts the sharpness of each image with probability `p`."""
    return _maybe(key, images, p, lambda x: filters.adjust_sharpness(x, sharpness_factor))


def random_autocontrast(key: jax.Array, images: jax.Array, p: float = 0.5) -> jax.Array:
    """Stretches the contrast of each image with probability `p`."""
    return _maybe(key, images, p, histogram.autocontrast)


def random_equalize(key: jax.Array, images: jax.Array, p: float = 0.5) -> jax.Array:
    """Equalizes the histograms of each image with probability `p`."""
    return _maybe(key, images, p, histogram.equalize)


def random_gaussian_blur(
    key: jax.Array,
    images: jax.Array,
    kernel_size: int | Sequence[int],
    sigma: Sequence[float] = (0.1, 2.0),
) -> jax.Array:
    """Blurs each image by a Gaussian whose sigma is uniform between the two given."""
    keys = image_keys(key, images.shape[0])
    return filters.gaussian_blur(images, kernel_size, uniform(keys, sigma[0], sigma[1]))


def gaussian_noise(
    key: jax.Array, images: jax.Array, mean: float = 0.0, sigma: float = 0.1
) -> jax.Array:
    """Adds normal noise to each value; `mean` and `sigma` are on the scale 0 to 1."""
    noise = normal_noise(image_keys(key, images.shape[0]), images.shape[1:])
    return rounded(images.astype(jnp.float32) + 255 * (mean + sigma * noise))


def _maybe(
    key: jax.Array, images: jax.Array, p: float, operation: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    if p >= 1:
        return operation(images)
    return random_apply(lambda key, images: operation(images), p)(key, images)
