"""Conversion of weights from and to the reference implementations: `load_torch`, `to_torch`.

A family's conversion table rewrites our parameter paths into the reference's names; everything
else (transposes, statistics, what is left over) is the same for all families and lives here.
"""

import os
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from zoo import registry
from zoo.layers.blocks import stack_blocks, unstack_blocks
from zoo.weights import published, state_dict, torch_file
from zoo.weights.adapt import resample
from zoo.weights.pickled import Placeholder, shown

# Our name of a parameter -> PyTorch's. Kernels are OIHW (or OI) in PyTorch and HWIO (IO) here.
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_MAX_LISTED = 8  # names in a message
# A layer of ViTs before the classifier, which ours have not: it goes with the classifier.
_BEFORE_HEAD = re.compile(r"^pre_logits\.")


def load_torch(
    name: str,
    checkpoint: str | os.PathLike | Mapping[str, Any] | None = None,
    *,
    image_size: int | None = None,
    ema: bool | None = None,
    **overrides,
) -> dict[str, Any]:
    """Returns the variables of a model from a PyTorch state dict of its reference implementation.

    Args:
      name: Name of a registered model.
      checkpoint: A `.pth`/`.pt`, `.safetensors` or `.npz` file (read without PyTorch), or a mapping
        from names to arrays. The state dict may be in other dicts, under any key, and all its names
        may have a prefix, such as "module." or "model._orig_mod.": both come off. For a ViT it may
        also be a `.npz` of google-research/vision_transformer.
      image_size: Side in pixels of the square images that the variables are for, where they depend
        on it; by default the model's own. Position embeddings and relative-position biases of
        another size are resampled.
      ema: Whether to take the moving average of the weights, where a checkpoint has both. None
        takes the average, and warns that there are two.
      **overrides: Attributes of the model, as for `zoo.create`. With `num_classes=0` the weights of
        the classifier are left out, with `auxiliary=False` those of auxiliary classifiers.
        (`source` is the old name of `checkpoint`.)

    Returns:
      {"params": ..., "batch_stats": ...} (the latter where the model has any), of numpy arrays in
      the precision of the checkpoint; 16-bit floats are widened to float32. In a module that
      contains the model as "backbone", they belong below that name:

        params = {**params, "backbone": loaded["params"]}
        batch_stats = {**batch_stats, "backbone": loaded["batch_stats"]}

    Raises:
      ValueError: The checkpoint cannot be read, or its tensors are missing, left over or of another
        shape; the message names them.
      FileNotFoundError: There is no such file.
      TypeError: No checkpoint is given.
    """
    if "source" in overrides:
        registry.warn_renamed("load_torch(source=...)", "load_torch(checkpoint=...)")
        checkpoint = overrides.pop("source")
    if checkpoint is None:
        raise TypeError("load_torch needs a checkpoint: a file, or a mapping from names to arrays.")
    if overrides.get("scan"):
        flat = overrides | {"scan": False}
        unrolled = load_torch(name, checkpoint, image_size=image_size, ema=ema, **flat)
        return stack_blocks(unrolled, registry.abstract_variables(name, image_size, **overrides))
    if isinstance(checkpoint, Mapping):
        holds, file = checkpoint, ""
    else:
        holds, file = torch_file.read(checkpoint), f"; file {os.fspath(checkpoint)}"
    expected = registry.abstract_variables(name, image_size, **overrides)
    variables = _load(name, holds, file, expected, ema, overrides)
    return traverse_util.unflatten_dict(variables, sep="/")


def from_torch(
    name: str, state_dict: Mapping[str, Any], expected: Mapping[str, Any], **overrides
) -> dict[str, Any]:
    """Returns the variables of a model from what `to_torch` has made of them.

    Args:
      name: Name of a registered model.
      state_dict: Mapping from the reference's names to arrays.
      expected: Shapes and dtypes of the variables, nested dictionaries; without scan.
      **overrides: Attributes with which the model was created, without scan.

    Raises:
      ValueError: The state dict is not of such a model; the message names the tensors.
    """
    return traverse_util.unflatten_dict(
        _load(name, state_dict, "", expected, None, overrides), sep="/"
    )


