"""What is counted in models, fresh or from the table of the package, which takes no time.

`python docs/tools/counts.py` writes the table anew.
"""

import csv
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from zoo import macs, registry
from zoo.depth import depth_of
from zoo.kernels import platform

TABLE = Path(__file__).parent / "data" / "counts.csv"
_GATES = {"se", "squeeze_excite"}  # names of squeeze-and-excitation


class Counts(NamedTuple):
    """What is counted in a model.

    Attributes:
      params: Number of trainable parameters.
      macs: Number of multiply-adds for one image.
      gate_macs: Those of squeeze-and-excitation among them.
      depth: Number of layers with weights on the longest way, see `zoo.depth`.
    """

    params: int
    macs: int
    gate_macs: int
    depth: int


def count(name: str, image_size: int | None = None) -> Counts:
    """Counts a model, which takes some seconds for the deepest; nothing is computed.

    Args:
      name: Name of a registered model.
      image_size: Side of the square images in pixels; by default the model's own.

    Raises:
      ValueError: There is no such model, or it takes no images of this size.
    """
    model, info = registry.create(name), registry.info(name)
    variables = registry.abstract_variables(name, image_size)
    size = image_size or info.image_size
    image = jax.ShapeDtypeStruct((1, size, size, info.channels), jnp.float32)
    with platform.tracing(platform.NATIVE):
        program = jax.make_jaxpr(model.apply)(variables, image).jaxpr
    scopes = macs.of_program(program)
    return Counts(
        params=sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        macs=scopes.total(),
        gate_macs=sum(n for scope, n in scopes.items() if _GATES & {*scope.split("/")}),
        depth=depth_of(program),
    )


def known(name: str, image_size: int | None = None) -> Counts:
    """What `count` returns, for models of the package from its table."""
    entry = registry.lookup(name)
    key = name, image_size or entry.info.image_size
    if entry.module == f"zoo.models.{entry.info.family}" and key in table():
        return table()[key]
    return count(name, image_size)


@functools.cache
def table() -> Mapping[tuple[str, int], Counts]:
    """The table of the package, by model and image size."""
    with TABLE.open(newline="") as file:
        return {
            (row["model"], int(row["image_size"])): Counts(
                *(int(row[key]) for key in Counts._fields)
            )
            for row in csv.DictReader(file)
        }
