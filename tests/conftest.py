"""Settings of all tests: eight virtual devices on CPU, and no silent rank promotion."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores: see oneDNN

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="module")
def quick_compilation():
    """For programs that run once on little data: compiling them is what costs time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What runs on one worker: a file; where a file goes through all models, those of one name."""
    for item in items:
        group = item.path.stem  # xdist cuts names at "@" and "]", which a whole path may have
        by_model = group in ("test_models", "test_parity", "test_variants")
        if by_model and hasattr(item, "callspec"):
            group += f":{item.callspec.id}"
        item.add_marker(pytest.mark.xdist_group(group))
