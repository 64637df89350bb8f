"""StableHLO: the artifacts of `jax.export`, which need JAX alone and no zoo."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import jax

from zoo.export.graph import ExportError
from zoo.export.program import Program
from zoo.kernels import platform
from zoo.weights.files import write_bytes

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def write(path: Path, program: Program, platforms: Sequence[str] = ("cpu", "cuda", "tpu")) -> None:
    """Writes a program for any batch size, and what has to be known about it as PATH.json.

        exported = jax.export.deserialize(pathlib.Path(PATH).read_bytes())
        logits = exported.call(images)

    Raises:
      ExportError: The package flatbuffers is missing.
      ValueError: There is no such platform.
      OSError: The file cannot be written.
    """
    if not importlib.util.find_spec("flatbuffers"):  # which `serialize` needs
        raise ExportError("StableHLO is written with flatbuffers: pip install flatbuffers.")
    if unknown := sorted(set(platforms) - set(PLATFORMS)):
        raise ValueError(
            f"There is no platform {', '.join(map(repr, unknown))}: {', '.join(PLATFORMS)}."
        )
    (batch,) = jax.export.symbolic_shape("batch")
    with platform.tracing(platform.PORTABLE):  # for each platform its own form of an operation
        exported = jax.export.export(jax.jit(program.function), platforms=tuple(platforms))(
            program.images(batch)
        )
    write_bytes(path, exported.serialize())
    facts = json.dumps(program.facts | {"platforms": list(platforms)}, indent=2)
    write_bytes(path.with_name(path.name + ".json"), facts.encode())
