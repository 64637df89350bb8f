import jax
import pytest

import zoo
from zoo import registry


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("nasnet_mobile", [(28, 264), (14, 528), (7, 1056)]),
        ("nasnet_large", [(42, 1008), (21, 2016), (11, 4032)]),
        ("pnasnet_large", [(42, 1080), (21, 2160), (11, 4320)]),
    ],
)
def test_stages(name, stages):
    """NASNet-A (4 @ 1056), NASNet-A (6 @ 4032) and PNASNet-5 (4, 216): sizes and features."""
    model, size = zoo.create(name), zoo.info(name).image_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), "float32")
    outputs = jax.eval_shape(
        lambda variables, images: zoo.features(model, variables, images),
        registry.abstract_variables(name),
        images,
    )
    shapes = [outputs[f"stage{i}"].shape for i in (1, 2, 3)]
    assert shapes == [(1, side, side, features) for side, features in stages]
    assert outputs["embedding"].shape == (1, stages[-1][1])
