"""The messages quoted in docs/errors.md are those of the source, and of Flax."""

import ast
import pathlib
import re

import jax
import jax.numpy as jnp
import pytest
from flax import errors

import zoo

pytestmark = pytest.mark.quick
ROOT = pathlib.Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/errors.md").read_text()
FLAX, OURS = re.split(r"^## zoo$", PAGE, flags=re.MULTILINE)


def quoted(text: str) -> list[str]:
    """What stands as code in the first column of the tables."""
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return [quote for cell in cells for quote in re.findall(r"`([^`]+)`", cell)]


@pytest.fixture(scope="module")
def source(tool) -> str:
    template, texts = tool("site").template, []
    for path in (path for room in ("zoo", "train", "input_pipeline") for path in files(room)):
        texts += [template(node) for node in ast.walk(ast.parse(path.read_text()))]
    return "\n".join(texts)


def files(room: str) -> list[pathlib.Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("quote", quoted(OURS))
def test_messages_are_those_of_the_source(source, quote):
    assert quote in source


@pytest.mark.parametrize(
    ("error", "name", "keep", "arguments"),
    [
        (errors.ModifyScopeVariableError, "resnet20_cifar", ["params", "batch_stats"], {}),
        (errors.InvalidRngError, "vgg11", ["params"], {}),
        (errors.ScopeCollectionNotFound, "resnet20_cifar", ["params"], {"train": False}),
        (errors.ScopeParamShapeError, "lenet5", ["params"], {"num_classes": 7}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_messages_are_those_of_flax(error, name, keep, arguments):
    num_classes, train = arguments.get("num_classes", 10), arguments.get("train", True)
    info = zoo.info(name)
    images = jnp.zeros((1, info.image_size, info.image_size, info.channels))
    variables = jax.eval_shape(zoo.create(name, num_classes=10).init, jax.random.key(0), images)
    variables = {collection: variables[collection] for collection in keep}
    model = zoo.create(name, num_classes=num_classes)
    with pytest.raises(error) as raised:
        jax.eval_shape(lambda variables: model.apply(variables, images, train=train), variables)
    (quote,) = (quote for quote in quoted(FLAX) if quote.startswith(error.__name__))
    kind, _, words = quote.partition(": ")
    assert kind == error.__name__ and words in str(raised.value)
