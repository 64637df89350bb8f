"""PNASNet: one cell, found by a search from simple cells to complex ones, makes up the network.

Progressive Neural Architecture Search, Liu et al. 2017, arXiv:1712.00559, Figure 1: PNASNet-5
(4, 216). Reference: timm `pnasnet5large`, a port of the network trained in TensorFlow.

Differences from the paper, as in the reference: no auxiliary classifier. Scheduled drop path (0.4
in the authors' code) is that of `zoo.models.nasnet`.
"""

from zoo.models.nasnet import CellSpec, NASNet, timm_names
from zoo.registry import Family

CELL = CellSpec(
    (
        ((5, 1), ("max", 1)),
        ((7, 0), ("max", 0)),
        ((5, 0), (3, 0)),
        ((3, 4), ("max", 0)),
        ((3, 1), ("identity", 0)),
    ),
    output=(2, 3, 4, 5, 6),
)

family = Family(
    "pnasnet",
    dict(
        paper="Progressive Neural Architecture Search, arXiv:1712.00559",
        year=2017,
        image_size=331,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        crop=0.911,
    ),
)


@family.variant(
    reference="timm pnasnet5large",
    top1=82.814,
    top5=96.032,
    accuracy_source="timm results-imagenet.csv",
)
def pnasnet_large(**kwargs) -> NASNet:
    """86,057,668 parameters, 24.94 G multiply-adds, 82.8 % top-1."""
    return NASNet(4, 216, 96, CELL, **kwargs)


family.checkpoint_keys("timm", timm_names)
