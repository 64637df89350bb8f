"""1,000 images of another task: VTAB-1k (Zhai et al. 2019), as its repository runs all tasks.

All layers are trained on 800 images of the training split and 200 that are for validation. SGD with
momentum 0.9, batch 64, learning rate 0.01 with 80 steps of warm-up, divided by 10 after 300, 600
and 900 of 1,000 steps; no weight decay; whole images resized to 224 pixels, no augmentation; the
classifier starts at zero. The task is the argument, one of those whose labels are in tfds:
caltech101, cifar100, dtd, oxford_flowers102, oxford_iiit_pet, svhn_cropped, sun397, eurosat,
resisc45, patch_camelyon. The other nine of VTAB derive their labels from what a data set knows of
a picture, such as the distance of the nearest object: bring them as a function, `config.data.name`.

To choose other values train on the 800 (`config.data.train_split`) and evaluate on the 200.

Command   python -m train --config=configs/transfer_vtab.py:dtd --workdir=...
Paper     A Large-scale Study of Representation Learning, arXiv:1910.04867, section 3
Hardware  a GPU
Published none for this model (the paper reports means over all tasks of its own models)
Ours      not yet run
"""

from ml_collections import ConfigDict

from configs import base

# Name in tfds, the 200 images for validation, the split to test on.
TASKS = {
    "caltech101": ("caltech101", "train[2754:2954]", "test"),
    "cifar100": ("cifar100", "train[45000:45200]", "test"),
    "dtd": ("dtd", "validation[:200]", "test"),
    "oxford_flowers102": ("oxford_flowers102", "validation[:200]", "test"),
    "oxford_iiit_pet": ("oxford_iiit_pet", "train[2944:3144]", "test"),
    "svhn_cropped": ("svhn_cropped", "train[65931:66131]", "test"),
    "sun397": ("sun397/tfds", "validation[:200]", "test"),
    "eurosat": ("eurosat/rgb", "train[16200:16400]", "train[21600:]"),
    "resisc45": ("resisc45", "train[18900:19100]", "train[25200:]"),
    "patch_camelyon": ("patch_camelyon", "validation[:200]", "test"),
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `arg` is a task, or "smoke" for a few steps on tiny data."""
    task, arg = base.variant(arg, TASKS)
    config = base.get_config()
    name, validation, test = TASKS[task]
    config.model.name = "resnet50"
    config.init.weights = "" if arg == "smoke" else "torchvision/resnet50:IMAGENET1K_V1"
    config.init.zeros = "^head/"
    config.data.name = name
    config.data.train_split = f"train[:800]+{validation}"
    config.data.eval_split = test
    config.batch_size = 64
    config.duration = "1000 steps"

    config.optimizer.options = ConfigDict({"momentum": 0.9})
    config.schedule.name = "steps"
    config.schedule.learning_rate = 0.01
    config.schedule.warmup = "80 steps"
    config.schedule.boundaries = ("300 steps", "600 steps", "900 steps")
    config.schedule.factors = (0.1, 0.1, 0.1)
    return base.finish(config, arg)
