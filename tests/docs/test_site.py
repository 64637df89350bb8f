"""What the scripts in docs/tools make: pages of families, the list of messages, the picture."""

import ast
import pathlib
import pkgutil

import pytest

import zoo.models

pytestmark = pytest.mark.quick
ROOT = pathlib.Path(__file__).parent.parent.parent
FAMILIES = [family.name for family in pkgutil.iter_modules(zoo.models.__path__)]


@pytest.fixture(scope="module")
def site(tool):
    return tool("site")


def test_all_families_have_a_page(site):
    assert sorted(site.families()) == sorted(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_page_of_a_family(site, family):
    page = site.family_page(family)
    heading, _, rest = page.partition("\n")
    assert heading == f"# {site.title(family)}"
    for name in zoo.list_models():
        info = zoo.info(name)
        assert (f"\n| `{name}` |" in page) == (info.family == family)
        assert info.family != family or site.linked(info.paper) in rest
    assert (ROOT / f"zoo/models/{family}.py").read_text().splitlines()[-1] in page


def test_models_of_the_table_link_to_their_family(site):
    class Page:
        class file:
            src_uri = "models.md"

    linked = site.on_page_markdown("| `resnet18` | 2015 |", page=Page)
    assert linked == "| [`resnet18`](families/resnet.md) | 2015 |"


def test_list_of_messages(site, tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        'limit = f"over {most}"\n'
        'raise ValueError(f"{name!r} is {len(found)} too " + f"many, {limit}.")\n'
        'warnings.warn(f"Slow: {self.reason}", stacklevel=2)\n'
        'raise KeyError("key")\n'
    )
    assert list(site.messages(path)) == [
        ("ValueError", "<name> is … too many, over <most>."),
        ("warning", "Slow: <reason>"),
    ]
    assert "There is no model &lt;name&gt;." in site.all_messages()


def test_picture_is_drawn_by_its_script(tool):
    picture = tool("architecture").picture()
    assert (ROOT / "docs/architecture.svg").read_text() == picture


def test_arrows_of_the_picture_are_imports(tool):
    architecture = tool("architecture")
    rooms = [name for name in architecture.BOXES if name not in ("frame", "program", "configs")]
    arrows = {(start, end) for start, end, _ in architecture.IMPORTS if start != "program"}
    imports = set()
    for path in (path for room in ("train", "zoo", "input_pipeline") for path in files(room)):
        for module in imported(path):
            imports.add((room_of(path.relative_to(ROOT), rooms), room_of(module, rooms)))
    assert arrows <= imports


def files(folder: str) -> list[pathlib.Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: pathlib.Path) -> list[pathlib.Path]:
    """The project's modules that a file imports, as paths without their ending."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    paths = [pathlib.Path(*name.split(".")) for name in names]
    return [path for path in paths if path.parts[0] in ("train", "zoo", "input_pipeline")]


def room_of(path: pathlib.Path, rooms: list[str]) -> str:
    """The innermost room that a module of the project lies in."""
    parts = path.with_suffix("").as_posix()
    return max((room for room in rooms if f"{parts}/".startswith(f"{room}/")), key=len)
