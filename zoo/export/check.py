"""Runs an exported file beside the model that it was made of."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zoo.export.program import Program

TOLERANCE = 1e-5
BATCHES = (1, 2, 3, 4, 5)
Run = Callable[[np.ndarray], np.ndarray]


def differences(path: Path, program: Program, form: str) -> Iterator[tuple[str, float]]:
    """Yields for each runtime its name, and how far its logits are from ours.

    That is the largest absolute difference over random batches of 1 to 5 images, divided by the
    standard deviation of our logits.

    Args:
      path: The file.
      program: What the file holds.
      form: "onnx" or "stablehlo".

    Raises:
      ModuleNotFoundError: No runtime is installed.
    """
    images = program.random_images(sum(BATCHES), seed=0)
    expected = np.asarray(jax.jit(program.function)(images))
    stops = np.cumsum(BATCHES)
    for name, run in (_onnx if form == "onnx" else _stablehlo)(path):
        logits = np.concatenate([run(batch) for batch in np.split(images, stops[:-1])])
        yield name, float(np.abs(logits - expected).max() / expected.std())


def _stablehlo(path: Path) -> Iterator[tuple[str, Run]]:
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    yield f"JAX {jax.__version__}", lambda images: np.asarray(jax.jit(exported.call)(images))


def _onnx(path: Path) -> Iterator[tuple[str, Run]]:
    found = {name: importlib.util.find_spec(name) for name in ("onnxruntime", "openvino")}
    if not any(found.values()):
        raise ModuleNotFoundError(
            "--check runs ONNX files in onnxruntime: pip install 'flax-zoo[onnx]'."
        )
    if found["onnxruntime"]:
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (source,) = session.get_inputs()
        name = f"ONNX Runtime {onnxruntime.__version__}"
        yield name, lambda images: np.asarray(session.run(None, {source.name: images})[0])
    if found["openvino"]:
        openvino = _import_openvino()
        precise = {"INFERENCE_PRECISION_HINT": "f32"}  # it rounds to bfloat16 where that is faster
        compiled = openvino.Core().compile_model(path, "CPU", precise)
        name = f"OpenVINO {openvino.__version__.partition('-')[0]}"
        yield name, lambda images: np.array(compiled(images)[0])


def _import_openvino() -> Any:
    """Imports openvino without its converter, which reports to its makers that it was imported.

    The report goes out from a fork of this process, and JAX warns of forks.
    """
    converter = "openvino.tools.ovc"
    keep_out = converter not in sys.modules
    if keep_out:
        sys.modules[converter] = None  # pyright: ignore[reportArgumentType]
    try:
        import openvino
    finally:
        if keep_out:
            del sys.modules[converter]
    return openvino
