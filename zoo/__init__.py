"""Image classifiers in Flax, numerically equal to their references.

model = zoo.create("resnet50")                     # a linen module, a pure function of variables
variables = zoo.load_torch("resnet50", "resnet50-0676ba61.pth")
logits = model.apply(variables, images)            # [B, H, W, 3] -> [B, 1000]

loaded = zoo.load("timm/resnet50.a1_in1k")         # model, variables and preprocessing by name
"""

from zoo.features import features
from zoo.kernels.platform import portable
from zoo.labels import decode
from zoo.preprocess import preprocess  # the function, and no longer the module of that name
from zoo.registry import Info, create, info, list_models, register
from zoo.weights.by_name import load
from zoo.weights.convert import load_torch, to_torch
from zoo.weights.table import list_weights
from zoo.weights.write_folder import save

__all__ = [
    "Info",
    "create",
    "decode",
    "features",
    "info",
    "list_models",
    "list_weights",
    "load",
    "load_torch",
    "portable",
    "preprocess",
    "register",
    "save",
    "to_torch",
]

__version__: str  # of the installed package, looked up when it is first asked for


def __getattr__(name: str) -> object:
    import importlib  # here, so that `import zoo` stays quick
    from importlib import metadata, util

    if name == "__version__":
        try:
            return metadata.version("flax-zoo")
        except metadata.PackageNotFoundError:  # a source tree that was not installed
            return "0+unknown"
    for room in ("models", "weights"):  # where modules of version 0.1 are now
        if not name.startswith("_") and util.find_spec(f"zoo.{room}.{name}"):
            import warnings

            moved = f"zoo.{room}.{name}"
            warnings.warn(f"zoo.{name} is {moved} now.", DeprecationWarning, stacklevel=2)
            return importlib.import_module(moved)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
