import jax.numpy as jnp
import pytest

from zoo.layers.image_size import require_at_least, require_exactly, require_multiples

pytestmark = pytest.mark.quick


def images(height: int, width: int):
    return jnp.zeros((1, height, width, 3))


def test_at_least():
    require_at_least(images(75, 80), 75, "Net")
    for size in [(74, 200), (200, 74)]:
        with pytest.raises(ValueError, match="Net takes images of at least 75x75 pixels, got"):
            require_at_least(images(*size), 75, "Net")


def test_exactly():
    require_exactly(images(32, 32), 32, "Net")
    with pytest.raises(ValueError, match=r"Net takes images of 32x32 pixels, got 32x28\. Pad it\."):
        require_exactly(images(32, 28), 32, "Net", "Pad it.")


def test_multiples():
    require_multiples(images(32, 64), 16, "Net")
    with pytest.raises(ValueError, match="multiples of 16, such as 224x224 pixels, got 32x63"):
        require_multiples(images(32, 63), 16, "Net")
    with pytest.raises(ValueError, match="such as 48x48 pixels, got 0x16"):
        require_multiples(images(0, 16), 16, "Net", example=48)


def test_multiples_but_for_some_pixels():
    require_multiples(images(25, 32), 32, "Net", missing=7)
    with pytest.raises(ValueError, match="got 24x32"):
        require_multiples(images(24, 32), 32, "Net", missing=7)


def test_multiples_of_a_square():
    require_multiples(images(32, 32), 16, "Net", square=True)
    with pytest.raises(ValueError, match="square images.*got 32x16"):
        require_multiples(images(32, 16), 16, "Net", square=True)
