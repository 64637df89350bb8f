"""Time, memory and energy of forward passes."""

import jax
import numpy as np
import pytest

import zoo
from zoo.look import measure


def counter(folder, name, microjoules):
    (folder / name).mkdir()
    (folder / name / "energy_uj").write_text(f"{microjoules}\n")


def test_energy_is_the_sum_of_the_packages(tmp_path):
    assert measure.energy(tmp_path) is None
    counter(tmp_path, "intel-rapl:0", 2_000_000)
    counter(tmp_path, "intel-rapl:1", 500_000)
    counter(tmp_path, "intel-rapl:0:0", 9_000_000)  # a part of the first
    assert measure.energy(tmp_path) == 2.5


def test_counters_that_may_not_be_read_are_none(tmp_path):
    (tmp_path / "intel-rapl:0").mkdir()
    assert measure.energy(tmp_path) is None


def test_a_model_is_measured(tmp_path):
    counter(tmp_path, "intel-rapl:0", 1)
    one, two = measure.measure("lenet5", (1, 2), counters=tmp_path)
    assert (one.batch, two.batch, one.image_size) == (1, 2, 32) and one.seconds > 0
    assert one.images_per_second == pytest.approx(1 / one.seconds)
    assert one.joules == 0  # the counter stands still
    assert one.memory is None or one.memory >= 4 * (61_706 + 32 * 32)


def test_the_peak_of_memory_is_seen():
    def run() -> None:
        np.ones(2**24, np.float64).sum()  # 128 MiB, gone again

    peak = measure._peak_memory(run)
    assert peak is None or 2**26 < peak < 2**28


def test_random_variables_keep_activations_in_bounds():
    variables = measure.random_variables("resnet18")
    images = np.random.RandomState(0).standard_normal((1, 32, 32, 3)).astype(np.float32)
    logits = jax.jit(zoo.create("resnet18").apply)(variables, images)
    assert 1e-3 < np.std(logits) < 1e3
    assert jax.tree.structure(variables) == jax.tree.structure(
        jax.eval_shape(zoo.create("resnet18").init, jax.random.key(0), images)
    )
