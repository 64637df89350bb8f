"""NASNet: networks stacked from two cells that a search found, one that keeps the size, one not.

Learning Transferable Architectures for Scalable Image Recognition, Zoph et al. 2017,
arXiv:1707.07012, Figure 4: NASNet-A (4 @ 1056) and (6 @ 4032). Reference: pretrainedmodels
`nasnetamobile` and timm `nasnetalarge`, ports of networks trained in TensorFlow, hence the padding:
where sides differ, one pixel more at the end.

Scheduled drop path (0.3 in the paper's large network, whose figure is the probability of keeping)
drops results of the operations of a cell, at a rate that grows with the number of the cell and with
the progress of training, from 0 to 1:

    model.apply(variables, images, train=True, progress=step / steps, rngs={"dropout": key})

Differences from the paper, as in the references: no auxiliary classifier. In timm's port average
pooling with strides counts the padding, and so does `nasnet_large`; pretrainedmodels' separable
convolutions with strides crop what they compute, `nasnet_mobile`'s too, so that it does the
reference's work, 0.8 % more than the paper's 564 M.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from zoo.layers import initializers
from zoo.layers.conv import Conv
from zoo.layers.drop_path import DropPath, rule_drop_path_rates
from zoo.layers.head import classify, pool_head_map
from zoo.layers.image_input import takes_images
from zoo.layers.initializers import torch_default
from zoo.layers.pool import average_pool, max_pool
from zoo.registry import Family

conv_init = initializers.variance_scaling(2.0, "fan_in", "truncated_normal")

Operation = int | str  # a number: two separable convolutions with kernels of that size


class CellSpec(NamedTuple):
    """What the search decides about a cell.

    Five combinations each add two states, left and right, after an operation on each. State 0 is
    the output of the last cell, 1 that of the cell before it, 2 and on are the combinations.

    Attributes:
      combinations: Pairs ((left operation, state), (right operation, state)). An operation is
        "identity", "average", "max", or the kernel size of two separable convolutions.
      output: Numbers of the states that are concatenated to the cell's output.
    """

    combinations: tuple[tuple[tuple[Operation, int], tuple[Operation, int]], ...]
    output: tuple[int, ...]


NORMAL = CellSpec(
    (
        ((5, 0), (3, 1)),
        ((5, 1), (3, 1)),
        (("average", 0), ("identity", 1)),
        (("average", 1), ("average", 1)),
        ((3, 0), ("identity", 0)),
    ),
    output=(1, 2, 3, 4, 5, 6),
)
REDUCTION = CellSpec(
    (
        ((5, 0), (7, 1)),
        (("max", 0), (7, 1)),
        (("average", 0), (5, 1)),
        (("identity", 3), ("average", 2)),
        ((3, 2), ("max", 0)),
    ),
    output=(3, 4, 5, 6),
)


class Projection(nn.Module):
    """1x1 convolution and BatchNorm. [B, H, W, C] -> [B, H / strides, W / strides, features]."""

    features: int
    strides: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv(self.features, (1, 1), self.strides, name="conv")(x)
        return self.norm(name="norm")(x)


class StackedSeparableConv(nn.Module):
    """ReLU, separable convolution, BatchNorm, twice; the first has the strides.

    [B, H, W, C] -> [B, H / strides, W / strides, features]. With `crop` the first convolution
    computes a row and a column more, at the start, and drops them again.
    """

    features: int
    kernel_size: int
    strides: int
    crop: bool
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        window = (self.kernel_size, self.kernel_size)
        for i, strides in (1, self.strides), (2, 1):
            extra = strides if self.crop and strides > 1 else 0  # pixels of padding at the start
            pads = lax.padtype_to_pads(x.shape[1:3], window, (strides, strides), "SAME")
            channels, pads = x.shape[-1], [(low + extra, high) for low, high in pads]
            depthwise = partial(self.conv, channels, window, strides, padding=pads)
            x = depthwise(feature_group_count=channels, name=f"depthwise{i}")(nn.relu(x))
            x = self.conv(self.features, (1, 1), name=f"pointwise{i}")(x)
            x = self.norm(name=f"norm{i}")(x[:, 1:, 1:] if extra else x)
        return x


class FactorizedReduction(nn.Module):
    """1x1 convolutions of the even and of the odd pixels, concatenated, and BatchNorm.

    [B, H, W, C] -> [B, H/2, W/2, features], half of the features from either.
    """

    features: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        even = nn.relu(x)
        odd = jnp.pad(even[:, 1:, 1:], ((0, 0), (0, 1), (0, 1), (0, 0)))
        even = self.conv(self.features // 2, (1, 1), name="even")(even[:, ::2, ::2])
        odd = self.conv(self.features // 2, (1, 1), name="odd")(odd[:, ::2, ::2])
        return self.norm(name="norm")(jnp.concatenate([even, odd], axis=-1))


class Cell(nn.Module):
    """x [B, H, W, C] and `previous` -> [B, H / strides, W / strides, len(output) * features].

    `x` is the output of the last cell, `previous` that of the cell before it; where it is larger
    than `x` it is reduced to the size of `x`. The first cell has None, and takes `x` for both.
    Every operation but identities is dropped with probability `drop_path`.
    """

    spec: CellSpec
    features: int
    strides: int
    count_padding: bool
    crop: bool
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    drop_path: float | jax.Array
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array, previous: jax.Array | None) -> jax.Array:
        layers: dict[str, Any] = dict(conv=self.conv, norm=self.norm)
        project = partial(Projection, self.features, 1, **layers)
        if previous is None:
            previous = x
        elif previous.shape[1:3] != x.shape[1:3]:
            previous = FactorizedReduction(self.features, **layers, name="reduce_before")(previous)
        else:
            previous = project(name="project_before")(nn.relu(previous))

        states = [project(name="project")(nn.relu(x)), previous]
        for i, (left, right) in enumerate(self.spec.combinations, 1):
            left = apply_operation(self, *left, states, name=f"combine{i}_left")
            states.append(left + apply_operation(self, *right, states, name=f"combine{i}_right"))
        return jnp.concatenate([states[index] for index in self.spec.output], axis=-1)


def apply_operation(
    cell: Cell, operation: Operation, index: int, states: list[jax.Array], name: str
) -> jax.Array:
    """Applies one operation of a cell to `states[index]`.

    Only the inputs of the cell, states 0 and 1, are strided.
    """
    x, strides = states[index], cell.strides if index < 2 else 1
    layers: dict[str, Any] = dict(conv=cell.conv, norm=cell.norm)
    if operation == "identity":
        projection = partial(Projection, cell.features, strides, **layers, name=name)
        return x if strides == 1 else projection()(nn.relu(x))
    if operation == "average":
        counted = cell.count_padding and strides > 1
        x = average_pool(x, 3, strides, "SAME", counted=counted)
    elif operation == "max":
        x = max_pool(x, 3, strides, "SAME")
        fits = x.shape[-1] == cell.features
        x = x if fits else Projection(cell.features, 1, **layers, name=name)(x)
    else:
        separable = partial(StackedSeparableConv, cell.features, operation, strides, cell.crop)
        x = separable(**layers, name=name)(x)
    return DropPath(cell.drop_path)(x, train=cell.train)


class NASNet(nn.Module):
    """Images [B, H, W, C] of any size from 32 up -> logits [B, num_classes].

    Attributes:
      depth: Number of cells in each of the three stages.
      features: Number of features of a cell's operations in the first stage; every further stage
        doubles it.
      stem_features: Number of features of the first convolution.
      normal: Specification of the cells.
      reduction: Specification of a cell before the second and the third stage, which halves the
        image; None if the first cell of these stages does that.
      skip_reduction: Whether the cell after a reduction takes the reduction's previous state as its
        own, rather than the reduction's input.
      count_padding: Whether average pooling with strides counts the padding, as zeros.
      crop: Whether separable convolutions with strides crop their outputs, see
        `StackedSeparableConv`; changes the work, not the numbers.
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dropout: Dropout rate before the classifier.
      drop_path: Scheduled drop path: the rate in the last cell at the end of training. Cell c of n
        has c / n of it, and this grows with the `progress` of training, from 0 to 1.
      dtype: Dtype of the computation; parameters, normalisation statistics and logits stay float32.
    """

    depth: int
    features: int
    stem_features: int
    normal: CellSpec
    reduction: CellSpec | None = None
    skip_reduction: bool = False
    count_padding: bool = False
    crop: bool = False
    num_classes: int = 1000
    dropout: float = 0.5
    drop_path: float = 0.0
    dtype: Any = jnp.float32

    @takes_images(at_least=32)
    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, progress: float | jax.Array = 1.0
    ) -> jax.Array:
        conv = partial(Conv, use_bias=False, kernel_init=conv_init, dtype=self.dtype)
        batch_norm = partial(nn.BatchNorm, momentum=0.9, epsilon=1e-3, dtype=self.dtype)
        norm = partial(batch_norm, use_running_average=not train)
        reduction = self.reduction or self.normal
        cells = 2 + 3 * self.depth + (2 if self.reduction else 0)
        (rates,) = rule_drop_path_rates("stochastic_depth", self.drop_path, (cells,))
        rate_of_next = iter([rate * progress if rate else 0.0 for rate in rates])

        def cell(spec: CellSpec, features: int, strides: int, name: str) -> Cell:
            settings: dict[str, Any] = dict(conv=conv, norm=norm, train=train, name=name)
            settings["drop_path"] = next(rate_of_next)
            return Cell(spec, features, strides, self.count_padding, self.crop, **settings)

        # Stem
        previous = conv(self.stem_features, (3, 3), 2, padding="VALID", name="stem_conv")(images)
        previous = norm(name="stem_norm")(previous)  # [B, H/2, W/2, stem_features]
        x = cell(reduction, self.features // 4, 2, name="stem_cell1")(previous, None)
        previous, x = x, cell(reduction, self.features // 2, 2, name="stem_cell2")(x, previous)
        self.sow("intermediates", "stem", x)  # [B, H/8, W/8, ...]

        # Stages
        for i in (1, 2, 3):
            features = self.features * 2 ** (i - 1)
            if i > 1 and self.reduction:
                reduction_cell = cell(self.reduction, features, 2, name=f"stage{i}_reduction")
                reduced = reduction_cell(x, previous)
                previous, x = previous if self.skip_reduction else x, reduced
            for j in range(1, self.depth + 1):
                strides = 2 if i > 1 and j == 1 and not self.reduction else 1
                normal_cell = cell(self.normal, features, strides, name=f"stage{i}_cell{j}")
                previous, x = x, normal_cell(x, previous)
            self.sow("intermediates", f"stage{i}", x)  # last: [B, H/32, W/32, ...]

        # Head
        x = pool_head_map(self, nn.relu(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return classify(self, x, self.num_classes, self.dtype, kernel_init=torch_default)


family = Family(
    "nasnet",
    dict(
        paper="Learning Transferable Architectures for Scalable Image Recognition, "
        "arXiv:1707.07012",
        year=2017,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
)


@family.variant(
    reference="pretrainedmodels nasnetamobile",
    top1=74.0,
    top5=91.6,
    accuracy_source="paper, Table 3",
)
def nasnet_mobile(**kwargs) -> NASNet:
    """5,289,978 parameters, 0.57 G multiply-adds, 74.0 % top-1."""
    settings: dict[str, Any] = {"crop": True} | kwargs
    return NASNet(4, 44, 32, NORMAL, REDUCTION, **settings)


@family.variant(
    reference="timm nasnetalarge",
    image_size=331,
    interpolation="bicubic",
    crop=0.911,
    top1=82.638,
    top5=96.066,
    accuracy_source="timm results-imagenet.csv",
)
def nasnet_large(**kwargs) -> NASNet:
    """88,753,150 parameters, 23.78 G multiply-adds, 82.6 % top-1."""
    settings: dict[str, Any] = {"skip_reduction": True, "count_padding": True} | kwargs
    return NASNet(6, 168, 96, NORMAL, REDUCTION, **settings)


def timm_names(model: NASNet) -> list[tuple[str, str]]:
    """Returns timm's names, which are also those of pretrainedmodels.

    A stage of NASNet counts for six cells, however many it has.
    """
    per_stage = 6 if model.reduction else model.depth
    stem, paths = ("conv0", "") if model.reduction else ("conv_0", "conv_prev_1x1/")
    return [
        ("^stem_conv$", f"{stem}/conv"),
        ("^stem_norm$", f"{stem}/bn"),
        ("^head$", "last_linear"),
        (r"^stem_cell(\d)", r"cell_stem_\1-1"),
        *((rf"^stage{i}_cell(\d+)", rf"cell_\1{(i - 1) * per_stage - 1:+}") for i in (1, 2, 3)),
        (r"^stage(\d)_reduction", r"reduction_cell_\1-2"),
        ("/project/", "/conv_1x1/"),
        ("/project_before/", "/conv_prev_1x1/"),
        ("/reduce_before/even$", f"/{paths}path_1/conv"),
        ("/reduce_before/odd$", f"/{paths}path_2/conv"),
        ("/reduce_before/norm$", f"/{paths}final_path_bn"),
        (r"/combine(\d)_", r"/comb_iter_\1-1_"),
        (r"/(depth|point)wise(\d)$", r"/separable_\2/\1wise_conv2d"),
        (r"/norm(\d)$", r"/bn_sep_\1"),
        ("/norm$", "/bn"),
    ]


family.checkpoint_keys("timm", timm_names)
