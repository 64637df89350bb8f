"""Writes the table of published weights, zoo/weights/table.csv.

pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31
python docs/tools/weights_table.py --results=pytorch-image-models/results/results-imagenet.csv

Rows of torchvision and timm are what the two packages state. The architectures that they are for
are those of tests/zoo/weights/state_dicts.json.gz, whose tensors `zoo.load_torch` is tested to
read. timm keeps its accuracies in its repository, not in its package. The rows of authors stand
below, each with the page that names its address.

Not in the table, as there is no address that plain https reads: CvT and ShuffleNet v1 (OneDrive),
ResT (Google Drive), PolyNet, BN-Inception (http only), AlexNet, GoogLeNet and NiN of Caffe (not
PyTorch's format), pre-activation ResNets and ZFNet of pytorchcv (a zip around the file),
RegionViT-M (its link leads to RegionViT-S). T2T-ViT-24 with token labelling, as its tensors are not
known; VGG-16's IMAGENET1K_FEATURES, as its classifier has no values.
"""

import argparse
import csv
import gzip
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "zoo/weights/table.csv"
REFERENCES = ROOT / "tests/zoo/weights/state_dicts.json.gz"
COLUMNS = (
    "name model address image_size resize interpolation mean std classes label_set license top1 "
    "top5 source digest overrides"
).split()
LABEL_SETS = {1000: "imagenet-1k", 11821: "imagenet-12k", 21841: "imagenet-22k"}
LABEL_SETS |= {21843: "imagenet-21k"}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
CIFAR = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.201)}
# torchvision's networks that change the normalisation themselves (transform_input), to this.
TRANSFORMED = {"googlenet": HALF, "inception_v3": HALF}


def row(name: str, model: str, address: str, image_size: int, resize: int | str, **others) -> dict:
    """Returns one row, with what is the same in most of them filled in.

    `resize` is the shorter side in pixels before the crop, "" where the image is squashed instead.
    """
    classes = others.setdefault("classes", 1000)
    common = {"label_set": LABEL_SETS.get(classes, ""), "interpolation": "bicubic"} | IMAGENET
    if digits := re.search(r"-([0-9a-f]{8,})\.(pth|th)$", address):
        common["digest"] = digits[1]
    values = {"name": name, "model": model, "address": address, "image_size": image_size}
    return dict.fromkeys(COLUMNS, "") | common | values | {"resize": resize} | others


def of_torchvision(architecture: str, model: str) -> Iterator[dict]:
    """Yields the rows of one of torchvision's architectures."""
    import torchvision

    page = f"https://docs.pytorch.org/vision/{torchvision.__version__[:4]}/models.html"
    for weights in torchvision.models.get_model_weights(architecture):
        transforms, meta = weights.transforms(), weights.meta
        accuracy = meta["_metrics"]["ImageNet-1K"]
        if math.isnan(accuracy["acc@1"]):
            print("left out, as the classifier is missing:", weights)
            continue
        yield row(
            f"torchvision/{architecture}:{weights.name}",
            model,
            weights.url,
            *(transforms.crop_size + transforms.resize_size),
            interpolation=transforms.interpolation.value,
            **TRANSFORMED.get(
                architecture, {"mean": tuple(transforms.mean), "std": tuple(transforms.std)}
            ),
            license=meta.get("license", ""),
            top1=accuracy["acc@1"],
            top5=accuracy["acc@5"],
            source=page,
        )


def of_timm(architecture: str, model: str, known: set[int], results: dict) -> Iterator[dict]:
    """Yields the rows of one of timm's architectures whose number of classes is `known`."""
    import timm

    page = f"timm {timm.__version__}"
    for name in timm.list_pretrained(f"{architecture}.*"):
        config = timm.get_pretrained_cfg(name)
        size = config.input_size[1]
        squashed = config.crop_mode == "squash" and config.crop_pct == 1
        if config.num_classes not in known or not (squashed or config.crop_mode == "center"):
            print("left out:", name, config.num_classes, config.crop_mode, config.crop_pct)
            continue
        accuracy = results.get((name, size, round(config.crop_pct, 3)), {})
        yield row(
            f"timm/{name}",
            model,
            f"hf-hub:{config.hf_hub_id}" if config.hf_hub_id else config.url,
            size,
            "" if squashed else math.floor(size / config.crop_pct),
            interpolation=config.interpolation,
            mean=config.mean,
            std=config.std,
            classes=config.num_classes,
            license=config.license or "",
            top1=accuracy.get("top1", ""),
            top5=accuracy.get("top5", ""),
            source=f"{page}, results-imagenet.csv" if accuracy else "",
            overrides='{"auxiliary": false}' if model == "inception_v3" else "",
        )


