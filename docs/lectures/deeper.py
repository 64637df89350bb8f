"""Computes the chapter on Inception, residual networks, and what came after."""

import csv
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import configs.inception_v3
import configs.resnet50
import zoo
from zoo import counts, macs, registry, summary
from zoo.depth import depth
from zoo.layers.conv import Conv
from zoo.look import charts
from zoo.models.efficientnet import compound_scaling
from zoo.models.googlenet import STAGES, ConvRelu, Inception
from zoo.tables import Column, Group, render


def total(name: str, **overrides: Any) -> int:
    """The number of parameters of a model."""
    variables = registry.abstract_variables(name, **overrides)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def operations(name: str) -> int:
    return sum(layer.macs for layer in summary.layers(name))


def layers_of(name: str, *, poolings: bool = False, **overrides: Any) -> int:
    """The number of layers with weights on the longest way through a model."""
    info = zoo.info(name)
    shape = (1, info.image_size, info.image_size, info.channels)
    variables = registry.abstract_variables(name, **overrides)
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    return depth(zoo.create(name, **overrides).apply, variables, image, poolings=poolings)


def module(features: tuple[int, ...], channels: int, naive: bool = False) -> tuple[Any, int]:
    """The shape of an Inception module's output at 28x28, and its multiply-adds."""
    inception = Inception(features, 5, naive, ConvRelu)
    image = jax.ShapeDtypeStruct((1, 28, 28, channels), jnp.float32)
    output, variables = jax.eval_shape(inception.init_with_output, jax.random.key(0), image)
    return output.shape[1:], macs.count(inception.apply, variables, image)


def inception() -> dict:
    naive = module((128, 0, 192, 0, 96, 0), 256, naive=True)
    narrow = module((128, 64, 192, 64, 96, 64), 256)
    wide = module((128, 128, 192, 64, 96, 64), 256)
    projection = 28 * 28 * 256 * 64  # the 1x1 convolution after pooling
    return {
        "naive_shape": naive[0],
        "naive": naive[1],
        "narrow_shape": narrow[0],
        "bottlenecks": wide[1] - projection,
        "narrow": narrow[1],
        "wide": wide[1],
        "first": module(STAGES[0][0], 192)[0],
        "first_widths": str(list(STAGES[0][0])),
    }


def googlenet() -> dict:
    parameters, alexnet = total("googlenet", auxiliary=False), total("alexnet")
    return {
        "layers": layers_of("googlenet", auxiliary=False),
        "with_pooling": layers_of("googlenet", auxiliary=False, poolings=True),
        "modules": sum(len(stage) for stage in STAGES),
        "parameters": parameters,
        "with_auxiliary": total("googlenet"),
        "fewer": alexnet / parameters,
        "alexnet": alexnet,
        "compute": counts.count("googlenet").macs / counts.count("alexnet").macs,
    }


def factorised() -> dict:
    """Weights of kernels that are taken apart, by those of C channels to C."""
    five, three, line = (_weights(side) for side in ((5, 5), (3, 3), (1, 3)))
    return {
        "two_small": five / (2 * three),
        "one_small": five / three,
        "lines": 100 * (1 - 2 * line / three),
    }


def _weights(side: tuple[int, int], channels: int = 8, features: int = 8, groups: int = 1) -> int:
    image = jax.ShapeDtypeStruct((1, 9, 9, channels), jnp.float32)
    layer = Conv(features, side, use_bias=False, feature_group_count=groups)
    return sum(
        x.size for x in jax.tree.leaves(jax.eval_shape(layer.init, jax.random.key(0), image))
    )


def inception_v3() -> dict:
    """The recipe and the layers of Inception v3."""
    config, found = configs.inception_v3.get_config(), summary.layers("inception_v3")
    lines = ("x".join(map(str, x.kernel_size)) for x in found if 7 in x.kernel_size)
    return {
        "optimizer": "RMSProp" if config.optimizer.name.startswith("rmsprop") else "another",
        "normalisation": ", ".join(sorted({x.kind for x in found if "Norm" in x.kind})),
        "factorised": ", ".join(sorted(set(lines))),
        "smoothing": "smoothed" if config.loss.label_smoothing > 0 else "as they are",
    }


def resnet() -> dict:
    names = {
        18: "resnet18",
        34: "resnet34",
        50: "seresnet50",
        101: "seresnet101",
        152: "seresnet152",
    }
    counted = {layers: counts.count(name) for layers, name in names.items()}
    block = summary.layers("resnet50")
    first = {x.path: x for x in block if x.path.startswith("stage1_block2/conv")}
    widths = [first[f"stage1_block2/conv{number}"].shape[-1] for number in (1, 2, 3)]
    return {
        **{f"depth{layers}": one.depth for layers, one in counted.items()},
        # Before the gates of squeeze-and-excitation these have the paper's strides.
        **{f"macs{layers}": one.macs - one.gate_macs for layers, one in counted.items()},
        "torchvision": counts.count("resnet50").macs,
        "block": "-".join(map(str, (widths[2], *widths))),
    }


