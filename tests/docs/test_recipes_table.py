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
        assert lines[0] and said == set(table.variants(name)[1:]), name
