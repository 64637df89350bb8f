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

from zoo import registry
from zoo.layers.blocks import stack_blocks, unstack_blocks
from zoo.weights import torch_file

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
    name: str,
    checkpoint: str | os.PathLike | Mapping[str, Any] | None = None,
    *,
    image_size: int | None = None,
    **overrides,
) -> dict[str, Any]:
    """Variables of the model `name` from a PyTorch state dict of its reference implementation.

    Args:
      name: a registered model.
      checkpoint: a `.pth`/`.pt` or a `.safetensors` file (read without PyTorch), or a mapping from
        names to arrays. A leading "module." and a wrapping "state_dict" or "model" are taken off.
      image_size: side of the square images that the variables are for, where they depend on it;
        the model's own by default. Position embeddings and relative-position biases of another size
        are resampled.
      **overrides: attributes of the model, as for `zoo.create`. With `num_classes=0` the weights of
        the classifier are left out. (`source` is the old name of `checkpoint`.)

    Returns:
      {"params": ..., "batch_stats": ...} (the latter where the model has any), of numpy arrays in
      the precision of the checkpoint; 16-bit floats are widened to float32. To use them in a
      module that contains the model as "backbone", put them below that name:

        params = {**params, "backbone": loaded["params"]}
        batch_stats = {**batch_stats, "backbone": loaded["batch_stats"]}

    Raises:
      ValueError: tensors are missing, left over or of another shape; the message names them.
    """
    if "source" in overrides:
        registry.warn_renamed("load_torch(source=...)", "load_torch(checkpoint=...)")
        checkpoint = overrides.pop("source")
    if checkpoint is None:
        raise TypeError("load_torch needs a checkpoint: a file, or a mapping from names to arrays.")
    if overrides.get("scan"):
        flat = overrides | {"scan": False}
        unrolled = load_torch(name, checkpoint, image_size=image_size, **flat)
        return stack_blocks(unrolled, registry.abstract_variables(name, image_size, **overrides))
    tensors = _state_dict(checkpoint)
    expected = registry.abstract_variables(name, image_size, **overrides)
    names, source = _best_source(name, expected, tensors, overrides)
    shapes: dict[str, Any] = traverse_util.flatten_dict(expected, sep="/")
    problems = []
    missing = [theirs for theirs in names.values() if theirs not in tensors]
    left_over = set(tensors) - set(names.values()) - _classifier(name, source, overrides)
    ignored = registry.lookup(name).family.ignored_keys
    left_over = {key for key in left_over if not any(re.search(at, key) for at in ignored)}
    if missing:
        problems.append(f"missing in the weights: {_some(missing)}")
    if left_over:
        problems.append(f"left over in the weights: {_some(sorted(left_over))}")
    variables = {}
    for ours, theirs in names.items():
        if theirs not in tensors:
            continue
        value = _to_ours(tensors[theirs], ours, shapes[ours].shape)
        value = _resampled(name, ours, value, shapes[ours].shape)
        if value.shape != shapes[ours].shape:
            problems.append(
                f"{theirs} has shape {tuple(np.shape(tensors[theirs]))}, but {ours} has "
                f"{shapes[ours].shape}"
            )
        variables[ours] = value
    if problems:
        raise ValueError(
            f"These weights do not fit {name} (names as in {source}): {'; '.join(problems)}."
            f"{_advice(name, problems)}"
        )
    return traverse_util.unflatten_dict(variables, sep="/")


def to_torch(
    name: str, variables: Mapping[str, Any], *, source: str | None = None, **overrides
) -> dict[str, np.ndarray]:
    """The state dict of the reference implementation: the inverse of `load_torch`, bit for bit.

    Args:
      name: a registered model.
      variables: its variables, {"params": ..., "batch_stats": ...}.
      source: whose names to use, where several are known; by default those of the model's
        reference (`zoo.info(name).reference`).
      **overrides: attributes the model was created with. (`origin` is the old name of `source`.)

    Returns:
      A dict from the reference's names to numpy arrays in its layout.

    Raises:
      ValueError: the variables are not those of the model, or `source` is unknown.
    """
    if "origin" in overrides:
        registry.warn_renamed("to_torch(origin=...)", "to_torch(source=...)")
        source = overrides.pop("origin")
    family = registry.lookup(name).family
    source = source or _reference(name)
    if source not in family.sources:
        raise ValueError(f"{name} has names as in {', '.join(family.sources)}, not {source!r}.")
    if overrides.get("scan"):
        variables, overrides = unstack_blocks(variables), overrides | {"scan": False}
    names = _names(name, registry.abstract_variables(name, **overrides), source, overrides)
    values = traverse_util.flatten_dict(jax.device_get(dict(variables)), sep="/")
    if different := set(values) ^ set(names):
        raise ValueError(f"These are not the variables of {name}: {_some(sorted(different))}.")
    keys, tensors = family.sources[source], {}
    for ours, theirs in names.items():
        value = _to_theirs(np.asarray(values[ours]), ours)
        if any(re.fullmatch(pattern, _rewritten(ours)) for pattern in keys.dense_as_conv1x1):
            value = value if ours.endswith("/bias") else value[..., None, None]  # OI -> OIHW
        if any(re.fullmatch(pattern, _rewritten(ours)) for pattern in keys.channel_vectors_4d):
            value = value[None, :, None, None]
        tensors[theirs] = value
    return tensors


