"""Cuts 200 photographs of animals, buildings, fish and tools out of a Debian package.

    curl -O http://deb.debian.org/debian/pool/main/g/gcompris-qt/gcompris-qt-data_3.1-2_all.deb
    python examples/four_classes.py gcompris-qt-data_3.1-2_all.deb photos

`apt-get download gcompris-qt-data=3.1-2` brings the same file. The program writes
photos/train/CLASS/*.jpg and photos/validation/CLASS/*.jpg, and photos/sources.csv with licence,
author and source of each. The package has 166 different ones; 34 crops of them make 50 a class. A
crop, and another photograph of the same thing, is on the side of its photograph, and crops are
trained on only: what is evaluated are whole photographs.

All are made 320 pixels long: classes come in other sizes, and sharpness would give them away.
"""

import argparse
import csv
import hashlib
import io
import lzma
import random
import re
import struct
import sys
import tarfile
import zlib
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from PIL import Image

SHA256 = "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f"
PACKAGE = "./usr/share/gcompris-qt/rcc/"
ACTIVITIES = "/gcompris/src/activities/"
# Name of a source: the file of the package, and the folder in it, which has a README with licences.
SOURCES = {
    "fishes": ("categorization.rcc", "categorization/resource/images/fishes/"),
    "tools": ("categorization.rcc", "categorization/resource/images/tools/"),
    "monuments": ("categorization.rcc", "categorization/resource/images/monuments/"),
    "explore": ("explore_monuments.rcc", "explore_monuments/resource/"),
    "farm": ("explore_farm_animals.rcc", "explore_farm_animals/resource/animals/"),
    "world": ("explore_world_animals.rcc", "explore_world_animals/resource/animals/"),
    "erase": ("erase.rcc", "erase/resource/"),
}
CLASSES = {
    "animal": {
        "farm": "cat chicken cow dog duck horse owl pig sheep",
        "world": "bison chameleon crocodile dragon giraffe hedgehog jaguar kangaroo koala lemur "
        "moose panda polar_bear scarlet_macaw",
        "erase": "alpaca calf camels chamaeleon cheetah gibbon giraffe goat gorilla gosling heron "
        "horse kingfisher kitten long_nosed_monkey macaque meerkats northern_harrier nubian_ibex "
        "penguin pika red_panda rhinoceros spoonbills squirrel swans toucan",
    },
    "building": {
        "monuments": "IndiaGate arcDeTriomphe bayterek burj cathedral empireState jucheTower "
        "leMusee leaningTowerOfPisa monument1 monument2 monument3 operaHouse parthenon usCapitol "
        "zimniPalace",
        "explore": "egypt/greatPyramidOfGiza egypt/meidumPyramid egypt/redPyramid "
        "france/arlesAmphitheater france/chateaudeChambord france/chateaudeChenonceau "
        "france/citedeCarcassonne france/eiffelTower france/palaisdesPapes france/pontduGard "
        "france/reimsCathedral germany/aulaPalatina germany/berlinCathedral "
        "germany/brandenburgGate germany/neuschwansteinCastle germany/schwerinPalace "
        "germany/trierImperialBaths germany/wormsCathedral india/charminar india/gatewayofIndia "
        "india/goldenTemple india/greatStupa india/hawaMahal india/konarkSunTemple "
        "india/mysorePalace india/qutubMinar india/rangGhar india/victoriaMemorial "
        "usa/georgeWashingtonBirthplace usa/lincolnMemorial wonders/chichenItza wonders/colosseum "
        "wonders/petra wonders/tajMahal",
    },
    "fish": {"fishes": " ".join(f"fish{number}" for number in range(1, 29))},
    "tool": {
        "tools": "cuttingTool hammer1 hammer2 hammer3 hammer4 hammer5 hammer6 hammer7 hammer8 "
        "hammer9 measuringTape1 measuringTape2 measuringTape3 measuringTape4 measuringTape5 "
        "measuringTape6 multimeter1 multimeter2 multimeter3 nailCutter plier1 plier2 plier3 plier4 "
        "scissors1 scissors2 scissors3 scissors4 screwDriver screwDriver1 screwDriver2 "
        "screwDriver3 sickle sideCutter1 tweezer tweezer1 wrench wrench1",
    },
}
# Photographs of one thing, or of one dive: they stay on one side.
TOGETHER = {"hammer9": "hammer8", "fish26": "fish2", "fish14": "fish5", "fish24": "fish23"}
# Tools that are still tools without a corner.
CROPPED = (
    "hammer3 multimeter1 multimeter2 multimeter3 nailCutter plier2 plier4 scissors1 scissors2 "
    "measuringTape2 screwDriver3 sideCutter1"
).split()
MISSPELT = {"audaPalatina": "aulaPalatina", "screDriver": "screwDriver"}  # in the READMEs
PER_CLASS, VALIDATION, SIDE = 50, 10, 320