def _load(name, checkpoint, file, expected, ema, overrides) -> dict[str, np.ndarray]:
    """Returns the model's arrays by path; `file` is what messages call the checkpoint."""
    family = registry.lookup(name).family
    if not family.sources:
        raise ValueError(f"There are no weights for {name}: it has no reference.")
    tables = [(_torch_keys(name, expected, source, overrides), source) for source in family.sources]
    try:
        tensors, index, place = state_dict.find(
            checkpoint,
            [set(keys.values()) for keys, _ in tables],
            lambda tensors: published.rename(family.name, tensors),
            ema,
        )
    except ValueError as error:
        raise ValueError(f"There are no weights for {name}{file}. {error}") from error
    keys, source = tables[index]
    variables, problems = _convert(name, keys, tensors, expected)
    known = _extra_keys(name, source, overrides).union(keys.values())
    left_over = [
        key
        for key in tensors
        if key not in known
        and state_dict.is_tensor(tensors[key])
        and not (overrides.get("num_classes") == 0 and _BEFORE_HEAD.search(key))
        and not any(re.search(pattern, key) for pattern in family.ignored_keys)
    ]
    problems = problems[:_MAX_LISTED] + (["and more like that"] if problems[_MAX_LISTED:] else [])
    if left_over:
        problems.insert(0, f"left over in the weights: {_listed(sorted(left_over))}")
    missing = {path for path, key in keys.items() if key not in tensors}
    if missing and missing == _auxiliary(keys) and "auxiliary" not in overrides:
        warnings.warn(
            f"These weights of {name} have no auxiliary classifiers, as for auxiliary=False. To "
            f"train with them, make the model so: zoo.create({name!r}, auxiliary=False).",
            stacklevel=4,
        )
    elif missing:
        names = [keys[path] for path in keys if path in missing]
        problems.insert(0, f"missing in the weights: {_listed(names)}")
    if problems:
        raise ValueError(
            f"These weights do not fit {name} (names as in {source}{file}): {'; '.join(problems)}."
            + _advice(name, keys, tensors, left_over, place)
        )
    return variables


def _convert(name, keys, tensors, expected) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns our arrays by path, and what is wrong with the tensors that there are."""
    shapes: dict[str, Any] = traverse_util.flatten_dict(expected, sep="/")
    variables, problems = {}, []
    for path, key in keys.items():
        if key not in tensors:
            continue
        if not state_dict.is_tensor(tensors[key]):
            value = tensors[key]
            kind = value.name if isinstance(value, Placeholder) else type(value).__name__
            problems.append(f"{key} is no plain tensor but a {shown(kind)}")
            continue
        wanted = shapes[path].shape
        value = _from_torch_layout(tensors[key], path, wanted)
        value = resample(name, path, value, wanted)
        if value.shape != wanted:
            shape = tuple(np.shape(tensors[key]))
            problems.append(f"{key} has shape {shape}, but {path} has {wanted}")
        variables[path] = value
    return variables, problems


def to_torch(
    name: str, variables: Mapping[str, Any], *, source: str | None = None, **overrides
) -> dict[str, np.ndarray]:
    """Returns the state dict of the reference: the inverse of `load_torch`, bit for bit.

    Args:
      name: Name of a registered model.
      variables: Variables of the model, {"params": ..., "batch_stats": ...}.
      source: Implementation whose names to use, such as "timm", where several are known; by default
        the model's reference (`zoo.info(name).reference`).
      **overrides: Attributes with which the model was created. (`origin` is the old name of
        `source`.)

    Returns:
      A dict from the reference's names to numpy arrays in its layout.

    Raises:
      ValueError: The variables are not those of the model, or `source` is unknown.
    """
    if "origin" in overrides:
        registry.warn_renamed("to_torch(origin=...)", "to_torch(source=...)")
        source = overrides.pop("origin")
    family = registry.lookup(name).family
    source = source or _default_source(name)
    if source not in family.sources:
        raise ValueError(f"{name} has names as in {', '.join(family.sources)}, not {source!r}.")
    if overrides.get("scan"):
        variables, overrides = unstack_blocks(variables), overrides | {"scan": False}
    keys = _torch_keys(name, registry.abstract_variables(name, **overrides), source, overrides)
    values = traverse_util.flatten_dict(jax.device_get(dict(variables)), sep="/")
    if different := set(values) ^ set(keys):
        raise ValueError(f"These are not the variables of {name}: {_listed(sorted(different))}.")
    table, tensors = family.sources[source], {}
    for path, key in keys.items():
        value, layer = _to_torch_layout(np.asarray(values[path]), path), _layer_path(path)
        if any(re.fullmatch(pattern, layer) for pattern in table.dense_as_conv1x1):
            value = value if path.endswith("/bias") else value[..., None, None]  # OI -> OIHW
        if any(re.fullmatch(pattern, layer) for pattern in table.channel_vectors_4d):
            value = value[None, :, None, None]
        # In the order of their shape, because safetensors.numpy writes the memory as it is.
        tensors[key] = np.ascontiguousarray(value)
    return tensors


def _default_source(name) -> str:
    """Returns the source of the model's reference, or the first source if that has no table."""
    sources = registry.lookup(name).family.sources
    source = registry.info(name).reference.partition(" ")[0]
    return source if source in sources else next(iter(sources))


