"""The table of models: which names exist, how each is built, and what is known about it.

A family file makes one `Family`, decorates its variants with `@family.variant(...)` and ends with
its conversion tables, `family.checkpoint_keys(...)`.
"""

import contextlib
import dataclasses
import difflib
import fnmatch
import functools
import importlib
import inspect
import numbers
import pkgutil
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack, overload

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

import zoo.models
from zoo import macs
from zoo.stages import Stage, stages

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Of networks trained by Caffe: blue first, in [0, 255], the mean subtracted.
CAFFE = dict(
    mean=(123 / 255, 117 / 255, 104 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
    channel_order="BGR",
)
# Images of CIFAR-10; the statistics of its training images are those of fb.resnet.torch.
CIFAR = dict(
    image_size=32,
    mean=(125.3 / 255, 123.0 / 255, 113.9 / 255),
    std=(63.0 / 255, 62.1 / 255, 66.7 / 255),
    crop=1.0,
)

# Fields of `Info` that its text leaves out where they say nothing.
_OF_WEIGHTS = ("padding", "weights", "license", "label_set", "class_names", "num_classes")
# Fields of `Info` that say how its accuracy was measured, with what holds for most: pass them to
# `dataclasses.replace` with another accuracy.
USUAL_PROTOCOL: dict[str, Any] = dict(crops=1, accuracy_size=None, distilled=False, pretraining="")

Rules = Sequence[tuple[str, str]]


class Protocol(NamedTuple):
    """How an accuracy was measured, and on what the weights were trained: what can be compared.

    Attributes:
      crops: Number of crops of each image whose results are averaged.
      pixels: Side of these crops in pixels.
      distilled: Whether a larger network's outputs were learnt besides the labels.
      pretraining: Data beyond the data set's own that the weights have seen, "" for none.
    """

    crops: int
    pixels: int
    distilled: bool
    pretraining: str

    def __str__(self) -> str:
        text = f"{self.crops} crop{'s' if self.crops > 1 else ''} of {self.pixels} pixels"
        text += ", distilled" if self.distilled else ""
        return text + (f", pre-trained on {self.pretraining}" if self.pretraining else "")


@dataclasses.dataclass(frozen=True, repr=False)
class Info:
    """What is known about one model.

    Attributes:
      name: Name of the model in the registry.
      family: Name of the file in `zoo/models` that defines the model.
      paper: Title of the paper and where to find it.
      year: Year of the paper.
      image_size: Side of the square images that the model was designed for, in pixels.
      channels: Number of channels of these images.
      reference: Public implementation that the model equals, and its name there.
      mean: Mean of each channel, red first, of images scaled to [0, 1]. The model's input is
        `(image / 255 - mean) / std`.
      std: Standard deviation of each channel, red first, of images scaled to [0, 1].
      channel_order: Order of the input's channels: "RGB", or "BGR" for the weights of Caffe's
        networks, for which the channels are reversed after normalising.
      interpolation: Interpolation of the resize before evaluation, "bilinear" or "bicubic".
      crop: Share of the shorter side that the evaluation's centre crop keeps, in (0, 1], or None
        where the whole image is resized to a square.
      top1: Published top-1 accuracy in %, or None. It is on ImageNet-1k; on MNIST for LeNets and
        MLP, on CIFAR-10 for the networks for CIFAR.
      top5: Published top-5 accuracy in %, or None. It is on the same data.
      accuracy_source: Where this accuracy was reported.
      padding: Pixels of zeros on each side of the input, instead of image.
      weights: Name of the weights that all of this is about, for `zoo.load`. Of a model without
        weights it is "", and so are the next three.
      license: Licence of the weights, as their publisher states it.
      label_set: Set of the names of their classes, see `zoo.labels.names`.
      class_names: One name per class, in the order of the logits.
      num_classes: Number of classes of the weights, 0 without a classifier; None without weights.
      crops: Number of crops of each image in the evaluation that gave this accuracy.
      accuracy_size: Side of these crops in pixels, or None where it is `image_size`.
      distilled: Whether the weights of this accuracy learnt from a larger network's outputs too.
      pretraining: Further data that these weights were trained on, such as "ImageNet-21k", or "".
      protocol: The last four together, a `Protocol`; None without an accuracy.
      num_params: Number of trainable parameters with the native number of classes.
      gmacs: Multiply-adds of one image at `image_size`, in 1e9.
      stages: Name, stride and channels of each stage, a tuple of `zoo.stages.Stage`.

    The last three are counted from the model's shapes when they are first asked for, in a few
    seconds for the deepest networks; nothing is computed.
    """

    name: str
    family: str
    paper: str
    year: int
    image_size: int = 224
    channels: int = 3
    reference: str = ""
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channel_order: str = "RGB"
    interpolation: str = "bilinear"
    crop: float | None = 0.875
    top1: float | None = None
    top5: float | None = None
    accuracy_source: str = ""
    padding: int = 0
    weights: str = ""
    license: str = ""
    label_set: str = ""
    class_names: tuple[str, ...] = ()
    num_classes: int | None = None
    crops: int = 1
    accuracy_size: int | None = None
    distilled: bool = False
    pretraining: str = ""

    @property
    def protocol(self) -> Protocol | None:
        """How the accuracy was measured; None without one.

        >>> print(zoo.info("zfnet").protocol)
        10 crops of 224 pixels
        """
        if self.top1 is None:
            return None
        pixels = self.accuracy_size or self.image_size
        return Protocol(self.crops, pixels, self.distilled, self.pretraining)

    @property
    def num_params(self) -> int:
        """Number of trainable parameters, counted from the model's shapes."""
        params = abstract_variables(self.name)["params"]
        return sum(leaf.size for leaf in jax.tree.leaves(params))

    @property
    def gmacs(self) -> float:
        """Multiply-adds of one image at `image_size`, in 1e9: convolutions and matrix products."""
        return _gmacs(self.name)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Name, stride and channels of each stage, in the order in which an image passes them.

        >>> zoo.info("resnet50").stages[1]
        Stage(name='stage1', stride=4, channels=256)
        """
        return _stages(self.name)

    @property
    def source(self) -> str:
        """Old name of `accuracy_source`, which still works, with a warning."""
        warn_renamed("Info.source", "Info.accuracy_source")
        return self.accuracy_source

    def __repr__(self) -> str:
        fields = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in _OF_WEIGHTS or getattr(self, field.name) != field.default
            if field.name not in USUAL_PROTOCOL
        }
        if self.protocol:
            fields["protocol"] = str(self.protocol)
        if len(self.class_names) > 3:
            fields["class_names"] = (*self.class_names[:2], f"... {len(self.class_names):,} names")
        figures = dict(num_params=self.num_params, gmacs=round(self.gmacs, 4) or self.gmacs)
        return f"Info({', '.join(f'{key}={value!r}' for key, value in (fields | figures).items())})"


class CheckpointKeys(NamedTuple):
    """How one source names and shapes the parameters of a family.

    See `Family.checkpoint_keys` for the attributes.
    """

    rules: Rules | Callable[[Any], Rules]
    dense_as_conv1x1: Sequence[str]
    channel_vectors_4d: Sequence[str]


@dataclasses.dataclass
class Family:
    """The models of one file.

    Attributes:
      name: Name of the file, without ".py".
      defaults: Fields of `Info` that all variants share.
      sources: Conversion tables, by the source of the names that they lead to.
      resampling: Pairs (pattern of parameter paths, function) for parameters that depend on the
        image size. The function takes the array and the shape wanted, and returns the resampled
        array.
      ignored_keys: Patterns of names in the references' weights that hold nothing of their own:
        constants, and second names of a tensor. `zoo.load_torch` ignores them.
      redundant: Old name of `ignored_keys`, which still works, with a warning.
    """

    name: str
    defaults: dict[str, Any]
    sources: dict[str, CheckpointKeys] = dataclasses.field(default_factory=dict)
    resampling: Sequence[tuple[str, Callable]] = ()
    ignored_keys: Sequence[str] = ()
    redundant: dataclasses.InitVar[Sequence[str]] = ()

    def __post_init__(self, redundant: Sequence[str]) -> None:
        if redundant:
            warn_renamed("Family(redundant=...)", "Family(ignored_keys=...)")
            self.ignored_keys = redundant
        self.defaults = _renamed_fields(self.defaults)

    def variant(self, **metadata) -> Callable:
        """Returns a decorator that registers a function which builds a module, under its name.

        Args:
          **metadata: Fields of `Info` that are the variant's own.

        Raises:
          ValueError: A model of this name is registered already.
        """

        def register(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
            self._add(build.__name__, build, metadata)
            return build

        return register

    def _add(self, name: str, build: Callable[..., nn.Module], metadata: dict[str, Any]) -> None:
        """Registers a model; the same one once more, of a file that runs again, replaces itself."""
        known = _models.get(name)
        if known and (_place(known.build) != _place(build)):
            raise ValueError(f"{name!r} is registered already, by {known.module}.")
        fields = self.defaults | _renamed_fields(metadata)
        info = Info(name=name, family=self.name, **fields)
        _models[name] = _Model(info, build, self, build.__module__)
        for count in (_abstract_variables, _gmacs, _stages):
            count.cache_clear()

    def checkpoint_keys(
        self,
        source: str,
        rules: Rules | Callable[[Any], Rules],
        dense_as_conv1x1: Sequence[str] = (),
        channel_vectors_4d: Sequence[str] = (),
    ) -> None:
        """Adds the conversion table from our parameter paths to the names used by `source`.

        Args:
          source: Implementation whose names these are, such as "torchvision" or "timm".
          rules: (pattern, replacement) pairs of `re.sub`, applied in order to a path such as
            "stage1_block2/conv1". In a replacement `\\2-1` is group 2 less one, and `\\/` a slash
            that the name itself has. A name that ends in "_" is joined to "weight" or "bias"
            without a dot. Where names depend on the variant, a function from the module to such
            pairs.
          dense_as_conv1x1: Patterns of the paths of dense layers of ours that are 1x1 convolutions
            in the source, and of vectors [C] of ours that are [C, 1, 1] in the source.
          channel_vectors_4d: Patterns of the paths of layers whose vectors [C] are [1, C, 1, 1] in
            the source.
        """
        self.sources[source] = CheckpointKeys(rules, dense_as_conv1x1, channel_vectors_4d)

    def naming(
        self,
        origin: str,
        rules: Rules | Callable[[Any], Rules],
        pointwise: Sequence[str] = (),
        framed: Sequence[str] = (),
    ) -> None:
        """Old name of `checkpoint_keys`, which still works, with a warning."""
        warn_renamed("Family.naming", "Family.checkpoint_keys")
        self.checkpoint_keys(origin, rules, pointwise, framed)


def register(
    build: Callable[..., nn.Module] | None = None, /, *, name: str = "", **metadata: Any
) -> Any:
    """Registers a model of your own, which all functions and programs then know by its name.

        @zoo.register(image_size=28, channels=1, mean=(0.13,), std=(0.31,))
        def small_net(**attributes):
            return SmallNet(width=16, **attributes)

    The module takes images [B, H, W, C] and `train=True` or False. It needs an attribute
    `num_classes`, and `dtype` if it is to compute in another one than float32. To register the same
    model again, as when a notebook's cell or a recipe runs twice, replaces it.

    Args:
      build: Function from attributes of the module to the module, or the module's class; each of
        its attributes has a default value. Without it, a decorator is returned.
      name: Name of the model, by default that of the function or class.
      **metadata: Fields of `zoo.Info`, such as `image_size`, `channels`, `mean` and `std`.

    Returns:
      `build`, unchanged.

    Raises:
      ValueError: Another model has this name.
      TypeError: `build` takes no attributes, or `zoo.Info` has no such field.
    """
    if build is None:
        return functools.partial(register, name=name, **metadata)
    parameters = inspect.signature(build).parameters.values()
    if not inspect.isclass(build) and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise TypeError(
            f"{build.__qualname__} has to take attributes of the module and hand them on: "
            f"def {build.__name__}(**attributes): return Net(..., **attributes)"
        )
    if inspect.isclass(build) and (missing := [p.name for p in parameters if p.default is p.empty]):
        raise TypeError(f"{build.__qualname__}: {', '.join(missing)} needs a default value.")
    family = Family(build.__module__, dict(paper="", year=0))
    _all_models()  # so that a name of ours is told now, and not when ours is asked for
    family._add(name or build.__name__, build, metadata)
    return build


def _place(build: Callable) -> tuple[str, str]:
    """The file and the name of a function or class, which it keeps if its file runs again."""
    module = sys.modules.get(build.__module__)
    file = getattr(build, "__globals__", vars(module) if module else {}).get("__file__")
    return str(Path(file).absolute()) if file else build.__module__, build.__qualname__


def warn_renamed(old: str, new: str) -> None:
    """Warns the caller's caller that `old` is now called `new`."""
    message = f"{old} is now {new}; the old name goes with version 0.3."
    warnings.warn(message, DeprecationWarning, stacklevel=3)


def _renamed_fields(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns fields of `Info`, with "accuracy_source" for its old name "source"."""
    fields = dict(metadata)
    if "source" in fields:
        warn_renamed("source=...", "accuracy_source=...")
        fields["accuracy_source"] = fields.pop("source")
    return fields


@dataclasses.dataclass(frozen=True)
class _Model:
    """One entry of the registry; `module` is the name of the Python module that made it."""

    info: Info
    build: Callable[..., nn.Module]
    family: Family
    module: str


_models: dict[str, _Model] = {}


@functools.cache
def _all_models() -> Mapping[str, _Model]:
    for family in pkgutil.iter_modules(zoo.models.__path__):  # so `import zoo` stays quick
        importlib.import_module(f"zoo.models.{family.name}")
    return _models


def lookup(name: str) -> _Model:
    """Returns the registry's entry for `name`.

    Raises:
      ValueError: No such model is registered; the message has the closest names.
    """
    models = _all_models()
    if name not in models:
        close = difflib.get_close_matches(name, models, n=3, cutoff=0.5)
        hint = f"The closest names are {', '.join(close)}. " if close else ""
        raise ValueError(
            f"There is no model {name!r}. {hint}zoo.list_models() gives all names; one of your own "
            "is among them once the file that registers it is imported (programs: --import)."
        )
    return models[name]


def list_models(pattern: str = "*") -> list[str]:
    """Returns the sorted names of the models that match a shell wildcard such as "resnet*"."""
    return sorted(fnmatch.filter(_all_models(), pattern))


class Overrides(TypedDict, total=False):
    """Attributes that all models have, or many; each family's file documents all of its own.

    Attributes:
      num_classes: Number of classes; 0 removes the head and returns the pooled features [B, C].
      dtype: Dtype of the computation, a floating-point type such as "bfloat16"; parameters,
        normalisation statistics and logits stay float32.
      dropout: Dropout rate, in [0, 1).
      drop_path: Stochastic depth rate of the last block, growing linearly from 0 in the first.
      scan: Whether to compile equal blocks once, as a scan over stacked parameters; see
        zoo.layers.blocks.
      remat: Whether to rematerialize block activations in the backward pass.
      name: Name of the module in the module that contains it.
    """

    num_classes: int
    dtype: DTypeLike
    dropout: float
    drop_path: float
    scan: bool
    remat: bool
    name: str | None


@overload
def create(model: str, /, **overrides: Unpack[Overrides]) -> nn.Module:
    """The attributes that many models have, for type checkers and editors."""


@overload
def create(model: str, /, **overrides: Any) -> nn.Module:
    """All other attributes."""


def create(model: str, /, **overrides: Any) -> nn.Module:
    """Builds the module called `model`, a `flax.linen.Module`.

    Its call takes images [B, H, W, C] and `train=True` or False, and returns logits
    [B, num_classes]. Images are normalised, `(image / 255 - info.mean) / info.std` with
    `info = zoo.info(model)`; pixels in 0..255 are not noticed, and give useless logits. The module
    works by itself and as a part of another module, in `setup` and in `@nn.compact`:

        class Siamese(nn.Module):
            @nn.compact
            def __call__(self, left, right, *, train=False):
                backbone = zoo.create("resnet50", num_classes=0, name="backbone")
                return jnp.abs(backbone(left, train=train) - backbone(right, train=train))

    Args:
      model: Registered name, see `zoo.list_models`.
      **overrides: Attributes of the module, also those that the variant sets: `num_classes`,
        `dtype`, and what the family adds. Besides, `name` and `parent`, as of every linen module.

    Raises:
      ValueError: No such model is registered (the message has the closest names), or a value is
        impossible.
      TypeError: The model has no such attribute (the message lists those it has), or a value is
        of the wrong type.
    """
    module, known = attributes(model)
    if unknown := sorted(set(overrides) - known.keys() - {"parent", "name"}):
        raise TypeError(
            f"{model} has no attribute {', '.join(unknown)}; it has {', '.join(known)}."
        )
    _check_overrides(**overrides)
    return module(**known | overrides)


def attributes(model: str) -> tuple[type[nn.Module], dict[str, Any]]:
    """Returns the class of a registered model, and its attributes with their values.

    Raises:
      ValueError: No such model is registered.
    """
    default = lookup(model).build(parent=None)
    names = {field.name for field in dataclasses.fields(default)} - {"parent", "name"}
    return type(default), {name: getattr(default, name) for name in sorted(names)}


def _check_overrides(*, num_classes: Any = 0, dtype: Any = jnp.float32, **others: Any) -> None:
    expected = "num_classes is a number of classes, or 0 for the pooled features"
    if not isinstance(num_classes, numbers.Integral) or isinstance(num_classes, bool):
        raise TypeError(f"{expected}, not {num_classes!r}.")
    if num_classes < 0:
        raise ValueError(f"{expected}, not {num_classes}.")
    known = None
    with contextlib.suppress(TypeError):
        known = None if dtype is None else jnp.dtype(dtype)
    if known is None or not jnp.issubdtype(known, jnp.floating):
        raise ValueError(
            f'dtype is a floating-point type, such as "bfloat16" or jnp.float32, not {dtype!r}.'
        )


def info(name: str) -> Info:
    """Returns what is known about the model called `name`, see `Info`.

    Raises:
      ValueError: No such model is registered; the message has the closest names.
    """
    return lookup(name).info


def abstract_variables(model: str, /, image_size: int | None = None, **overrides) -> dict[str, Any]:
    """Returns the shapes and dtypes of a model's variables; nothing is computed.

    Args:
      model: Registered name.
      image_size: Side of the square images in pixels; by default the model's own.
      **overrides: Attributes of the model, as for `create`.
    """
    return _abstract_variables(model, image_size, tuple(sorted(overrides.items())))


@functools.cache
def _abstract_variables(name: str, image_size: int | None, overrides: tuple) -> dict[str, Any]:
    model = create(name, **dict(overrides))
    return jax.eval_shape(model.init, jax.random.key(0), _image(name, image_size))


@functools.cache
def _gmacs(name: str) -> float:
    model = create(name)
    total = macs.count(model.apply, abstract_variables(name), _image(name))
    return total / 1e9


@functools.cache
def _stages(name: str) -> tuple[Stage, ...]:
    model, known = create(name, num_classes=0), info(name)
    return stages(model, known.image_size, known.channels)


def _image(name: str, image_size: int | None = None) -> jax.ShapeDtypeStruct:
    size = image_size or info(name).image_size
    shape = (1, size, size, info(name).channels)
    return jax.ShapeDtypeStruct(shape, jnp.float32)
