"""Who may import whom, read from the source: four rooms, and four floors inside of `zoo`.

Recipes and their schema are data: `configs` imports nothing of ours, and `train` finds them there.

Generative models live in `zoo.models` as well, with registry entries of a kind of their own. What
looks inside of networks lives in `zoo.look`: it takes iterables, not data sets.
"""

import ast
import graphlib
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# What the modules of a room may import, beside each other. A module belongs to the room with the
# longest name that it starts with; "zoo" are the files of that folder itself: the public face.
MAY_IMPORT = {
    "configs": set(),
    "train": {
        "configs",
        "input_pipeline",
        "zoo",
        "zoo.registry",
        "zoo.macs",
        "zoo.labels",
        "zoo.look",
        "zoo.pictures",
        "zoo.preprocess",
        "zoo.representation",
        "zoo.weights",
    },
    "input_pipeline": set(),
    "zoo.pictures": set(),
    "zoo.preprocess": {"zoo.registry", "zoo.pictures", "zoo.representation"},
    "zoo.representation": set(),
    "zoo.labels": set(),
    "zoo": {
        "zoo.registry",
        "zoo.preprocess",
        "zoo.labels",
        "zoo.macs",
        "zoo.stages",
        "zoo.weights",
        "zoo.look",
        "zoo.export",
    },
    "zoo.export": {"zoo.registry", "zoo.preprocess", "zoo.representation", "zoo.weights"},
    "zoo.look": {"zoo", "zoo.registry", "zoo.layers", "zoo.labels", "zoo.macs", "zoo.preprocess"},
    "zoo.weights": {"zoo.registry", "zoo.layers", "zoo.preprocess", "zoo.labels"},
    "zoo.models": {"zoo.registry", "zoo.layers"},
    "zoo.registry": {"zoo.macs", "zoo.stages"},
    "zoo.macs": set(),
    "zoo.stages": {"zoo.layers"},
    "zoo.layers": {"zoo.kernels"},
    "zoo.kernels": set(),
}
# The registry imports the folder of the families and finds them in it by name; the public face
# hands on one switch of the kernels, and whoever reads a program says for which platform it is
# traced. A recipe may make an operation of its own of ours.
BY_NAME = {
    ("configs.lenet_augmented", "input_pipeline.augment"),
    ("configs.nest_tiny", "input_pipeline.augment"),
    ("zoo.registry", "zoo.models"),
    ("zoo", "zoo.kernels.platform"),
    ("zoo.export.onnx_file", "zoo.kernels.platform"),
    ("zoo.export.stablehlo", "zoo.kernels.platform"),
    ("train.build", "zoo.kernels.platform"),
    ("zoo.counts", "zoo.kernels.platform"),
    ("zoo.depth", "zoo.kernels.platform"),
    ("zoo.traced_layers", "zoo.kernels.platform"),
    ("zoo.traced_layers", "zoo.layers.observe"),
    ("zoo.look.charts", "zoo.weights.files"),
    ("zoo.look.receptive_field", "zoo.kernels.platform"),
    ("zoo.look.inside", "zoo.kernels.platform"),
    ("train.plan.roofline", "zoo.kernels.platform"),
}
# Outside of the rooms: programs, tests and texts. They may import anything, and nobody them.
IMPORTED_BY_NOBODY = ("tests", "benchmarks", "examples", "docs")
FLAX_PROGRAM = {"jax", "jaxlib", "flax", "numpy"}


def module_name(path: pathlib.PurePath) -> str:
    """The dotted name of a file: zoo/layers/conv.py -> zoo.layers.conv, zoo/__init__.py -> zoo."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imported(source: str, module: str, modules: set[str]) -> set[str]:
    """What the source of `module` imports, wherever in it, as full names.

    `from zoo import registry` is zoo.registry if there is such a module, and else zoo.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = node.module or ""
            if node.level:
                above = module.split(".")[: -node.level]
                package = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{package}.{alias.name}"
                found.add(inner if inner in modules else package)
    return found


def sources() -> dict[str, str]:
    """Every Python file of the repository, by its module's name."""
    files = [path.relative_to(ROOT) for path in ROOT.rglob("*.py")]
    tops = {*(room.partition(".")[0] for room in MAY_IMPORT), *IMPORTED_BY_NOBODY}
    return {module_name(file): (ROOT / file).read_text() for file in files if file.parts[0] in tops}


SOURCES = sources()
ARROWS = {
    module: imported(source, module, set(SOURCES)) - {module} for module, source in SOURCES.items()
}


def room_of(module: str) -> str | None:
    rooms = [room for room in MAY_IMPORT if module == room or module.startswith(f"{room}.")]
    return max(rooms, key=len, default=None)


def forbidden(module: str, target: str) -> bool:
    """Whether `module`, which is in a room, must not import `target`."""
    here, there = room_of(module), room_of(target)
    if there is None:
        return target.partition(".")[0] in IMPORTED_BY_NOBODY
    return here != there and there not in MAY_IMPORT[here] and (module, target) not in BY_NAME


def test_every_arrow_is_allowed():
    wrong = [
        f"{module} imports {target}"
        for module, targets in ARROWS.items()
        for target in targets
        if room_of(module) and forbidden(module, target)
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("zoo.features", "train.step"),
        ("zoo.look.filters", "input_pipeline"),
        ("zoo.models.vit", "zoo.kernels.einsum"),
        ("zoo.models.vit", "zoo"),
        ("zoo.layers.conv", "zoo.registry"),
        ("zoo.kernels.conv", "zoo.layers.conv"),
        ("zoo.registry", "zoo.models.vit"),
        ("input_pipeline.folder", "train.errors"),
        ("configs.lenet", "train.step"),
        ("train.step", "zoo.models.vit"),
        ("zoo.features", "tests.zoo.goldens"),
    ],
)
def test_these_arrows_are_not(module, target):
    assert forbidden(module, target)


def test_imports_are_found_wherever_they_stand():
    source = "def f():\n    from zoo import registry, create\n    import train.step as s\n"
    assert imported(source, "zoo.x", {"zoo.registry"}) == {"zoo", "zoo.registry", "train.step"}
    source = "from . import conv\nfrom ..kernels import einsum\nfrom .dense import Dense\n"
    modules = {"zoo.layers.conv", "zoo.layers.dense", "zoo.kernels.einsum"}
    assert imported(source, "zoo.layers.x", modules) == modules


def test_the_rooms_are_read():
    read = {room_of(module) for module in SOURCES}
    folders = {"zoo.look"}  # those that may not be there yet
    assert set(MAY_IMPORT) - folders <= read
    assert "zoo.layers.conv" in ARROWS["zoo.models.lenet"]


def test_no_circle():
    order = graphlib.TopologicalSorter(
        {module: targets & set(SOURCES) for module, targets in ARROWS.items()}
    )
    order.prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("room", ["zoo.kernels", "zoo.layers", "zoo.models"])
def test_networks_need_jax_and_flax_alone(room):
    outside = {
        target.partition(".")[0]
        for module, targets in ARROWS.items()
        for target in targets
        if room_of(module) == room and room_of(target) is None
    }
    assert outside <= FLAX_PROGRAM | sys.stdlib_module_names
