"""No golden is passed over: each file of the folder belongs to a test."""

import pytest

KINDS = ("attribution_", "attention_", "featurevis_", "fourier_image.json", "receptive_fields.json")


@pytest.mark.look_goldens
def test_every_file_is_of_a_known_kind(request):
    folder = request.config.getoption("--look-goldens")
    names = [path.name for path in folder.glob("*.json")]
    assert names and not [name for name in names if not name.startswith(KINDS)]
