import pytest

from zoo import registry
from zoo.models.regnet import generate


def widths(name):
    params = registry.abstract_variables(name)["params"]
    return [params[f"stage{i}_block1"]["conv1"]["kernel"].shape[-1] for i in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("name", "design", "depths", "rounded"),
    [
        ("regnet_x_16gf", (22, 216, 55.59, 2.1), [2, 6, 13, 1], [256, 512, 896, 2048]),
        ("regnet_y_400mf", (16, 48, 27.89, 2.09), [1, 3, 6, 6], [48, 104, 208, 440]),
        ("regnet_y_16gf", (18, 200, 106.23, 2.48), [2, 4, 11, 1], [224, 448, 1232, 3024]),
    ],
)
def test_four_numbers_and_a_group_width_make_the_papers_network(name, design, depths, rounded):
    assert [depth for _, depth in generate(*design)] == depths
    assert widths(name) == rounded


def test_torchvision_rounds_the_first_stage_of_y_8gf_up():
    """192 features are 3.4 groups of 56: 3 in the paper, but that takes off more than a tenth."""
    assert widths("regnety_080") == [168, 448, 896, 2016]
    assert widths("regnet_y_8gf") == [224, 448, 896, 2016]


def test_y_is_x_with_squeeze_and_excitation():
    x, y = (
        registry.abstract_variables(name)["params"]["stage1_block1"]
        for name in ("regnet_x_400mf", "regnet_y_400mf")
    )
    assert set(y) - set(x) == {"se"}
