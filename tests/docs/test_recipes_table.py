"""The table in docs/recipes.md; made anew by `python docs/tools/recipes_table.py`."""


def test_table_is_current(tool):
    table = tool("recipes_table")
    assert table.written().splitlines() == table.table().splitlines()


def test_every_recipe_says_what_was_published(tool):
    """Of each variant, or that nothing was."""
    table = tool("recipes_table")
    for name in {name for name, _ in table.cases()}:
        lines = table.section(name, "Published")
        said = {line[1:].partition(" ")[0] for line in lines[1:]}
        of_all = lines == ["none"]
        assert lines[0] and (of_all or said == set(table.variants(name)[1:])), name


def test_a_variant_has_a_state_of_its_own(tool, monkeypatch):
    table = tool("recipes_table")
    lines = ["verified: 1.0 top-1; 2 s", ":b verified: 2.0 top-1"]
    monkeypatch.setattr(table, "section", lambda name, label: lines)
    monkeypatch.setattr(table, "variants", lambda name: ["a", "b", "c"])
    states = [table.state("any", variant) for variant in "abc"]
    assert states == ["verified", "verified", "not yet run"]
    lines[:] = ["verified, all variants: see there"]
    assert table.state("any", "c") == "verified"
