"""Arrays of a file as the variables of a model, compared with it before anything large is made."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from zoo import registry
from zoo.weights.adapt import resample


def fit(
    name: str,
    arrays: Mapping[str, np.ndarray],
    image_size: int,
    channels: int,
    overrides: Mapping[str, Any],
    changes: Mapping[str, Any],
) -> tuple[nn.Module, dict[str, Any]]:
    """Returns a model and its variables from arrays by their paths in the zoo.

    Args:
      name: Name of a registered model.
      arrays: The arrays of a file, perhaps for another image size.
      image_size: Side of the images in pixels.
      channels: Number of channels of the images.
      overrides: Attributes of the model, as the file says; nothing about them is believed.
      changes: Attributes that the caller asks for instead. `num_classes=0` leaves the classifier
        out.

    Raises:
      ValueError: The arrays are not those of the model.
    """
    with bounded(overrides, arrays):
        shapes = shapes_of(name, image_size, channels, {**overrides, **changes})
        if changes.get("num_classes") == 0:
            classifier = shapes_of(name, image_size, channels, overrides).keys() - shapes.keys()
            arrays = {path: array for path, array in arrays.items() if path not in classifier}
    fitted = {
        path: resample(name, path, array, shapes[path].shape) if path in shapes else array
        for path, array in arrays.items()
    }
    _compare(shapes, fitted)
    model = registry.create(name, **{**overrides, **changes})
    return model, traverse_util.unflatten_dict(fitted, sep="/")


@contextlib.contextmanager
def bounded(overrides: Mapping[str, Any], arrays: Mapping[str, Any]) -> Iterator[None]:
    """Stops the making of a model that is much larger than what a file holds.

    A forged file can ask for a billion layers, whose shapes alone take for ever. Numbers in the
    options are widths and depths, so each is at most as large as the longest axis or the number
    of arrays, if these are not small. And each array is of a module: the zoo's models call up to
    2.5 modules for each of theirs.

    Raises:
      ValueError: At once where an option is larger, and from within where a model calls too many
        modules.
    """
    shapes = [array.shape for array in arrays.values() if getattr(array, "size", 0)]
    limit = max([4096, len(shapes), *(length for shape in shapes for length in shape)])
    numbers = list(_numbers(overrides))
    if not all(abs(number) <= limit for number in numbers) or sum(map(abs, numbers)) > 8 * limit:
        raise ValueError(f"its options {dict(overrides)} ask for more than it holds"[:300])
    left = 5 * len(shapes) + 50

    def count(call, args, kwargs, _):
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"the model that it names has many more layers than its {len(shapes)}")
        return call(*args, **kwargs)

    with nn.intercept_methods(count):
        yield


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield value


def changed_attributes(model: nn.Module, name: str) -> dict[str, Any]:
    """Returns the attributes in which a module differs from the model as it is registered."""
    default = registry.create(name)
    names = [field.name for field in dataclasses.fields(default)]
    values = {key: getattr(model, key) for key in names if key not in ("parent", "name")}
    return {key: value for key, value in values.items() if value != getattr(default, key)}


def check_variables(
    name: str, variables: Mapping[str, Any], image_size: int, channels: int, overrides: Mapping
) -> None:
    """Raises ValueError unless these are variables of the model for images of this size."""
    shapes = shapes_of(name, image_size, channels, overrides)
    try:
        _compare(shapes, traverse_util.flatten_dict(variables, sep="/"))
    except ValueError as error:
        raise ValueError(
            f"These are not the variables of {name} for images of {image_size} pixels with "
            f"{channels} channels: {error}. For others, pass info=dataclasses.replace("
            "zoo.info(name), image_size=...), and the attributes of the model."
        ) from None


def shapes_of(name: str, image_size: int, channels: int, overrides: Mapping) -> dict[str, Any]:
    """Returns the shapes and dtypes of a model's variables by path."""
    model = registry.create(name, **overrides)
    image = jax.ShapeDtypeStruct((1, image_size, image_size, channels), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    return traverse_util.flatten_dict(shapes, sep="/")


def _compare(shapes: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Raises ValueError unless the arrays have the model's paths, shapes and dtypes."""

    def describe(array) -> str:
        return f"{array.dtype}{list(array.shape)}"

    expected = {path: describe(shape) for path, shape in shapes.items()}
    found = {path: describe(array) for path, array in arrays.items()}
    different = [path for path in expected | found if expected.get(path) != found.get(path)]
    if different:
        path = sorted(different)[0]
        raise ValueError(
            f"{len(different)} of its arrays do not fit the model, first {path}: the model has "
            f"{expected.get(path, 'nothing')}, the file has {found.get(path, 'nothing')}"
        )