def _state_dict(checkpoint) -> dict[str, np.ndarray]:
    tensors = checkpoint if isinstance(checkpoint, Mapping) else torch_file.read(checkpoint)
    for wrapper in ("state_dict", "model"):
        if isinstance(tensors.get(wrapper), Mapping):
            tensors = tensors[wrapper]
    return {
        key.removeprefix("module."): value
        for key, value in tensors.items()
        if not _IGNORED.search(key)
    }


def _best_source(name, expected, tensors, overrides) -> tuple[dict[str, str], str]:
    """The conversion table that recognises most of the tensors, and its source."""
    sources = registry.lookup(name).family.sources
    candidates = [(_names(name, expected, source, overrides), source) for source in sources]
    return max(candidates, key=lambda candidate: len(set(candidate[0].values()) & set(tensors)))


def _reference(name) -> str:
    """The source of the model's reference; the first one where that has no table of its own."""
    sources = registry.lookup(name).family.sources
    source = registry.info(name).reference.partition(" ")[0]
    return source if source in sources else next(iter(sources))


def _names(name, expected, source, overrides) -> dict[str, str]:
    """From each of our paths ("params/head/kernel") to the reference's name ("fc.weight")."""
    rules = registry.lookup(name).family.sources[source].rules
    if callable(rules):
        rules = rules(registry.create(name, **overrides))
    names = {}
    for path in traverse_util.flatten_dict(expected, sep="/"):
        leaf = path.rpartition("/")[2]
        theirs = _rewritten(path)
        for pattern, replacement in rules:
            theirs = re.sub(pattern, lambda match, to=replacement: _expand(match, to), theirs)
        theirs = re.sub(r"(?<!\\)/", ".", theirs).replace("\\/", "/")
        joint = "" if theirs.endswith("_") else "."
        names[path] = f"{theirs}{joint}{_LEAVES[leaf]}" if leaf in _LEAVES else theirs
    return names


def _rewritten(path: str) -> str:
    """The part of a path that the conversion tables rewrite: the module, "stage1_block1/conv1".

    A parameter whose own name is the family's, such as a class token, stays at its end.
    """
    _, *module, leaf = path.split("/")
    return "/".join(module if leaf in _LEAVES else [*module, leaf])


def _expand(match: re.Match, replacement: str) -> str:
    """Fills in the groups; `\\2-1` is group 2 less one, as references count from zero."""
    shifted = re.sub(
        r"\\(\d)([+-]\d+)", lambda at: str(int(match[int(at[1])]) + int(at[2])), replacement
    )
    return match.expand(shifted)


def _classifier(name, source, overrides) -> set[str]:
    """With `num_classes=0`: the reference's names that only a model with its head would use."""
    if overrides.get("num_classes") != 0:
        return set()
    whole = {key: value for key, value in overrides.items() if key != "num_classes"}
    return set(_names(name, registry.abstract_variables(name, **whole), source, whole).values())


def _to_ours(tensor: Any, path: str, shape: tuple[int, ...]) -> np.ndarray:
    value = np.asarray(tensor)
    if value.dtype.itemsize == 2:
        value = value.astype(np.float32)
    if value.ndim == len(shape) + 2 and value.shape[-2:] == (1, 1):
        value = value[..., 0, 0]  # a 1x1 convolution there, a dense layer here
    if len(shape) == 1 and value.shape == (1, *shape, 1, 1):
        value = value.reshape(shape)
    if path.endswith("/kernel"):
        value = np.moveaxis(value, (0, 1), (-1, -2))  # OIHW -> HWIO, OI -> IO
    return value


def _to_theirs(value: np.ndarray, path: str) -> np.ndarray:
    return np.moveaxis(value, (-1, -2), (0, 1)) if path.endswith("/kernel") else value


def _resampled(name: str, path: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`value` for images of another size, where the family says how."""
    for pattern, resample in registry.lookup(name).family.resampling:
        if value.shape != shape and value.ndim == len(shape) and re.search(pattern, path):
            return resample(value, shape)
    return value


def _advice(name: str, problems: list[str]) -> str:
    reference = registry.info(name).reference
    advice = f" Its reference is {reference}." if reference else ""
    if any("params/head/" in problem for problem in problems):
        advice += " To keep all but the classifier, load with num_classes=0."
    return advice


def _some(names: list[str], most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
