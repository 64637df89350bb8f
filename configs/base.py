"""The schema of every recipe: all keys, what they mean, and their defaults.

A recipe is a file with `get_config(arg="")` that takes `base.get_config()` or the config of another
recipe, changes some keys and returns `base.finish(config, arg)`. Where a file has several recipes,
`VARIANTS` are their names, which stand in the argument. The schema is locked: a misspelt
key raises an error, in a recipe and on the command line. Durations are a number and a unit:
"90 epochs", "2.5 epochs", "500 steps". All values are checked before data are opened.
"""

from collections.abc import Iterable

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs.keys import Section


def get_config() -> ConfigDict:
    """Returns the defaults, locked."""
    config = Section()
    config.seed = 0  # weights, data order, augmentation and dropout all follow from it
    config.batch_size = 128  # images in a step, over all devices and hosts
    config.duration = "10 epochs"  # how long to train
    # BatchNorm statistics: "global" over the whole batch, or "per_device" (less communication).
    config.batch_norm = "global"
    # Before each evaluation, statistics of BatchNorm are the plain average over so many training
    # images ("precise BN"), instead of the running ones. 0: not so; after swa.start: 8192.
    config.batch_norm_images = 0
    # Folder of compiled programs, kept between runs; "auto": in the user's cache folder, "": none.
    config.compile_cache = "auto"

    config.model = Section()
    # See zoo.list_models(); also "module:function", which builds a model of your own.
    config.model.name = "lenet5"
    config.model.num_classes = 0  # 0: as many as the data set has
    config.model.dtype = "float32"  # dtype of the computation; parameters stay float32
    config.model.options = ConfigDict()  # other attributes, such as drop_path, scan, remat

    config.init = Section()
    # Weights to start from instead of random ones, as zoo.load takes them: a published name, a file
    # of a run, its workdir. "": random.
    config.init.weights = ""
    # Regular expression, searched in paths such as "stage1_block1/conv1/kernel": what it matches
    # starts with random values all the same. The default is every classifier; "": nothing.
    config.init.skip = "(^|_)head(/|$)"
    # Regular expression for what starts at zero, such as "^head/"; "": nothing.
    config.init.zeros = ""

    config.data = Section()
    # See input_pipeline.open; also "module:function", which gives (split) -> data of your own.
    config.data.name = "mnist"
    config.data.dir = ""  # folder of prepared data sets; "": tfds's default
    config.data.manual_dir = ""  # folder of original files that cannot be downloaded
    config.data.train_split = "train"  # also "train[:90%]", "train[:800]+validation[:200]"
    config.data.eval_split = ""  # "": the data set's evaluation split
    config.data.image_size = 0  # height and width in pixels; 0: the model's own
    # Small images of one size can be kept in device memory: "auto" (if they fit), "yes" or "no".
    config.data.on_device = "auto"
    config.data.workers = -1  # processes that decode; 0: threads only, -1: one per CPU core
    config.data.max_pixels = 64_000_000  # an image of more is unreadable
    # Order of the classes of a folder: "sorted" as strings (1, 10, 2), or "natural" (1, 2, 10).
    config.data.class_order = "sorted"
    # Of a folder of classes without splits: share of each class that is held out for evaluation,
    # and the seed that determines which images these are.
    config.data.held_out = 0.2
    config.data.split_seed = 0
    config.data.exif_orientation = False  # turn photographs of a folder as their cameras say
    config.data.unreadable = "stop"  # if an image cannot be decoded: "stop" or "skip" and count

    config.augment = Section()
    # Training crop: "none", "random_resized" (Inception's, torchvision's), "resize_random" (shorter
    # side to a random size, then a random square), "padded" (pad, then a random crop of the former
    # size, as on CIFAR) or "center" (as in evaluation).
    config.augment.crop = "none"
    config.augment.padding = 0  # of "padded": pixels on each side
    config.augment.padding_mode = "constant"  # of "padded": zeros, or "reflect", "edge"
    config.augment.area = (0.08, 1.0)  # of "random_resized": fraction of the image
    config.augment.ratio = (3 / 4, 4 / 3)  # of "random_resized": width to height
    config.augment.resize = (256, 480)  # of "resize_random": smallest and largest shorter side
    # Of the training crop; "random": bilinear or bicubic for each image, as in timm.
    config.augment.interpolation = "bilinear"
    config.augment.flip = False  # mirror half of the images left to right
    # "autoaugment", "autoaugment_cifar10", "autoaugment_svhn", "randaugment", "augmix",
    # "trivial_augment_wide" (torchvision's), "augmix_authors", "three_augment", "tf_randaugment",
    # "tf_autoaugment", or one of timm's, such as "rand-m9-mstd0.5-inc1"; "": none.
    config.augment.policy = ""
    # Arguments of the policy's function, see input_pipeline/augment/policies.py: num_ops,
    # magnitude, fill, interpolation, backend ("tensor" or "pillow") and others.
    config.augment.policy_options = ConfigDict()
    # Largest changes of brightness, contrast, saturation and hue. Not used beside timm's policies.
    config.augment.color_jitter = (0.0, 0.0, 0.0, 0.0)
    config.augment.lighting = 0.0  # standard deviation of AlexNet's colour shift
    config.augment.erasing = 0.0  # probability of random erasing, after normalization
    config.augment.erasing_mode = "pixel"  # noise, "color": one random colour, "constant": zeros
    config.augment.erasing_count = 1  # largest number of boxes, which share the area
    config.augment.erasing_area = (0.02, 1 / 3)  # fraction of the image
    config.augment.erasing_aspect = (0.3, 1 / 0.3)  # height to width
    config.augment.repeats = 1  # how often each drawn image stands in its epoch (DeiT: 3)
    # Views of each image, of which the first is only cropped and flipped: 3 for the loss "jsd".
    config.augment.views = 1
    # What the model is given of an image, in training and evaluation: "hsv", "gray",
    # "fourier_magnitude", "fourier_phase" and "rgb", several with a plus between them, as channels.
    # "": the image, or as the weights want it from which the run starts.
    config.augment.representation = ""
    # Functions of your own, after these: of (key, images [B, H, W, C] in [0, 255]) on the device,
    # and of (image uint8 [H, W, C], numpy.random.Generator) in the processes that decode.
    config.augment.operations = ()
    config.augment.host_operations = ()

    config.mix = Section()
    config.mix.mixup = 0.0  # alpha of Beta(alpha, alpha); 0: no mixup
    config.mix.cutmix = 0.0  # the same of cutmix
    config.mix.switch_probability = 0.5  # probability of cutmix where both are given
    config.mix.probability = 1.0  # probability that images are mixed at all
    config.mix.mode = "batch"  # what has one lambda: "batch" (each group), "pair" or "elem"
    # "timm" (partners are the reversed group; labels are smoothed before mixing), "deit" (timm
    # until 1.0.28, whose boxes have an even number of pixels: what recipes of these years used) or
    # "torchvision" (the previous image).
    config.mix.convention = "timm"
    # Number of consecutive images that are each other's partners: what one device of the authors
    # had. It divides the batch of a host, so that pictures do not depend on hosts; 0: that batch.
    config.mix.group = 0
    config.mix.off_after = ""  # duration after which nothing is mixed; "": never

    config.loss = Section()
    # "cross_entropy", "bce", "focal", "focal_sigmoid", "mse", "mae", "huber", "smooth_l1", "dice",
    # "dice_per_example", "tversky", "lovasz_softmax", "token_labelling", "jsd" (AugMix), see
    # train/losses; or "module:function" of (logits [B, K], labels [B], **options) -> [B].
    config.loss.name = "cross_entropy"
    config.loss.options = ConfigDict()  # further arguments of the function
    config.loss.label_smoothing = 0.0
    config.loss.auxiliary_weights = ()  # one per auxiliary head, in the order of names
    # Logit of an extra class that is never the label (LeNet-5 of 1998); None: no such class.
    config.loss.reject_class_logit = placeholder(float)

    config.distillation = Section()
    # Weights of a network whose predictions are learnt too, as zoo.load takes them; "": none.
    config.distillation.teacher = ""
    # "soft" (Hinton's), "soft_deit" (divided by the number of classes, as DeiT's code) or "hard".
    config.distillation.kind = "soft"
    config.distillation.alpha = 0.5  # share of the teacher in the loss; the labels have the rest
    config.distillation.temperature = 1.0  # of the soft kinds

    config.optimizer = Section()
    # An optimizer of optax or optax.contrib, one of train.optimizers.RULES, or "module:function" of
    # (learning_rate, **options) -> optax.GradientTransformation. "optax:lamb" is optax's own where
    # we have a reference's rule of that name. See docs/optimizers_and_schedules.md.
    config.optimizer.name = "sgd"
    config.optimizer.options = ConfigDict()  # arguments besides learning rate and weight decay
    # Part of the rule if the optimizer has such an argument (adamw, lamb), else L2 as in SGD.
    config.optimizer.weight_decay = 0.0
    # What does not decay: a regular expression, searched in "block/conv/kernel"; "(bias|scale)$":
    # biases and norms. And whether all that has one axis does not either.
    config.optimizer.weight_decay_exclude = ""
    config.optimizer.weight_decay_exclude_1d = False
    config.optimizer.clip_norm = 0.0  # largest norm of the gradient; 0: no clipping
    config.optimizer.clip_value = 0.0  # largest absolute value in the gradient; 0: no clipping
    # Largest norm of a unit's gradient by that of its parameters, not of the classifier; 0: none.
    config.optimizer.clip_agc = 0.0
    config.optimizer.clip_agc_eps = 1e-3  # least norm of parameters that counts
    # The gradient of a batch is computed in so many parts, one after the other, to save memory. A
    # step, and all that counts steps, is still an update on batch_size images.
    config.optimizer.accumulate = 1
    config.optimizer.sam_radius = 0.0  # sharpness-aware minimization: two gradients a step; 0: none
    config.optimizer.sam_adaptive = False  # ASAM
    # Regular expression, searched in paths as init.skip: what it matches is not trained, and
    # BatchNorms that it matches keep their statistics and normalize by them. "": all are trained.
    config.optimizer.freeze = ""
    # Factor of the learning rate from each block to the one before it; 1: none.
    config.optimizer.layer_decay = 1.0
    # Pairs of a regular expression and a factor of the learning rate: (("^head", 10.0),). The first
    # one that matches counts.
    config.optimizer.multipliers = ()

    config.schedule = Section()
    # "constant", "steps", "linear", "polynomial", "exponential", "cosine", "restarts", "one_cycle",
    # "reciprocal_sqrt", "plateau", or "module:function" of (learning_rate, steps, **options) ->
    # (step -> rate), over the steps after the warmup.
    config.schedule.name = "constant"
    config.schedule.options = ConfigDict()  # further arguments: power, factor, every, patience, ...
    config.schedule.learning_rate = 0.1  # the peak, for this recipe's batch size
    config.schedule.per = "step"  # or "epoch": the rate is constant within each epoch
    config.schedule.warmup = "0 steps"  # duration of the linear warmup from schedule.start
    config.schedule.start = 0.0  # learning rate of the first step of the warmup
    config.schedule.end = 0.0  # final learning rate, which "exponential" and "plateau" never pass
    # Duration at the end: "linear", "polynomial", "cosine" and "one_cycle" stay at their last rate,
    # all others fall linearly to schedule.end.
    config.schedule.cooldown = "0 steps"
    # How warmup and rest are joined. "": one after the other (PyTorch, optax). "timm": the warmup
    # replaces the beginning of the rest; "deit": so, and each epoch has the rate of the one before.
    # "convnext": the last step of the warmup is at the peak. "pycls": it multiplies the rest.
    config.schedule.convention = ""
    config.schedule.boundaries = ()  # of "steps": durations such as "30 epochs"
    config.schedule.factors = ()  # of "steps": one factor per boundary

    config.progressive = Section()
    # Stages of equal length, in which images grow and with them the strength of regularisation
    # (EfficientNetV2); 1: none. A program is compiled for each.
    config.progressive.stages = 1
    config.progressive.image_size = ()  # height and width in pixels, one per stage; (): all alike
    # Keys of augment, mix, loss and model.options with one value per stage:
    # (("model.options.dropout", (0.1, 0.2, 0.3)),).
    config.progressive.changes = ()

    config.ema = Section()
    # Moving average of the parameters, which is evaluated beside them, and kept; 0: none.
    config.ema.decay = 0.0
    # How it begins: "tensorflow" (num_updates), "torchvision", "timm"; "": as "tensorflow", whose
    # number of updates is the one before the update. See train.averages.
    config.ema.convention = ""
    config.ema.options = (
        ConfigDict()
    )  # of "timm": use_warmup, warmup_gamma, warmup_power, min_decay
    config.ema.every = "1 steps"  # from one average to the next
    config.ema.start = "0 steps"  # until then the average is a copy
    config.ema.batch_stats = False  # whether statistics of BatchNorm are averaged too

    config.swa = Section()
    # Plain average of the parameters, from the end of this duration on; "": none. It is evaluated
    # with statistics of BatchNorm of its own, see batch_norm_images.
    config.swa.start = ""
    config.swa.every = "1 epoch"  # from one that is averaged to the next

    config.eval = Section()
    config.eval.every = "1 epoch"  # and at the end; "0 steps": only there
    config.eval.batch_size = 0  # 0: as in training
    # Metrics besides loss, top1 and top5: "precision", "f1_weighted", "auc" and others, see
    # train/metrics; or functions of (logits [B, K], labels [B]) -> [B], whose mean over all
    # examples is reported.
    config.eval.metrics = ()
    config.eval.confusion = False  # draw the confusion matrix in the workdir
    # Functions that are called after each evaluation, see train.callbacks.
    config.eval.callbacks = ()
    # Fraction of the shorter side that the centre crop keeps; 0: no crop, the whole image becomes a
    # square.
    config.eval.crop = 0.875
    config.eval.interpolation = "bilinear"
    config.eval.image_size = 0  # other than in training (FixRes); 0: as in training
    # Views of an image: "center", "flip", "ten_crop", "ten_crop_square" (AlexNet's) or
    # "googlenet_144"; and what of them is averaged: "probabilities", "logits", "log_probabilities".
    config.eval.views = "center"
    config.eval.average = "probabilities"

    config.log = Section()
    config.log.every = "100 steps"  # interval of training lines in metrics.jsonl, as eval.every

    config.checkpoint = Section()
    config.checkpoint.every = "1 epoch"  # as eval.every; also when interrupted
    config.checkpoint.keep = 2  # number of newest checkpoints to keep, at least 2
    # Figure of the evaluation whose highest value so far is kept, in best.safetensors; "-loss": the
    # lowest, "": none.
    config.checkpoint.best = "top1"

    config.signals = Section()
    # Signals that save a checkpoint and end the run, and those that save and go on.
    config.signals.stop = ("SIGHUP", "SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
    config.signals.save = ()

    config.mesh = Section()
    config.mesh.data = 0  # devices for data parallelism; 0: all / mesh.fsdp
    config.mesh.fsdp = 1  # devices that parameters and optimizer state are sharded over

    config.hosts = Section()
    config.hosts.coordinator = ""  # "host:port" of the first process, or "auto" on a cluster
    config.hosts.count = 1  # number of processes
    config.hosts.index = 0  # index of this process
    config.hosts.timeout = 300  # seconds to wait for the others
    return config.lock()


def variant(arg: str, variants: Iterable[str]) -> tuple[str, str]:
    """Splits the argument of a recipe into one of its variants and what `finish` takes.

    The first variant is that of a recipe without argument. Of the variants "b0" and "b7",
    "b7,smoke" gives ("b7", "smoke"), and "smoke" gives ("b0", "smoke").

    Raises:
      ValueError: there is no such variant.
    """
    known = list(variants)
    name, _, rest = arg.partition(",")
    if name in known:
        return name, rest
    if arg in ("", "smoke"):
        return known[0], arg
    raise ValueError(
        f"The recipe takes no argument {arg!r}: its variants are {', '.join(known)}; append "
        "':smoke' or ',smoke' for a few steps on tiny data."
    )


def finish(config: ConfigDict, arg: str = "") -> ConfigDict:
    """Returns the recipe unchanged if `arg` is "", and `smoke(config)` if it is "smoke".

    Raises:
      ValueError: `arg` is anything else.
    """
    if arg not in ("", "smoke"):
        raise ValueError(
            f"The recipe takes no argument {arg!r}: omit it, or append ':smoke' to the file name "
            "for a few steps on tiny data."
        )
    return smoke(config) if arg else config


def smoke(config: ConfigDict) -> ConfigDict:
    """Shortens a recipe to a few steps on tiny data; model, loss and optimizer stay the same."""
    small = config.data.name.endswith("mnist")
    shape = "classes=10,channels=1" if small else "classes=1000"
    config.data.name = f"synthetic:examples=5,{shape}"
    config.data.train_split, config.data.eval_split = "train", ""
    config.data.workers = 0
    config.distillation.teacher = ""  # whose weights may not be there
    config.batch_size, config.eval.batch_size = 2, 2
    config.mesh.data, config.mesh.fsdp = 1, 1
    config.mix.group = 0
    config.mix.off_after = "2 steps" if config.mix.off_after else ""
    config.duration = "3 steps"
    config.schedule.warmup = "1 steps"
    config.schedule.boundaries = tuple(
        f"{1 + i} steps" for i in range(len(config.schedule.boundaries))
    )
    if config.schedule.cooldown != "0 steps":
        config.schedule.cooldown = "1 steps"
    config.optimizer.accumulate = min(2, config.optimizer.accumulate)
    if config.swa.start:
        config.swa.start, config.swa.every = "2 steps", "1 steps"
    config.batch_norm_images = min(4, config.batch_norm_images)
    config.log.every = "1 steps"
    config.eval.every = config.checkpoint.every = "3 steps"
    return config
