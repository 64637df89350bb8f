import jax
import numpy as np
import pytest

import zoo
from zoo.models.lenet import C3_TABLE, output_codes


def test_c3_table_is_the_papers():
    """Six maps see 3 neighbours, six 4 neighbours, three 4 of two pairs, one sees all."""
    assert [len(sources) for sources in C3_TABLE] == [3] * 6 + [4] * 9 + [6]
    assert len(set(C3_TABLE)) == 16
    for source in range(6):  # every map of S2 is used equally often
        assert sum(source in sources for sources in C3_TABLE) == 10


def test_c3_ignores_what_the_table_leaves_out():
    """Map 0 of C3 sees S2's maps 0, 1, 2: a change of the others does not reach it."""
    from zoo.models.lenet import TableConv

    layer, x = TableConv(np.float32), np.random.RandomState(0).randn(1, 14, 14, 6)
    x = x.astype(np.float32)
    variables = layer.init(jax.random.key(0), x)
    other = x.copy()
    other[..., 3:] += 1
    before, after = layer.apply(variables, x), layer.apply(variables, other)
    np.testing.assert_array_equal(before[..., 0], after[..., 0])
    assert np.abs(before[..., 1] - after[..., 1]).max() > 1e-3


def test_output_is_the_distance_to_the_drawings():
    images = np.random.RandomState(0).randn(3, 32, 32, 1).astype(np.float32)
    model = zoo.create("lenet5_1998")
    variables = model.init(jax.random.key(0), images)
    f6 = zoo.features(model, variables, images, at="embedding")
    logits = model.apply(variables, images)
    for digit, code in enumerate(output_codes(10)):
        np.testing.assert_allclose(logits[:, digit], -((f6 - code[None]) ** 2).sum(1), rtol=1e-5)


def test_codes_are_distinct_also_for_more_classes():
    codes = output_codes(26)
    assert codes.shape == (26, 84)
    assert set(np.unique(codes)) == {-1, 1}
    assert len(np.unique(codes, axis=0)) == 26


@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998"])
def test_stage_sizes(name):
    """Figure 2: S2 is 6@14x14, S4 is 16@5x5, F6 has 84 units."""
    model = zoo.create(name)
    images = np.zeros((1, 32, 32, 1), np.float32)
    features = zoo.features(model, model.init(jax.random.key(0), images), images)
    assert features["stage1"].shape == (1, 14, 14, 6)
    assert features["stage2"].shape == (1, 5, 5, 16)
    assert features["embedding"].shape == (1, 84)
