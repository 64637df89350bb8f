"""ONNX files: a model's program in ONNX's operations, float32, for any batch size."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zoo.export import contractions, fuse, gathers, jaxpr, shapes
from zoo.export.graph import BATCH, ExportError, Graph, Value
from zoo.export.primitives import RULES, onnx_dtype
from zoo.export.program import Program, texts
from zoo.kernels import platform
from zoo.weights.files import write_bytes

assert RULES, (contractions, gathers, shapes)  # importing them registers their rules
OPSET, IR_VERSION = 17, 8  # of ONNX 1.12: what servers of the last three years read
INPUT, OUTPUT = "images", "logits"
LARGEST = 2**31 - 2**24  # bytes of weights in a file; protobuf's messages end at 2 GiB


def write(path: Path, program: Program) -> None:
    """Writes a program as ONNX; weights of more than 2 GiB go into PATH.data beside it.

    Raises:
      ExportError: It has an operation that cannot be written (the message names it), or the package
        onnx is missing.
      OSError: The file cannot be written.
    """
    try:
        import onnx
        from onnx.external_data_helper import convert_model_to_external_data
    except ModuleNotFoundError as error:
        raise ExportError(
            "ONNX files are written with the package onnx: pip install 'flax-zoo[onnx]'."
        ) from error

    model = convert(program)
    if sum(sys.getsizeof(tensor.raw_data) for tensor in model.graph.initializer) < LARGEST:
        onnx.checker.check_model(model, full_check=True)
        write_bytes(path, model.SerializeToString())
        return
    # Both files are written and checked beside their places, and then take them.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        written = Path(folder) / path.name
        data = path.name + ".data"
        # By a name of onnx's own first: it refuses ours if the current folder has such a file.
        convert_model_to_external_data(model)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                entry.value = data if entry.key == "location" else entry.value
        onnx.save_model(model, written)
        onnx.checker.check_model(written, full_check=True)
        os.replace(written.with_name(data), path.with_name(data))
        os.replace(written, path)


def convert(program: Program) -> Any:
    """Returns a program as `onnx.ModelProto`; see `write`."""
    from onnx import helper, numpy_helper

    (batch,) = jax.export.symbolic_shape("batch")
    shape = (BATCH, *program.shape)
    graph, images = Graph(INPUT), Value(INPUT, shape, (0, 1, 2, 3), shape)
    with platform.tracing(platform.NATIVE):  # convolutions and products as such
        result = jaxpr.convert(program.function, program.images(batch), graph, images)
    result = graph.ordered(result)
    nodes, constants = fuse.fuse(graph, graph.name(result.tensor), OUTPUT)
    dtype = onnx_dtype(np.dtype(program.dtype))
    proto = helper.make_graph(
        [helper.make_node(n.op, n.inputs, n.outputs, **n.attributes) for n in nodes],
        program.facts["model"],
        [helper.make_tensor_value_info(INPUT, dtype, _sizes(shape))],
        [helper.make_tensor_value_info(OUTPUT, 1, _sizes(result.stored))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="flax-zoo",
    )
    helper.set_model_props(model, texts(program.facts))
    return model


def _sizes(shape: tuple[int, ...]) -> list[int | str]:
    return ["batch" if dim == BATCH else dim for dim in shape]
