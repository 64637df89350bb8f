"""A look inside a network: what `python -m train.look` computes and writes."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import zoo
from input_pipeline.example import Source
from train.errors import TrainError
from train.use.decoding import decoded
from train.workspace import write_atomically
from zoo import labels
from zoo.look import drawings, explore, page, pictures
from zoo.look.inside import inside
from zoo.look.layers import LOGITS
from zoo.look.objectives import Objective
from zoo.look.page.network import PIXELS, UnitPictures
from zoo.look.units import TopImages, top_images
from zoo.weights.pretrained import PretrainedModel

MOST_BYTES = 10_000_000  # of the page
TOP = 8  # images of a unit that are shown
_THUMBNAIL = 96  # pixels

Progress = Callable[[Iterable, str, int], Iterable]  # wraps steps: what they are, how many


@dataclasses.dataclass(frozen=True)
class Look:
    """What is to be looked at.

    Attributes:
      trained: The model, its weights and preprocessing.
      image: File of the image.
      target: Class, by name, id or number; "" for the first.
      units: Number of units that are drawn, or their names, "stage4:7,logits:281".
      steps: Steps of a visualisation.
      size: Side of visualisations in pixels, None for the default.
      seed: Of the visualisations.
    """

    trained: PretrainedModel
    image: str
    target: str = ""
    units: str = "8"
    steps: int = 256
    size: int | None = None
    seed: int = 0


def random_model(name: str, seed: int) -> PretrainedModel:
    """Returns a registered model with random weights.

    Raises:
      TrainError: There is no such model.
    """
    try:
        info = zoo.info(name)
        model = zoo.create(name)
    except ValueError as error:
        raise TrainError(str(error)) from error
    images = jnp.zeros((1, info.image_size, info.image_size, info.channels))
    variables = jax.jit(model.init)(jax.random.key(seed), images)
    return PretrainedModel(model, variables, info, zoo.preprocess(info))


class Session:
    """One look: opens the image, and computes what its files show.

    Args:
      look: What is to be looked at.

    Raises:
      TrainError: There is no such class or unit.
      ValueError: The image cannot be read, or the network's results are not finite.
    """

    def __init__(self, look: Look):
        self.look = look
        trained = look.trained
        model, variables = explore.apart(trained.model, trained.variables)
        self.trained = dataclasses.replace(trained, model=model, variables=variables)
        resized = trained.preprocessing.resize(look.image)
        self.pixels = resized.astype(np.float32) / 255
        self.input = np.asarray(trained.preprocessing.normalize(resized))
        count = jax.eval_shape(model.apply, variables, self.input[None]).shape[-1]
        self.ids, self.classes = _classes(trained, count)
        self.seen = inside(model, variables, self.input, self._target())
        if not np.isfinite(self.seen.logits).all():
            raise ValueError("The network's logits are not finite, so there is nothing to look at.")
        self.units = self._units()
        self.shown: list[UnitPictures] = []
        self.maps: dict[str, np.ndarray] = {}

    def _target(self) -> int | None:
        target = self.look.target
        if not target:
            return None
        for known in (self.classes, self.ids, tuple(map(str, range(len(self.classes))))):
            if target in known:
                return list(known).index(target)
        raise TrainError(
            f"--target={target}: none of the model's {len(self.classes)} classes is called so."
        )

    def _units(self) -> list[tuple[str, int]]:
        """The units that are drawn, as (layer, channel)."""
        text = self.look.units
        if text.isdecimal():
            return explore.choose_units(self.seen, int(text))
        outputs = {layer.output: name for name, layer in self.seen.layers.items() if layer.output}
        found = []
        for word in text.split(","):
            name, _, number = word.strip().rpartition(":")
            layer = outputs.get(name, name)
            if layer not in self.seen.layers or not number.isdecimal():
                raise TrainError(
                    f"--units={word}: name units as LAYER:CHANNEL, such as stage2:7; the outputs "
                    f"are {', '.join(outputs)}, and any layer of python -m zoo summary will do."
                )
            channels = self.seen.values[layer].shape[-1]
            if int(number) >= channels:
                raise TrainError(f"--units={word}: {name} has {channels} channels.")
            found.append((layer, int(number)))
        return found

    def label(self, layer: str, channel: int) -> str:
        """What a unit is called: the name of a class, or the layer and the channel."""
        output = self.seen.layers[layer].output
        if output == LOGITS:
            return self.classes[channel]
        return f"{output or layer} : {channel}"

    def attribute(self) -> None:
        """Computes the maps of what in the image the class goes by."""
        trained = self.trained
        self.maps = explore.attributions(trained.model, trained.variables, self.input, self.seen)

    def visualise(self, progress: Progress) -> None:
        """Draws the units."""
        if not self.units:
            return
        wanted: list[Objective] = [explore.objective_of(self.seen, *unit) for unit in self.units]
        bar = iter(progress(range(self.look.steps), "units", self.look.steps))

        def advance(steps: int) -> None:
            for _ in range(steps):
                next(bar)

        found = explore.visualise_units(
            *(self.trained.model, self.trained.variables, self.trained.preprocessing, wanted),
            jax.random.key(self.look.seed),
            size=self.look.size or drawing_size(self.trained),
            steps=self.look.steps,
            progress=advance,
        )
        next(bar, None)  # so that it is closed
        values, images = np.asarray(found.values), np.asarray(found.images)
        self.shown = [
            UnitPictures(*unit, self.label(*unit), images[i], values[:, i].tolist())
            for i, unit in enumerate(self.units)
        ]

    def find_top(
        self, source: Source, most: int, batch_size: int, threads: int, progress: Progress
    ) -> None:
        """Finds the strongest images of the units among the first `most` of a data set."""
        preprocessing, trained = self.trained.preprocessing, self.trained
        names = tuple(dict.fromkeys(layer for layer, _ in self.units))
        indices = range(min(most, len(source)))
        chunks = [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]

        def decode(index: int) -> np.ndarray:
            example = source[index]
            try:
                return preprocessing.resize(example.image)
            except (ValueError, OSError) as error:
                raise ValueError(f"{example.name}: {error}") from error

        def batches() -> Iterable[np.ndarray]:
            for _, made in progress(decoded(chunks, decode, threads), "data", len(chunks)):
                yield np.asarray(preprocessing.normalize(np.stack(made)))

        found = top_images(trained.model, trained.variables, batches(), names, TOP)
        self.shown = [self._with_top(unit, found[unit.layer], decode) for unit in self.shown]

    def _with_top(
        self, unit: UnitPictures, found: TopImages, decode: Callable[[int], np.ndarray]
    ) -> UnitPictures:
        images, places = [], []
        for index, position in zip(
            found.indices[unit.channel], found.positions[unit.channel], strict=True
        ):
            place = divmod(int(position), found.size[1])
            pixels = decode(int(index)).astype(np.float32) / 255
            images.append(_thumbnail(pixels[explore.field_of(self.seen, unit.layer, place)]))
            places.append(place)
        values = found.values[unit.channel].tolist()
        return unit._replace(top=images, top_values=values, top_positions=places)

    def page(self, note: str = "") -> str:
        """Returns the page, which is as detailed as its bound on bytes allows."""
        share = PIXELS
        while True:
            data = page.page_of(
                *(self.trained, self.seen, self.pixels, self.classes),
                maps=self.maps,
                units=self.shown,
                note=note,
                pixels_of_maps=share,
            )
            text = page.render(data)
            if len(text.encode()) <= MOST_BYTES or share < 1000:
                return text
            share //= 2

    def write(self, out: Path, note: str = "") -> list[Path]:
        """Writes page.html and the pictures; returns the files.

        Raises:
          OSError: One cannot be written.
        """
        out.mkdir(parents=True, exist_ok=True)
        target = self.classes[self.seen.target]
        write_atomically(out / "page.html", self.page(note))
        written = [out / "page.html"]
        drawn: list[tuple[str, Callable[[Path], None]]] = [
            ("activations.png", lambda path: drawings.draw_activations(self.seen, path)),
            (
                "attribution.png",
                lambda path: drawings.draw_attributions(self.pixels, self.maps, target, path),
            ),
            ("filters.png", lambda path: _draw_filters(self.trained.variables, path)),
        ]
        if self.shown:
            drawn.append(("units.png", lambda path: drawings.draw_units(self.shown, path)))
        for name, draw in drawn:
            try:
                draw(out / name)
            except ValueError:  # the network has none: no map, no convolution of the image
                continue
            written.append(out / name)
        return written


def drawing_size(trained: PretrainedModel) -> int:
    """Returns the side in pixels at which units of a model are drawn: 128, or less, or its own.

    Networks of one image size are given that.
    """
    size, channels = trained.preprocessing.image_size, trained.preprocessing.channels
    if size <= 128:
        return size
    try:
        small = jax.ShapeDtypeStruct((1, 128, 128, channels), jnp.float32)
        jax.eval_shape(trained.model.apply, trained.variables, small)
    except Exception:  # of any type: the network does not take this size
        return size
    return 128


def _draw_filters(variables: Any, path: Path) -> None:
    pictures.save_pixels(pictures.grid(pictures.first_filters(variables)), path)


def _classes(trained: PretrainedModel, count: int) -> tuple[Sequence[str], Sequence[str]]:
    try:
        return labels.classes_of(trained, count)
    except ValueError:  # nothing is known but their number
        numbers = tuple(map(str, range(count)))
        return numbers, numbers


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    """An image with a longer side of `_THUMBNAIL` pixels, small ones enlarged by whole numbers."""
    from zoo.look.page.encode import reduced

    side = max(pixels.shape[:2])
    if side < _THUMBNAIL:
        factor = math.ceil(_THUMBNAIL / 2 / side)
        pixels = pixels.repeat(factor, 0).repeat(factor, 1)
    return reduced(pixels, _THUMBNAIL)
