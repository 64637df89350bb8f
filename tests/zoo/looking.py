"""The networks of the goldens of looking inside, and how results are compared with them."""

import functools
import json
import zlib
from pathlib import Path
from typing import Any

import goldens
import jax.numpy as jnp
import numpy as np
import pytest

import zoo


def records(folder: Path, kind: str) -> dict[str, dict]:
    """The goldens of a kind in a folder, by the name of their model."""
    return {
        path.stem.removeprefix(f"{kind}_"): json.loads(path.read_text())
        for path in sorted(folder.glob(f"{kind}_*.json"))
    }


@functools.lru_cache(maxsize=1)
def network(name: str) -> tuple[Any, Any]:
    """The model of a golden and its weights, in float64."""
    pinned = {ours: golden for golden, ours in goldens.OURS.items()}.get(name, name)
    name = goldens.OURS.get(name, name)
    weights = goldens.state_dict(goldens.load(pinned))
    return zoo.create(name, dtype=jnp.float64), zoo.load_torch(name, weights)


def images(size: int) -> jnp.ndarray:
    return jnp.asarray(np.random.RandomState(0).standard_normal((2, size, size, 3)))


def assert_equals(found: Any, golden: dict, tolerance: float = 1e-6) -> None:
    """Every figure of a golden agrees, to `tolerance` of its standard deviation."""
    found = np.asarray(found)
    assert list(found.shape) == golden["shape"]
    assert np.isfinite(found).all()
    flat, atol = found.ravel(), tolerance * golden["std"]
    np.testing.assert_allclose(flat[: len(golden["first"])], golden["first"], atol=atol, rtol=0)
    np.testing.assert_allclose(flat[golden["probe_at"]], golden["probe"], atol=atol, rtol=0)
    if "values" in golden:
        np.testing.assert_allclose(flat, golden["values"], atol=atol, rtol=0)
    figures = dict(mean=flat.mean(), std=flat.std(), max=flat.max(), min=flat.min())
    figures["l1"] = np.abs(flat).mean()
    for figure, value in figures.items():
        assert value == pytest.approx(golden[figure], abs=atol), figure


def in_the_default_run(key: str, share: int) -> bool:
    """One of `share` names, always the same ones."""
    return zlib.crc32(key.encode()) % share == 0