class Photograph(NamedTuple):
    """A photograph of the package.

    Attributes:
      name: without its folder.
      image: as it is there.
      rights: licence, author and source.
    """

    name: str
    image: Image.Image
    rights: tuple[str, str, str]


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("package", type=Path, help="gcompris-qt-data_3.1-2_all.deb")
    parser.add_argument("folder", type=Path, help="folder to be made")
    parser.add_argument("--seed", type=int, default=0, help="which photographs are held out (0)")
    given = parser.parse_args()
    files = files_of(given.package)
    rows = []
    for name in CLASSES:
        sides = split(photographs(files, name), given.seed)
        sides["train"] += crops(sides["train"], PER_CLASS - sum(map(len, sides.values())))
        for side, chosen in sides.items():
            (given.folder / side / name).mkdir(parents=True, exist_ok=True)
            for photograph in chosen:
                file = Path(side, name, f"{photograph.name}.jpg")
                image = photograph.image.copy()
                image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
                image.save(given.folder / file, quality=92)
                rows.append((file.as_posix(), *photograph.rights))
    with (given.folder / "sources.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "licence", "author", "source"), *rows])
    print(f"{given.folder}: {len(rows)} photographs of {', '.join(CLASSES)}.")


def photographs(files: dict[str, bytes], class_name: str) -> list[Photograph]:
    """Returns the photographs of a class."""
    found = []
    for source, names in CLASSES[class_name].items():
        folder = ACTIVITIES + SOURCES[source][1]
        rights = rights_of(files[f"{folder}README"].decode())
        for name in names.split():
            image = Image.open(io.BytesIO(files[f"{folder}{name}.webp"])).convert("RGB")
            found.append(Photograph(f"{source}_{Path(name).name}", image, rights[name]))
    return found


def split(found: list[Photograph], seed: int) -> dict[str, list[Photograph]]:
    """Returns two sides; what belongs together is on one of them."""
    groups = defaultdict(list)
    for photograph in found:
        own = photograph.name.partition("_")[2]
        groups[TOGETHER.get(own, own), photograph.name.partition("_")[0]].append(photograph)
    shuffled = list(groups.values())
    random.Random(seed).shuffle(shuffled)
    sides: dict[str, list[Photograph]] = {"validation": [], "train": []}
    for group in shuffled:
        full = len(sides["validation"]) + len(group) > VALIDATION
        sides["train" if full else "validation"] += group
    return sides


def crops(found: list[Photograph], count: int) -> list[Photograph]:
    """Returns so many crops, the first of each photograph at one corner, then at another one."""
    tools = [x for x in found if x.name.partition("_")[2] in CROPPED]
    base, made = tools or found, []
    for number in range(max(0, count)):
        photograph, turn = base[number % len(base)], number // len(base)
        width, height = photograph.image.size
        right, low = (number + turn) % 2, (number // 2 + turn) % 2
        left, top = right * (width - width * 5 // 6), low * (height - height * 5 // 6)
        box = left, top, left + width * 5 // 6, top + height * 5 // 6
        name = f"{photograph.name}_crop{turn + 1}"
        made.append(Photograph(name, photograph.image.crop(box), photograph.rights))
    return made


def files_of(package: Path) -> dict[str, bytes]:
    """Returns the files of all sources by their paths in the package's resource files."""
    content = package.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        sys.exit(f"{package} is not gcompris-qt-data 3.1-2: its SHA-256 has to be {SHA256}.")
    wanted, position, files = {PACKAGE + file for file, _ in SOURCES.values()}, 8, {}
    while position < len(content):  # a .deb is an ar archive: headers of 60 bytes, then the content
        name = content[position : position + 16].decode().strip().rstrip("/")
        size = int(content[position + 48 : position + 58])
        if name == "data.tar.xz":
            data = lzma.decompress(content[position + 60 : position + 60 + size])
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                for member in archive:
                    if member.name in wanted and (file := archive.extractfile(member)):
                        files |= resources(file.read())
        position += 60 + size + size % 2
    return files


def resources(content: bytes) -> dict[str, bytes]:
    """Returns the files of a Qt resource file by their paths: a tree, their bytes, their names."""
    version, tree, data, names = struct.unpack(">4I", content[4:20])
    files: dict[str, bytes] = {}

    def walk(node: int, path: str) -> None:
        at = tree + node * (14 if version < 2 else 22)
        name, flags = struct.unpack(">IH", content[at : at + 6])
        if node:  # the root has no name
            (length,) = struct.unpack(">H", content[names + name : names + name + 2])
            start = names + name + 6
            path += "/" + content[start : start + 2 * length].decode("utf-16-be")
        if flags & 2:  # a folder
            count, first = struct.unpack(">II", content[at + 6 : at + 14])
            for child in range(first, first + count):
                walk(child, path)
            return
        start = data + struct.unpack(">I", content[at + 10 : at + 14])[0]
        (size,) = struct.unpack(">I", content[start : start + 4])
        file = content[start + 4 : start + 4 + size]
        files[path] = zlib.decompress(file[4:]) if flags & 1 else file

    walk(0, "")
    return files


def rights_of(readme: str) -> dict[str, tuple[str, str, str]]:
    """Returns licence, author and source of each photograph that a README of the package names."""
    found = {}
    for block in re.split(r"\n\s*\n", readme):
        fields, last = defaultdict(str), ""
        for line in block.splitlines():
            if match := re.match(r"(Copyright|Source|License|Files|Comments?)\s*:\s*(.*)", line):
                last, line = match.groups()
            fields[last] = f"{fields[last]} {line.strip()}".strip()
        for file in fields["Files"].split():
            folder, _, name = file.removesuffix(".webp").rpartition("/")
            path = "/".join(filter(None, [folder, MISSPELT.get(name, name)]))
            found[path] = (fields["License"], fields["Copyright"], fields["Source"])
    return found


if __name__ == "__main__":
    main()
