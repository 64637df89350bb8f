import jax.numpy as jnp
import pytest

from zoo.layers.image_size import require_at_least


def test_either_side_may_be_too_small():
    require_at_least(jnp.zeros((1, 75, 75, 3)), 75, "Net")
    for shape in [(1, 74, 80, 3), (1, 80, 74, 3)]:
        with pytest.raises(ValueError, match=f"Net takes.*75x75.*got {shape[1]}x{shape[2]}"):
            require_at_least(jnp.zeros(shape), 75, "Net")
