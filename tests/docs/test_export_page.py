"""The commands and the Python on the page docs/export.md print what stands below them."""

import contextlib
import io
import pathlib
import re
import shlex
import types

import pytest

from zoo.__main__ import main

PAGE = (pathlib.Path(__file__).parents[2] / "docs/export.md").read_text()
BLOCK = re.compile(r"^```(sh|py)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.M | re.S)
COMMAND = "python -m zoo "


def run(language: str, code: str, page: types.ModuleType) -> None:
    if language == "py":
        exec(code, page.__dict__)
        return
    for line in code.splitlines():
        if line.startswith(COMMAND):
            with pytest.raises(SystemExit) as exit:
                main(shlex.split(line.removeprefix(COMMAND)))
            assert exit.value.code == 0


def without_figures(text: str) -> list[str]:
    """The lines of ONNX Runtime and of what is not a runtime, without versions and differences."""
    lines = [line for line in text.splitlines() if not line.startswith("OpenVINO")]
    return [re.sub(r"(Runtime) [\d.]+: [\d.e-]+", r"\1", line) for line in lines]


@pytest.mark.full
@pytest.mark.usefixtures("folder", "quick_compilation")
def test_blocks_print_what_stands_below():
    page, blocks = types.ModuleType("page"), BLOCK.findall(PAGE)
    assert [language for language, _, _ in blocks].count("py") == 3
    for language, code, expected in blocks:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            run(language, code, page)
        if expected:
            assert without_figures(output.getvalue()) == without_figures(expected)
