"""Small programs, each run once or twice: compiling them costs more than running them."""

import pytest


@pytest.fixture(autouse=True)
def _quick_compilation(quick_compilation):
    """For all tests of this folder."""