def resnet_recipe() -> dict:
    """The settings of configs/resnet50.py."""
    config = configs.resnet50.get_config()
    return {
        "momentum": config.optimizer.options.momentum,
        "learning_rate": config.schedule.learning_rate,
        "batch": config.batch_size,
        "weight_decay": config.optimizer.weight_decay,
        "initialisation": _initialisation(),
    }


def _initialisation() -> str:
    """Whose the spread of ResNet-18's new kernels is: He's is sqrt(2 / n), Xavier's sqrt(1 / n)."""
    model: Any = zoo.create("resnet18")

    @jax.jit
    def new(key: jax.Array) -> jax.Array:
        params = model.init(key, jnp.zeros((1, 32, 32, 3)))["params"]
        return params["stage1_block1"]["conv1"]["kernel"]

    kernel = new(jax.random.key(0))
    factor = float(kernel.var()) * kernel.size / kernel.shape[-1]
    return min({"He": 2, "Xavier": 1}.items(), key=lambda one: abs(one[1] - factor))[0]


def plain() -> dict:
    return {f"plain{n}": counts.count(f"plain{n}_cifar").depth for n in (20, 56)}


def shortcuts() -> dict:
    return {}  # all of it was measured by its authors


fusion = others = shortcuts


def senet(compare) -> str:
    """The table of squeeze-and-excitation with GFLOPs counted here."""
    heads = ("network", "original", "again", "GFLOPs", "here", "", "with gates", "GFLOPs", "here")
    columns = [Column(head) for head in (*heads, "", "remark")]
    with (Path(__file__).parent / "remarks.csv").open(newline="") as file:
        remarks = {row["name"]: row["remark"] for row in csv.DictReader(file)}

    def errors(row: dict[str, str], kind: str) -> str:
        return " / ".join(filter(None, (row[f"{kind}_top{k}_error"] for k in (1, 5))))

    rows = []
    for row in charts.read_rows("senet"):
        found = counts.count(row["model"])
        plain, gated = row["plain_gflops"], row["se_gflops"]
        mark, text = compare(f"{plain} G", found.macs - found.gate_macs)
        mark_gated, text_gated = compare(f"{gated} G", found.macs)
        cells = [row["name"], errors(row, "original"), errors(row, "plain"), plain, text, mark]
        cells += [errors(row, "se"), gated, text_gated, mark_gated, remarks.get(row["name"], "")]
        rows.append(cells)
    return render(columns, [Group("", rows)], "markdown")


def squeezenet() -> dict:
    small, large = total("squeezenet1_0"), total("alexnet")
    return {"fewer": large / small, "alexnet_size": 4 * large, "size": 4 * small}


def separable() -> dict:
    depthwise, pointwise = _weights((3, 3), 3, 3, groups=3), _weights((1, 1), 3, 4)
    return {
        "depthwise": depthwise,
        "pointwise": pointwise,
        "both": depthwise + pointwise,
        "full": _weights((3, 3), 3, 4),
    }


def efficientnet() -> dict:
    model: Any = zoo.create("efficientnet_b0")
    found = summary.trace("efficientnet_b0")
    shapes = {name: shape for name, (shape, _) in found.outputs.items()}
    last = [layer for layer in found.layers if len(layer.shape) == 3][-1].shape
    stages = [shapes["stem"], *(shapes[f"stage{i}"] for i in range(1, 8)), last]
    inside = [zoo.info("efficientnet_b0").image_size, *(shape[0] for shape in stages[:-1])]
    blocks = [
        len({x.path.partition("/")[0] for x in found.layers if x.stage == f"stage{i}"})
        for i in range(1, 8)
    ]
    blocks_of = [f"MBConv{row.expand} {row.kernel}x{row.kernel}" for row in model.stages]
    deeper, wider, size = compound_scaling(1)
    larger = size / compound_scaling(0)[2]
    return {
        "scaling": (deeper, wider, larger),
        "product": deeper * wider**2 * larger**2,
        "resolutions": str(inside),
        "channels": str([shape[2] for shape in stages]),
        "layers": str([1, *blocks, 1]),
        "operators": ", ".join(["Conv 3x3", *blocks_of, "Conv 1x1"]),
    }


def ilsvrc() -> bytes:
    return charts.chart_svg(charts.ilsvrc())


def complexity() -> bytes:
    infos = [zoo.info(name) for name in zoo.list_models()]
    chosen = [info for info in infos if "torchvision" in info.accuracy_source]
    return charts.chart_svg(charts.accuracy(charts.model_rows(chosen)))
