"""Weights of the reference implementations, in and out: `load_torch` and `to_torch`.

A family's conversion table rewrites our parameter paths into the reference's names; everything
else (transposes, statistics, what is left over) is the same for all families and lives here.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from zoo import registry, torch_file

# Our leaf -> the reference's, by the kind of layer. Kernels are OIHW (or OI) there, HWIO (IO) here.
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
# A counter that BatchNorm keeps and nothing reads.
_IGNORED = re.compile(r"(^|\.)num_batches_tracked$")


def load_torch(
    name: str, source: str | os.PathLike | Mapping[str, Any], **overrides
) -> dict[str, Any]:
    """Variables of the model `name` from a PyTorch state dict of its reference implementation.

    Args:
      name: a registered model.
      source: a `.pth`/`.pt` file or a `.safetensors` file (read without PyTorch), or a mapping from
        names to arrays. A leading "module." and a wrapping "state_dict" or "model" are taken off.
      **overrides: attributes of the model, as for `zoo.create`. With `num_classes=0` the weights of
        the classifier are left out.

    Returns:
      {"params": ..., "batch_stats": ...} (the latter where the model has any), of numpy arrays in
      the precision of the source; 16-bit floats are widened to float32.

    Raises:
      ValueError: tensors are missing, left over or of another shape; the message names them.
    """
    tensors = _state_dict(source)
    expected = registry.abstract_variables(name, **overrides)
    names, origin = _best_naming(name, expected, tensors, overrides)
    shapes = traverse_util.flatten_dict(expected, sep="/")
    problems = []
    missing = [theirs for theirs in names.values() if theirs not in tensors]
    left_over = set(tensors) - set(names.values()) - _classifier(name, origin, overrides)
    if missing:
        problems.append(f"missing in the weights: {_some(missing)}")
    if left_over:
        problems.append(f"left over in the weights: {_some(sorted(left_over))}")
    variables = {}
    for ours, theirs in names.items():
        if theirs not in tensors:
            continue
        value = _to_ours(tensors[theirs], shapes[ours].shape)
        if value.shape != shapes[ours].shape:
            problems.append(
                f"{theirs} has shape {tuple(np.shape(tensors[theirs]))}, but {ours} has "
                f"{shapes[ours].shape}"
            )
        variables[ours] = value
    if problems:
        raise ValueError(
            f"These weights do not fit {name} (names as in {origin}): {'; '.join(problems)}."
            f"{_advice(name, problems)}"
        )
    return traverse_util.unflatten_dict(variables, sep="/")


def to_torch(
    name: str, variables: Mapping[str, Any], *, origin: str | None = None, **overrides
) -> dict[str, np.ndarray]:
    """The state dict of the reference implementation: the inverse of `load_torch`, bit for bit.

    Args:
      name: a registered model.
      variables: its variables, {"params": ..., "batch_stats": ...}.
      origin: whose names to use, where several are known; by default those of the model's
        reference (`zoo.info(name).reference`).
      **overrides: attributes the model was created with.

    Returns:
      A dict from the reference's names to numpy arrays in its layout.

    Raises:
      ValueError: the variables are not those of the model, or `origin` is unknown.
    """
    namings = registry.lookup(name).family.namings
    origin = origin or _reference(name)
    if origin not in namings:
        raise ValueError(f"{name} has names as in {', '.join(namings)}, not {origin!r}.")
    names = _names(name, registry.abstract_variables(name, **overrides), origin, overrides)
    values = traverse_util.flatten_dict(jax.device_get(dict(variables)), sep="/")
    if different := set(values) ^ set(names):
        raise ValueError(f"These are not the variables of {name}: {_some(sorted(different))}.")
    tensors = {theirs: _to_theirs(np.asarray(values[ours])) for ours, theirs in names.items()}
    for module in registry.lookup(name).family.pointwise[origin]:
        if (kernel := f"params/{module}/kernel") in names:
            tensors[names[kernel]] = tensors[names[kernel]][:, :, None, None]  # OI -> OIHW
    return tensors


def _state_dict(source) -> dict[str, np.ndarray]:
    tensors = source if isinstance(source, Mapping) else torch_file.read(source)
    for wrapper in ("state_dict", "model"):
        if isinstance(tensors.get(wrapper), Mapping):
            tensors = tensors[wrapper]
    return {
        key.removeprefix("module."): value
        for key, value in tensors.items()
        if not _IGNORED.search(key)
    }


def _best_naming(name, expected, tensors, overrides) -> tuple[dict[str, str], str]:
    """The conversion table that recognises most of the tensors, and its origin."""
    namings = registry.lookup(name).family.namings
    candidates = [(_names(name, expected, origin, overrides), origin) for origin in namings]
    return max(candidates, key=lambda candidate: len(set(candidate[0].values()) & set(tensors)))


def _reference(name) -> str:
    """The naming of the model's reference; the first one where that has no table of its own."""
    namings = registry.lookup(name).family.namings
    origin = registry.info(name).reference.partition(" ")[0]
    return origin if origin in namings else next(iter(namings))


def _names(name, expected, origin, overrides) -> dict[str, str]:
    """From each of our paths ("params/head/kernel") to the reference's name ("fc.weight")."""
    rules = registry.lookup(name).family.namings[origin]
    if callable(rules):
        rules = rules(registry.create(name, **overrides))
    names = {}
    for path in traverse_util.flatten_dict(expected, sep="/"):
        _, *module, leaf = path.split("/")
        theirs = "/".join(module)
        for pattern, replacement in rules:
            theirs = re.sub(pattern, lambda match, to=replacement: _expand(match, to), theirs)
        theirs = re.sub(r"(?<!\\)/", ".", theirs).replace("\\/", "/")
        names[path] = ".".join(filter(None, (theirs, _LEAVES.get(leaf, leaf))))
    return names


def _expand(match: re.Match, replacement: str) -> str:
    """Fills in the groups; `\\2-1` is group 2 less one, as references count from zero."""
    shifted = re.sub(
        r"\\(\d)([+-]\d+)", lambda at: str(int(match[int(at[1])]) + int(at[2])), replacement
    )
    return match.expand(shifted)


def _classifier(name, origin, overrides) -> set[str]:
    """With `num_classes=0`: the reference's names that only a model with its head would use."""
    if overrides.get("num_classes") != 0:
        return set()
    whole = {key: value for key, value in overrides.items() if key != "num_classes"}
    return set(_names(name, registry.abstract_variables(name, **whole), origin, whole).values())


def _to_ours(tensor: Any, shape: tuple[int, ...]) -> np.ndarray:
    value = np.asarray(tensor)
    if value.dtype.itemsize == 2:
        value = value.astype(np.float32)
    if value.ndim == 4 and len(shape) == 4:
        return value.transpose(2, 3, 1, 0)  # OIHW -> HWIO
    if value.ndim == 4 and len(shape) == 2 and value.shape[2:] == (1, 1):
        value = value[:, :, 0, 0]  # a 1x1 convolution there, a dense layer here
    return value.T if value.ndim == 2 else value


def _to_theirs(value: np.ndarray) -> np.ndarray:
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)  # HWIO -> OIHW
    return value.T if value.ndim == 2 else value


def _advice(name: str, problems: list[str]) -> str:
    reference = registry.info(name).reference
    advice = f" Its reference is {reference}." if reference else ""
    if any("params/head/" in problem for problem in problems):
        advice += " To keep all but the classifier, load with num_classes=0."
    return advice


def _some(names: list[str], most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
