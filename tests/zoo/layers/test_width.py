import pytest

from zoo.layers.width import scaled

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("features", "width", "expected"),
    [(32, 1.0, 32), (24, 1.4, 32), (16, 0.25, 8), (1280, 1.4, 1792), (88 / 4, 1.0, 24)],
)
def test_nearest_multiple_of_eight(features, width, expected):
    assert scaled(features, width) == expected


def test_never_ten_per_cent_less():
    assert scaled(11) == 16  # the nearest is 8, which is 27 % less
    assert scaled(18) == 24  # 16 is 11 % less