def _torch_keys(name, expected, source, overrides) -> dict[str, str]:
    """Maps each of our paths ("params/head/kernel") to the reference's key ("fc.weight")."""
    rules = registry.lookup(name).family.sources[source].rules
    if callable(rules):
        rules = rules(registry.create(name, **overrides))
    keys = {}
    for path in traverse_util.flatten_dict(expected, sep="/"):
        leaf = path.rpartition("/")[2]
        key = _layer_path(path)
        for pattern, replacement in rules:
            key = re.sub(pattern, lambda match, to=replacement: _expand_groups(match, to), key)
        key = re.sub(r"(?<!\\)/", ".", key).replace("\\/", "/")
        separator = "" if key.endswith("_") else "."
        keys[path] = f"{key}{separator}{_LEAVES[leaf]}" if leaf in _LEAVES else key
    return keys


def _layer_path(path: str) -> str:
    """Returns the part of a path that the conversion tables rewrite, "stage1_block1/conv1".

    That is the layer's path. A parameter that the family names itself, such as a class token, stays
    at its end.
    """
    _, *module, leaf = path.split("/")
    return "/".join(module if leaf in _LEAVES else [*module, leaf])


def _expand_groups(match: re.Match, replacement: str) -> str:
    """Fills in the groups; `\\2-1` is group 2 less one, as references count from zero."""
    shifted = re.sub(
        r"\\(\d)([+-]\d+)",
        lambda group: str(int(match[int(group[1])]) + int(group[2])),
        replacement,
    )
    return match.expand(shifted)


def _extra_keys(name, source, overrides) -> set[str]:
    """Returns the reference's keys of classifiers that the overrides leave out."""
    left_out = {"num_classes": 0, "auxiliary": False}
    kept = {key: value for key, value in overrides.items() if left_out.get(key, ...) != value}
    if len(kept) == len(overrides):
        return set()
    return set(_torch_keys(name, registry.abstract_variables(name, **kept), source, kept).values())


def _from_torch_layout(tensor: Any, path: str, shape: tuple[int, ...]) -> np.ndarray:
    """Brings a tensor of the reference into our layout; `shape` is what the model expects."""
    value = np.asarray(tensor)
    if value.dtype.itemsize == 2:
        value = value.astype(np.float32)
    if value.ndim == len(shape) + 2 and value.shape[-2:] == (1, 1):
        value = value[..., 0, 0]  # a 1x1 convolution in PyTorch, a dense layer here
    if len(shape) == 1 and value.shape == (1, *shape, 1, 1):
        value = value.reshape(shape)
    if path.endswith("/kernel") and value.ndim > 1:
        value = np.moveaxis(value, (0, 1), (-1, -2))  # OIHW -> HWIO, OI -> IO
    return value


def _to_torch_layout(value: np.ndarray, path: str) -> np.ndarray:
    """HWIO -> OIHW and IO -> OI for kernels; all other arrays stay as they are."""
    return np.moveaxis(value, (-1, -2), (0, 1)) if path.endswith("/kernel") else value


def _advice(name, keys, tensors, left_over, place) -> str:
    """Returns what may help, for the end of the error message."""
    reference = registry.info(name).reference
    advice = [f"Its reference is {reference}."] if reference else []
    missing = {path for path, key in keys.items() if key not in tensors}
    heads = {path for path in keys if re.search(r"^params/head(_dist)?/", path)}
    biases = [tensors[keys[path]] for path in heads - missing if path.endswith("/bias")]
    classes = [len(bias) for bias in biases if np.ndim(bias) == 1]
    if missing and missing == _auxiliary(keys):
        advice.append("These weights have no auxiliary classifier: load with auxiliary=False.")
    elif missing and missing == heads:
        advice.append("These weights have no classifier: load with num_classes=0.")
    elif heads and any(_BEFORE_HEAD.search(key) for key in left_over):
        advice.append("Its classifier needs a layer that the model has not: use num_classes=0.")
    elif classes:
        advice.append(f"For all of these weights, load with num_classes={classes[0]}.")
    if heads and missing != heads:
        advice.append("To keep all but the classifier, load with num_classes=0.")
    if left_over and place != "/":
        advice.append(f"The weights were found at {place}; a mapping of the right ones will do.")
    return "".join(" " + sentence for sentence in advice)


def _auxiliary(paths: Iterable[str]) -> set[str]:
    """Returns those of the paths that are of auxiliary classifiers."""
    return {path for path in paths if re.search(r"/aux\d*_head/", path)}


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(shown(name) for name in names[:_MAX_LISTED]) + rest
