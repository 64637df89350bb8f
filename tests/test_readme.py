import pathlib
import re

from zoo.__main__ import table

README = pathlib.Path(__file__).parent.parent / "README.md"


def test_model_table_is_current():
    """Made anew by: python -m zoo list"""
    (written,) = re.findall(r"<!-- models -->\n(.*?)<!-- /models -->", README.read_text(), re.S)
    assert written.strip() == table()
