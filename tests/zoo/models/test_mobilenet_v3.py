import jax
import pytest

import zoo
from zoo import registry


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("large", [(112, 16), (56, 24), (28, 40), (14, 80), (14, 112), (7, 160)]),
        ("small", [(56, 16), (28, 24), (14, 40), (14, 48), (7, 96)]),
    ],
)
def test_stage_sizes(name, stages):
    """Tables 1 and 2."""
    model, images = zoo.create(f"mobilenet_v3_{name}"), jax.ShapeDtypeStruct((1, 224, 224, 3), "f4")
    variables = registry.abstract_variables(f"mobilenet_v3_{name}")
    features = jax.eval_shape(lambda v, x: zoo.features(model, v, x), variables, images)
    for i, (pixels, width) in enumerate(stages, 1):
        assert features[f"stage{i}"].shape == (1, pixels, pixels, width)
    assert features["embedding"].shape == (1, 1280 if name == "large" else 1024)


def test_squeeze_is_a_quarter_in_multiples_of_eight():
    params = registry.abstract_variables("mobilenet_v3_large")["params"]
    widths = {
        block["depthwise_conv"]["kernel"].shape[-1]: block["squeeze_excite"]["reduce"]["bias"].size
        for block in params.values()
        if "squeeze_excite" in block
    }
    assert widths == {72: 24, 120: 32, 480: 120, 672: 168, 960: 240}
