"""Parts of the site that are made when it is built, so that they cannot go stale.

A page for each family, from the registry, the docstring of the family's file and the table in
docs/models.md; the figures, from benchmarks/README.md; the tables and pictures of docs/lectures
(book.py); at the end of docs/errors.md all messages that stand in the source. mkdocs calls the
functions whose names begin with `on_`.
"""

import ast
import functools
import html
import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo import registry

ROOT = Path(__file__).parent.parent.parent
MESSAGES = "<!-- messages -->"
INCLUDED = re.compile(r"<!-- file: (.*) -->")
ROOMS = {
    "zoo": "zoo/*.py",
    "zoo/weights": "zoo/weights/*.py",
    "zoo/models, zoo/layers, zoo/kernels": "zoo/[mlk]*/*.py",
    "input_pipeline": "input_pipeline/*.py",
    "input_pipeline/augment": "input_pipeline/augment/*.py",
    "train": "train/*.py",
    "train/plan": "train/plan/*.py",
    "configs": "configs/*.py",
}


@functools.cache
def book() -> Any:
    """docs/tools/book.py, which makes the book of the lectures."""
    spec = importlib.util.spec_from_file_location("docs_book", ROOT / "docs/tools/book.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def families() -> list[str]:
    """The names of all families in the order of the table: by year."""
    infos = map(registry.info, registry.list_models())
    years = {info.family: info.year for info in sorted(infos, key=lambda info: -info.year)}
    return sorted(years, key=lambda family: (years[family], title(family).lower()))


def title(family: str) -> str:
    """What the family's docstring calls it: "ResNet"."""
    line = docstring(family).partition("\n")[0]
    return line.partition(": " if ": " in line else ",")[0]


def docstring(family: str) -> str:
    return importlib.import_module(f"zoo.models.{family}").__doc__ or ""


def table_rows() -> dict[str, list[str]]:
    """The cells of docs/models.md: {model: [year, image, parameters, GMACs, top-1, source]}."""
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", (ROOT / "docs/models.md").read_text(), re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


def family_page(family: str) -> str:
    """A family's page in Markdown."""
    infos = [info for info in map(registry.info, registry.list_models()) if info.family == family]
    rows = table_rows()
    infos.sort(key=lambda info: list(rows).index(info.name))
    text = docstring(family)
    if ": " in text.partition("\n")[0]:
        text = text.partition(": ")[2]
        text = text[0].upper() + text[1:]
    return "\n\n".join(
        [
            f"# {title(family)}",
            linked(spaced(text)).strip(),
            "## Models",
            f'```python\nmodel = zoo.create("{infos[0].name}")\n```',
            models_table(infos, rows),
            "Parameters and multiply-adds are counted; accuracies are published, in %.",
            *papers(infos),
            "## Input",
            *inputs(infos),
            "## The file { data-search-exclude }",
            source(family),
        ]
    )


def models_table(infos: list[registry.Info], rows: dict[str, list[str]]) -> str:
    lines = [
        "| model | image | parameters | GMACs | top-1 | top-5 | accuracy from | reference |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for info in infos:
        _, image, params, gmacs, top1, accuracy_source = rows[info.name]
        top5 = "" if info.top5 is None else f"{info.top5:.2f}"
        cells = [f"`{info.name}`", image, params, gmacs, top1, top5, accuracy_source]
        lines.append(f"| {' | '.join([*cells, info.reference])} |")
    return "\n".join(lines)


def papers(infos: list[registry.Info]) -> Iterator[str]:
    """A line for each paper; with the names of its models where there are several."""
    names: dict[str, list[str]] = {}
    for info in infos:
        names.setdefault(info.paper, []).append(f"`{info.name}`")
    for paper, models in names.items():
        which = f" ({', '.join(models)})" if len(names) > 1 else ""
        yield f"Paper: {linked(paper)}{which}."


def inputs(infos: list[registry.Info]) -> Iterator[str]:
    """What images the models take; with their names where they differ."""
    names: dict[str, list[str]] = {}
    for info in infos:
        mean, std = (", ".join(f"{x:.4g}" for x in values) for values in (info.mean, info.std))
        channels = info.channel_order if info.channels == 3 else "grey"
        crop = "" if info.crop == 1 else f" of {info.crop:.4g} of the shorter side"
        words = (
            f"Images in {channels}, scaled to [0, 1], less the mean ({mean}), divided by ({std}). "
            f"For evaluation: the central square{crop}, resized by {info.interpolation} "
            "interpolation."
        )
        names.setdefault(words, []).append(f"`{info.name}`")
    for words, models in names.items():
        yield f"{', '.join(models)}: {words}" if len(names) > 1 else words


def source(family: str) -> str:
    code = (ROOT / f"zoo/models/{family}.py").read_text()
    indented = "\n".join(f"    {line}" for line in f"````python\n{code}````".splitlines())
    return f'??? example "zoo/models/{family}.py"\n\n{indented}\n'


def spaced(text: str) -> str:
    """With an empty line before each list, as Python's Markdown wants it and docstrings do not."""
    return re.sub(r"^((?!- |  ).+)\n(?=- )", r"\1\n\n", text, flags=re.MULTILINE)


def linked(text: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def messages(path: Path) -> Iterator[tuple[str, str]]:
    """(kind, message) of what a file raises or warns of; what varies stands as <name> or as …"""
    tree = ast.parse(path.read_text())
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    parts = {getattr(node.targets[0], "id", ""): template(node.value) for node in assigned}
    for node in ast.walk(tree):
        call = node.exc if isinstance(node, ast.Raise) else node
        if not isinstance(call, ast.Call) or not call.args:
            continue
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        text = template(call.args[0], parts)
        warns = name == "warn" or (name == "print" and text.startswith(("Warning", "Note")))
        for_people = " " in text and name != "UnpicklingError"  # which becomes part of a message
        if for_people and (isinstance(node, ast.Raise) or warns):
            yield ("warning" if warns else name), text


def template(node: ast.expr, parts: Mapping[str, str] | None = None) -> str:
    """The text of a string in the source, with `parts` for variables; "" for what is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp):
        return template(node.left, parts) + template(node.right, parts)
    if not isinstance(node, ast.JoinedStr):
        return ""
    words = []
    for part in node.values:
        value = getattr(part, "value", None)
        name = getattr(value, "id", getattr(value, "attr", None))
        varies = (parts or {}).get(name) or (f"<{name}>" if name else "…")
        words.append(template(part) or varies)
    return "".join(words)


def all_messages() -> str:
    """The messages of all rooms, as HTML."""
    lines = []
    for room, pattern in ROOMS.items():
        found = sorted({m for path in sorted(ROOT.glob(pattern)) for m in messages(path)})
        if found:
            items = (f"<li><code>{k}</code> {html.escape(text)}</li>" for k, text in found)
            lines.append(f"### {room}\n\n<ul>\n{chr(10).join(items)}\n</ul>")
    return "\n\n".join(lines)


def on_config(config: Any) -> Any:
    """Adds the families to the navigation."""
    (models,) = (entry["Models"] for entry in config.nav if "Models" in entry)
    models += [{title(family): f"families/{family}.md"} for family in families()]
    (chapters,) = (entry["Lectures"] for entry in config.nav if "Lectures" in entry)
    chapters += [{words: f"lectures/{name}.md"} for name, words in book().CHAPTERS.items()]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the families' pages, the pictures of the lectures, and the figures of benchmarks."""
    from mkdocs.structure.files import File

    figures = (ROOT / "benchmarks/README.md").read_text()
    files.append(File.generated(config, "figures.md", content=figures))
    for family in families():
        page = family_page(family)
        files.append(File.generated(config, f"families/{family}.md", content=page))
    for chapter in book().CHAPTERS:
        for name, content in book().pictures(chapter):
            files.append(File.generated(config, f"lectures/{name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links the models' names to their families; puts in all messages, and files of the source."""
    if page.file.src_uri == "models.md":
        return re.sub(
            r"^\| `(\w+)` ",
            lambda row: f"| [`{row[1]}`](families/{registry.info(row[1]).family}.md) ",
            markdown,
            flags=re.MULTILINE,
        )
    folder, _, name = page.file.src_uri.removesuffix(".md").rpartition("/")
    if folder == "lectures":
        return book().page(name)
    if MESSAGES in markdown:
        markdown = markdown.replace(MESSAGES, all_messages())
    return INCLUDED.sub(lambda name: f"```python\n{(ROOT / name[1]).read_text()}```", markdown)
