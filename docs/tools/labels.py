"""Writes the class names that the package ships, zoo/data/labels, from timm's and torchvision's.

python docs/tools/labels.py          (needs timm and torchvision, and nothing of this project)

imagenet-1k.tsv: synset and name of each class, the names as torchvision has them.
imagenet.tsv.xz: synset, letters of the larger sets that have it, and name. The order of these sets
is that of the synsets.
cifar10.txt, cifar100.txt, mnist.txt, fashion_mnist.txt: a name a line.
"""

import collections
import lzma
import re
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "zoo" / "data" / "labels"
# The larger sets by their letters, and timm's files.
SETS = {
    "a": "imagenet12k_synsets",
    "b": "imagenet21k_goog_synsets",
    "c": "imagenet22k_synsets",
    "d": "imagenet21k_miil_synsets",
}
LONGEST_NOTE = 40  # characters of a definition


def wordnet_names(lemmas: dict[str, str], definitions: dict[str, str]) -> dict[str, str]:
    """Returns one name for each synset, all different.

    It is the first lemma. Where synsets share that, each is followed by the beginning of its
    definition in brackets: "crane (lifts and moves heavy objects)"; and by its synset where they
    share this too.
    """
    first = {synset: text.split(", ")[0] for synset, text in lemmas.items()}
    count = collections.Counter(first.values())
    notes = {s: f"{name} ({_beginning(definitions[s])})" for s, name in first.items()}
    count_of_notes = collections.Counter(notes.values())
    names = {}
    for synset, name in first.items():
        if count[name] > 1:
            name = notes[synset]
        if count_of_notes[name] > 1:
            name = f"{first[synset]} ({synset})"
        names[synset] = name
    return names


def _beginning(definition: str) -> str:
    """A definition up to its first semicolon, cut at a word."""
    text = re.sub(r"^\([^)]*\)", "", definition).split(";")[0]  # without its field: "(botany)"
    text = text.replace("(", "").replace(")", "").strip()
    if len(text) > LONGEST_NOTE:
        text = text[:LONGEST_NOTE].rpartition(" ")[0] + " ..."
    return text


def main() -> None:
    """Writes the files of ImageNet; those of the small sets are written by hand."""
    import timm.data
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    folder = Path(timm.data.__file__).parent / "_info"

    def lines(name: str) -> list[str]:
        return (folder / f"{name}.txt").read_text().splitlines()

    def table(name: str) -> dict[str, str]:
        return dict(line.split("\t", 1) for line in lines(name))

    synsets = lines("imagenet_synsets")
    rows = [
        f"{synset}\t{name}\n" for synset, name in zip(synsets, _IMAGENET_CATEGORIES, strict=True)
    ]
    (FOLDER / "imagenet-1k.tsv").write_text("".join(rows))

    sets = {letter: set(lines(name)) for letter, name in SETS.items()}
    for name in SETS.values():
        assert lines(name) == sorted(lines(name)), name
    ms = lines("imagenet22k_ms_synsets")
    assert ms == synsets + [s for s in lines(SETS["c"]) if s not in set(synsets)]

    names = wordnet_names(table("imagenet_synset_to_lemma"), table("imagenet_synset_to_definition"))
    rows = []
    for synset in sorted(set.union(*sets.values(), synsets)):
        letters = "".join(letter for letter, members in sets.items() if synset in members)
        rows.append(f"{synset}\t{letters}\t{names[synset]}\n")
    content = lzma.compress("".join(rows).encode(), preset=9 | lzma.PRESET_EXTREME)
    (FOLDER / "imagenet.tsv.xz").write_bytes(content)


if __name__ == "__main__":
    main()
