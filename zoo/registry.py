"""The table of models: which names exist, how each is built, and what is known about it.

A family file makes one `Family`, decorates its variants with `@family.variant(...)` and ends with
its conversion tables, `family.naming(...)`.
"""

import dataclasses
import difflib
import fnmatch
import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

import zoo.models
from zoo import macs

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

Rules = Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Info:
    """What is known about one model.

    Attributes:
      name: the registered name.
      family: the family file it lives in.
      paper: title and where to find it.
      year: of the paper.
      image_size: side of the square images it was designed for, in pixels.
      channels: of those images.
      reference: the public implementation it equals, with that implementation's name for it.
      mean, std: per channel, of images scaled to [0, 1]: the input is `(image / 255 - mean) / std`.
      channel_order: of the input, "RGB", or "BGR" for the weights of Caffe's networks (reverse the
        channels after normalising: `mean` and `std` are red, green, blue).
      interpolation: of the resize before evaluation, "bilinear" or "bicubic".
      crop: share of the shorter side that the evaluation's centre crop keeps.
      top1, top5: published accuracy in %, on ImageNet-1k (LeNets and MLP: MNIST; those for CIFAR:
        CIFAR-10); None without one.
      source: where that accuracy stands.
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
    crop: float = 0.875
    top1: float | None = None
    top5: float | None = None
    source: str = ""

    @property
    def num_params(self) -> int:
        """Number of trainable parameters, counted from the model's shapes."""
        params = abstract_variables(self.name)["params"]
        return sum(leaf.size for leaf in jax.tree.leaves(params))

    @property
    def gmacs(self) -> float:
        """Multiply-adds of one image at `image_size`, in 1e9: convolutions and matrix products."""
        return _gmacs(self.name)


@dataclasses.dataclass
class Family:
    """The models of one file.

    Attributes:
      name: of the file.
      defaults: the fields of `Info` that its variants share.
      namings, pointwise, framed: the conversion tables, see `naming`.
      resampling: for parameters that depend on the image size, (pattern of their paths, function of
        the array and the shape wanted).
      redundant: patterns of names in the references' weights that hold nothing of their own:
        constants, and second names of a tensor. `zoo.load_torch` passes them over.
    """

    name: str
    defaults: dict[str, Any]
    namings: dict[str, Rules | Callable[[nn.Module], Rules]] = dataclasses.field(
        default_factory=dict
    )
    pointwise: dict[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    framed: dict[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    resampling: Sequence[tuple[str, Callable]] = ()
    redundant: Sequence[str] = ()

    def variant(self, **facts) -> Callable:
        """Decorator: registers a function that builds a module; `facts` are fields of `Info`."""

        def register(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
            name = build.__name__
            if name in _models:
                raise ValueError(f"{name!r} is registered already, by {_models[name].module}.")
            info = Info(name=name, family=self.name, **{**self.defaults, **facts})
            _models[name] = _Model(info, build, self, build.__module__)
            return build

        return register

    def naming(
        self,
        origin: str,
        rules: Rules | Callable[[nn.Module], Rules],
        pointwise: Sequence[str] = (),
        framed: Sequence[str] = (),
    ) -> None:
        """Adds the conversion table from our parameter paths to the names used by `origin`.

        `rules` are (pattern, replacement) pairs of `re.sub`, applied in order to a path such as
        "stage1_block2/conv1"; in a replacement `\\2-1` is group 2 less one, and `\\/` a slash that
        the name itself has. A name that ends in "_" is joined to "weight" or "bias" without a dot.
        Where names depend on the variant, `rules` is a function from the module to such pairs.
        `pointwise` are patterns of the paths of our dense layers that are 1x1 convolutions there,
        and of vectors that have two more axes there. `framed` are patterns of the paths of layers
        whose vectors [C] are [1, C, 1, 1] there.
        """
        self.namings[origin] = rules
        self.pointwise[origin] = pointwise
        self.framed[origin] = framed


@dataclasses.dataclass(frozen=True)
class _Model:
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
    """The registry's entry for `name`; ValueError with the closest names if there is none."""
    models = _all_models()
    if name not in models:
        close = difflib.get_close_matches(name, models, n=3, cutoff=0.5)
        hint = f"The closest names are {', '.join(close)}. " if close else ""
        raise ValueError(f"There is no model {name!r}. {hint}zoo.list_models() gives all names.")
    return models[name]


def list_models(pattern: str = "*") -> list[str]:
    """Names of the registered models that match a shell wildcard such as "resnet*", sorted."""
    return sorted(fnmatch.filter(_all_models(), pattern))


def create(name: str, **overrides) -> nn.Module:
    """Builds the module called `name`.

    `overrides` are attributes of its class, also those that the variant sets: `num_classes`,
    `dtype`, and what the family adds.

    Raises:
      ValueError: no such model (the message has the closest names).
      TypeError: the model has no such attribute (the message lists those it has).
    """
    model = lookup(name).build(parent=None)
    names = {field.name for field in dataclasses.fields(model)} - {"parent", "name"}
    attributes = {name: getattr(model, name) for name in sorted(names)}
    if unknown := sorted(set(overrides) - names):
        raise TypeError(
            f"{name} has no attribute {', '.join(unknown)}; it has {', '.join(attributes)}."
        )
    return type(model)(**attributes | overrides)


def info(name: str) -> Info:
    """What is known about the model called `name`: see `Info`."""
    return lookup(name).info


def abstract_variables(name: str, image_size: int | None = None, **overrides) -> dict[str, Any]:
    """Shapes and dtypes of a model's variables; nothing is computed.

    `image_size` is the model's own by default.
    """
    return _abstract_variables(name, image_size, tuple(sorted(overrides.items())))


@functools.cache
def _abstract_variables(name: str, image_size: int | None, overrides: tuple) -> dict[str, Any]:
    model = create(name, **dict(overrides))
    return jax.eval_shape(model.init, jax.random.key(0), _image(name, image_size))


@functools.cache
def _gmacs(name: str) -> float:
    model = create(name)
    total = macs.count(model.apply, abstract_variables(name), _image(name))
    return total / 1e9


def _image(name: str, image_size: int | None = None) -> jax.ShapeDtypeStruct:
    size = image_size or info(name).image_size
    shape = (1, size, size, info(name).channels)
    return jax.ShapeDtypeStruct(shape, jnp.float32)