def of_authors() -> Iterator[dict]:
    """Yields the rows of authors' repositories; a comment names where the values stand."""
    # https://github.com/whai362/PVT: classification/README.md, classification/datasets.py
    page = "https://github.com/whai362/PVT"
    for size, top1 in {"tiny": 75.1, "small": 79.8, "medium": 81.2, "large": 81.7}.items():
        address = f"{page}/releases/download/v2/pvt_{size}.pth"
        name = f"pvt_{size}"
        common = {"license": "apache-2.0", "top1": top1, "source": page}
        yield row(f"authors/{name}.whai362_in1k", name, address, 224, 256, **common)
    # https://github.com/yitu-opensource/T2T-ViT: README.md; models/t2t_vit.py (crop_pct 0.9);
    # transfer_learning.py
    page = "https://github.com/yitu-opensource/T2T-ViT"
    common = {"license": "bsd-3-clause-clear", "source": page}
    t2t = {"7": 71.7, "14": 81.5, "19": 81.9, "24": 82.3, "t_14": 81.7, "t_19": 82.4, "t_24": 82.6}
    for variant, top1 in t2t.items():
        file = f"{top1}_T2T_ViT{'' if variant[0] == 't' else '_'}{variant}.pth.tar"
        address = f"{page}/releases/download/main/{file}"
        name = f"t2t_vit_{variant}"
        yield row(f"authors/{name}.yitu_in1k", name, address, 224, 248, top1=top1, **common)
    address = f"{page}/releases/download/main/83.3_T2T_ViT_14.pth.tar"
    name = "authors/t2t_vit_14.yitu_384_in1k"
    yield row(name, "t2t_vit_14", address, 384, 426, top1=83.3, **common)
    cifar = {
        ("14", 10, 98.3): "cifar10_t2t-vit_14_98.3.pth",
        ("14", 100, 88.4): "cirfar100_t2t-vit-14_88.4.pth",  # spelt so
        ("19", 10, 98.4): "cifar10_t2t-vit_19_98.4.pth",
        ("19", 100, 89.0): "cifar100_t2t-vit-19_89.0.pth",
    }
    for (variant, classes, top1), file in cifar.items():
        others = common | CIFAR | {"classes": classes, "label_set": f"cifar{classes}"}
        others |= {"interpolation": "bilinear", "top1": top1}
        address = f"{page}/releases/download/main/{file}"
        name = f"t2t_vit_{variant}"
        yield row(f"authors/{name}.yitu_cifar{classes}", name, address, 224, 224, **others)
    # https://github.com/IBM/RegionViT: README.md; main.py (crop ratio 256 / 224)
    page = "https://github.com/IBM/RegionViT"
    for size, letters, top1 in (("tiny", "Ti", 80.4), ("small", "S", 82.6), ("base", "B", 83.2)):
        address = f"{page}/releases/download/weights-v0.1/RegionViT-{letters}.pth"
        name = f"regionvit_{size}"
        common = {"license": "apache-2.0", "top1": top1, "source": page}
        yield row(f"authors/{name}.ibm_in1k", name, address, 224, 256, **common)
    # https://github.com/ofsoundof/LocalViT: README.md names the release and the files; datasets.py
    page = "https://github.com/ofsoundof/LocalViT"
    for model, file, top1, top5 in (
        ("localvit_t", "localvit_t", 74.84, 92.61),
        ("localvit_s", "localvit_s", 80.78, 95.38),
        ("localvit_pvt_t", "localvit_pvt", 78.14, 94.24),
    ):
        address = f"{page}/releases/download/v1.0.0/{file}.pth"
        common = {"license": "mit", "top1": top1, "top5": top5, "source": page}
        yield row(f"authors/{model}.ofsoundof_in1k", model, address, 224, 256, **common)
    # https://github.com/zihangJiang/TokenLabeling: README.md; tlt/models/lvvit.py (crop_pct)
    page = "https://github.com/zihangJiang/TokenLabeling"
    for model, size, crop, file, top1 in (
        ("lvvit_t", 224, 0.9, "v0.2.0/lvvit_t.pth", 79.1),
        ("lvvit_s", 224, 0.9, "1.0/lvvit_s-26M-224-83.3.pth.tar", 83.3),
        ("lvvit_s", 384, 0.9, "1.0/lvvit_s-26M-384-84.4.pth.tar", 84.4),
        ("lvvit_m", 224, 1.0, "1.0/lvvit_m-56M-224-84.0.pth.tar", 84.0),
        ("lvvit_m", 384, 1.0, "1.0/lvvit_m-56M-384-85.4.pth.tar", 85.4),
        ("lvvit_m", 448, 1.0, "1.0/lvvit_m-56M-448-85.5.pth.tar", 85.5),
    ):
        tag = "in1k" if size == 224 else f"{size}_in1k"
        common = {"license": "apache-2.0", "top1": top1, "source": page}
        address = f"{page}/releases/download/{file}"
        name = f"authors/{model}.zihangjiang_{tag}"
        yield row(name, model, address, size, math.floor(size / crop), **common)
    # https://github.com/akamaster/pytorch_resnet_cifar10: README.md (test errors), trainer.py. The
    # digests of the first four are those of the files in the repository.
    page = "https://github.com/akamaster/pytorch_resnet_cifar10"
    for depth, digest, top1 in (
        (20, "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8", 91.73),
        (32, "d509ac1820d7f25398913559d7e81a13229b1e7adc5648e3bfa5e22dc137f850", 92.63),
        (44, "014dd6541728a1c700b1642ab640e211dc6eb8ed507d70697458dc8f8a0ae2e4", 93.1),
        (56, "4bfd97631478d6b638d2764fd2baff3edb1d7d82252d54439343b6596b9b5367", 93.39),
        (110, "1d1ed7c2", 93.68),
        (1202, "f3b1deed", 93.82),
    ):
        file = f"resnet{depth}-{digest[:8]}.th"
        name = f"resnet{depth}_cifar"
        others = {"classes": 10, "label_set": "cifar10", "interpolation": "bilinear"}
        others |= {"license": "bsd-2-clause", "top1": top1, "source": page, "digest": digest}
        address = f"{page}/raw/master/pretrained_models/{file}"
        yield row(f"authors/{name}.akamaster_cifar10", name, address, 32, 32, **others)
    # https://github.com/Cadene/pretrained-models.pytorch: pretrainedmodels/models/nasnet_mobile.py
    # (a comment has this address of the file with the same digest), README.md
    page = "https://github.com/Cadene/pretrained-models.pytorch"
    yield row(
        "authors/nasnet_mobile.veronikayurchuk_in1k",
        "nasnet_mobile",
        "https://github.com/veronikayurchuk/pretrained-models.pytorch/releases/download/v1.0/"
        "nasnetmobile-7e03cead.pth.tar",
        224,
        256,
        interpolation="bilinear",
        **HALF,
        license="bsd-3-clause",
        top1=74.08,
        top5=91.74,
        source=page,
        digest="7e03cead",
    )


def rows(results: Path) -> list[dict]:
    """Returns the whole table; `results` is timm's results-imagenet.csv."""
    with results.open() as file:
        accuracies = {
            (line["model"], int(line["img_size"]), float(line["crop_pct"])): line
            for line in csv.DictReader(file)
        }
    classes: dict[tuple[str, str, str], set[int]] = {}
    for key in json.loads(gzip.decompress(REFERENCES.read_bytes())):
        origin, architecture, model, count = key.split("|")
        classes.setdefault((origin, architecture, model), set()).add(int(count))
    found: list[dict[str, Any]] = []
    for (origin, architecture, model), known in classes.items():
        if origin == "torchvision":
            found += of_torchvision(architecture, model)
        else:
            found += of_timm(architecture, model, known, accuracies)
    return sorted([*found, *of_authors()], key=lambda line: (line["model"], line["name"]))


def text(value: Any) -> str:
    """Returns a value of a row as the table has it."""
    return " ".join(f"{x:.7g}" for x in value) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, required=True)
    table = rows(parser.parse_args().results)
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: text(value) for key, value in line.items()} for line in table)
    print(f"{len(table)} weights of {len({line['model'] for line in table})} models in {TABLE}")
