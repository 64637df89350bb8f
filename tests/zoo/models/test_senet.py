import pytest

import zoo


@pytest.mark.parametrize(
    ("name", "backbone", "depths"),
    [
        ("seresnet50", "resnet50", (3, 4, 6, 3)),
        ("seresnet101", "resnet101", (3, 4, 23, 3)),
        ("seresnext50_32x4d", "resnext50_32x4d", (3, 4, 6, 3)),
    ],
)
def test_gates_add_the_papers_number_of_parameters(name, backbone, depths):
    """Equation 5: 2 / r * sum of N_s * C_s^2 over the stages, and the biases here."""
    added = zoo.info(name).num_params - zoo.info(backbone).num_params
    widths = (256, 512, 1024, 2048)
    stages = list(zip(depths, widths, strict=True))
    assert added == sum(n * (2 * c * c // 16 + c + c // 16) for n, c in stages)


def test_gates_cost_next_to_nothing():
    """Table 2: 3.86 against 3.87 G multiply-adds for ResNet-50, here with equal strides."""
    ours, backbone = zoo.info("seresnext50_32x4d").gmacs, zoo.info("resnext50_32x4d").gmacs
    assert 0 < ours / backbone - 1 < 0.001
