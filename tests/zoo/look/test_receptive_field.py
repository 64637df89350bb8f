"""Receptive fields are those that were measured by the footprint of gradients: a golden."""

import json
import math
from pathlib import Path

import goldens
import pytest

import zoo
from zoo.look import receptive_fields


def cases(folder: Path) -> dict[str, tuple]:
    file = folder / "receptive_fields.json"
    golden = json.loads(file.read_text()) if file.exists() else {}
    return {name: (goldens.OURS.get(name, name), stages) for name, stages in golden.items()}


@pytest.mark.look_goldens(case=cases)
def test_equals_the_measured_footprint(case):
    name, stages = case
    info = zoo.info(name)
    found = receptive_fields(zoo.create(name), info.image_size, info.channels)
    for stage, expected in stages.items():
        assert found[stage] == (expected["size"], expected["stride"], expected["start"]), stage


@pytest.mark.parametrize(
    "name, stage, expected",
    [
        ("lenet5", "stage2", (16, 4, 0)),
        ("lenet5_1998", "stage2", (16, 4, 0)),  # its sums are of blocks that it reshapes into
        ("inception_v3", "stage3", (1311, 32, -618)),
        ("vit_ti_16", None, None),
        ("seresnet18", "stage1", (math.inf, 0, -math.inf)),
    ],
)
def test_other_kinds(name, stage, expected):
    info = zoo.info(name)
    found = receptive_fields(zoo.create(name), info.image_size, info.channels)
    if stage is None:
        assert found.pop("stem") == (16, 16, 0)
        assert found and all(field.size == math.inf for field in found.values())
    else:
        assert found[stage] == expected
