import math
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import test_models

import zoo
from zoo import registry


def shufflenet_v1(groups: int, width: int, stem: int) -> int:
    """Parameters of the paper's Table 1 for stages of width, 2 * width and 4 * width features.

    A unit has two 1x1 convolutions in groups and nine weights for each feature between them, and
    each convolution a scale and a bias; the classifier has no bias.
    """
    total, old = 27 * stem + 2 * stem, stem
    for features, depth in ((width, 4), (2 * width, 8), (4 * width, 4)):
        middle = math.ceil(features / 4 / groups) * groups
        for unit in range(depth):
            new = features if unit else features - old
            first_groups = 1 if old == stem else groups
            total += old * middle // first_groups + 9 * middle + middle * new // groups
            total += 2 * (middle + middle + new)
            old = features
    return total + 1000 * old


WRN_68_3 = (192, 384, 768, 1536)
# Trainable parameters with the native number of classes: the reference's, or the paper's layers
# added up where there is no reference.
PARAMETERS = {
    "alexnet": 60_965_224,
    # alexnet, and the connections that its groups leave out: 256*48*25 + 384*192*9 + 256*192*9
    "alexnet_one_gpu": 60_965_224 + 307_200 + 663_552 + 442_368,
    "alexnet_owt": 61_100_840,
    "cait_s24": 46_916_200,
    "cait_s36": 68_366_632,
    "cait_xs24": 26_670_088,
    "cait_xxs24": 11_956_264,
    "cait_xxs36": 17_299_720,
    "convnext_base": 88_591_464,
    "convnext_large": 197_767_336,
    "convnext_small": 50_223_688,
    "convnext_tiny": 28_589_128,
    "convnext_xlarge": 350_196_968,
    "crossvit_b": 105_025_232,
    "crossvit_s": 26_856_272,
    "crossvit_ti": 7_014_800,
    "cvt_13": 19_997_480,
    "cvt_21": 31_622_696,
    "deit_b": 86_567_656,
    "deit_b_distilled": 87_338_192,
    "deit_s": 22_050_664,
    "deit_s_distilled": 22_436_432,
    "deit_ti": 5_717_416,
    "deit_ti_distilled": 5_910_800,
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "densenet264": 33_337_704,
    "densenet_40_12_cifar": 1_059_298,
    "densenet_bc_100_12_cifar": 769_162,
    "googlenet": 13_378_280,
    "googlenet_bn": 13_004_888,
    "inception_resnet_v1": 24_357_096,
    "inception_resnet_v2": 55_843_464,
    "inception_v2": 11_295_240,
    "inception_v3": 27_161_264,
    "inception_v4": 42_679_816,
    # 6*26 + 16*151 + 120*401 + 84*121 + 10*85
    "lenet5": 156 + 2_416 + 48_120 + 10_164 + 850,
    # C1 + S2 + C3 (60 kernels of 25 and 16 biases) + S4 + C5 + F6
    "lenet5_1998": 156 + 12 + 1_516 + 32 + 48_120 + 10_164,
    "localvit_pvt_t": 13_456_152,
    "localvit_s": 22_433_176,
    "localvit_t": 5_908_696,
    "lvvit_m": 55_830_544,
    "lvvit_s": 26_151_824,
    "lvvit_t": 8_534_720,
    "mlp": 785 * 300 + 301 * 100 + 101 * 10,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_large": 5_483_032,
    "mobilenet_v3_small": 2_542_856,
    "nest_base": 67_723_368,
    "nest_small": 38_351_176,
    "nest_tiny": 17_057_608,
    "nin": 7_595_176,
    "nin_cifar": 966_986,
    # resnet18 and 34 less their three projections with BatchNorm
    "plain18": 11_689_512 - (64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)),
    "plain34": 21_797_672 - (64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)),
    "polynet": 95_366_600,
    "pvt_large": 61_369_320,
    "pvt_medium": 44_208_104,
    "pvt_small": 24_485_864,
    "pvt_tiny": 13_229_288,
    "pvt_v2_b0": 3_666_760,
    "pvt_v2_b1": 14_009_000,
    "pvt_v2_b2": 25_362_856,
    "pvt_v2_b2_li": 22_553_512,
    "pvt_v2_b3": 45_238_696,
    "pvt_v2_b4": 62_556_072,
    "pvt_v2_b5": 81_956_008,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "shufflenet_v1_g1_0_5x": shufflenet_v1(1, 72, 12),
    "shufflenet_v1_g1_1_0x": shufflenet_v1(1, 144, 24),
    "shufflenet_v1_g1_1_5x": shufflenet_v1(1, 216, 24),
    "shufflenet_v1_g1_2_0x": shufflenet_v1(1, 288, 48),
    "shufflenet_v1_g2_0_5x": shufflenet_v1(2, 100, 12),
    "shufflenet_v1_g2_1_0x": shufflenet_v1(2, 200, 24),
    "shufflenet_v1_g2_1_5x": shufflenet_v1(2, 300, 24),
    "shufflenet_v1_g2_2_0x": shufflenet_v1(2, 400, 48),
    "shufflenet_v1_g3_0_5x": 717_324,
    "shufflenet_v1_g3_1_0x": 1_864_728,
    "shufflenet_v1_g3_1_5x": 3_441_168,
    "shufflenet_v1_g3_2_0x": 5_449_776,
    "shufflenet_v1_g4_0_5x": shufflenet_v1(4, 136, 12),
    "shufflenet_v1_g4_1_0x": shufflenet_v1(4, 272, 24),
    "shufflenet_v1_g4_1_5x": shufflenet_v1(4, 408, 24),
    "shufflenet_v1_g4_2_0x": shufflenet_v1(4, 544, 48),
    "shufflenet_v1_g8_0_5x": 1_010_448,
    "shufflenet_v1_g8_1_0x": 2_433_768,
    "shufflenet_v1_g8_1_5x": 4_268_952,
    "shufflenet_v1_g8_2_0x": 6_521_232,
    "shufflenet_v2_x0_5": 1_366_792,
    "shufflenet_v2_x1_0": 2_278_604,
    "shufflenet_v2_x1_5": 3_503_624,
    "shufflenet_v2_x2_0": 7_393_996,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_0_simple_bypass": 1_248_424,
    "squeezenet1_1": 1_235_496,
    # squeezenet1_0 and the 1x1 convolutions around fire2, fire4, fire6 and fire8
    "squeezenet1_0_complex_bypass": 1_248_424 + 97 * 128 + 129 * 256 + 257 * 384 + 385 * 512,
    # inception_v2 less the biases of its convolutions, and a gate on the output of each module
    "se_inception_v2": 11_295_240
    - 10_016
    + sum(2 * c * (c // 16) + c + c // 16 for c in (256, 320, *3 * [576], *2 * [608], 1056))
    + 2 * (2 * 1024 * 64 + 1024 + 64),
    # inception_resnet_v2 and a gate in each residual module, of 320, 1088 and 2080 channels
    "se_inception_resnet_v2": 55_843_464
    + 10 * (2 * 320 * 20 + 320 + 20)
    + 20 * (2 * 1088 * 68 + 1088 + 68)
    + 10 * (2 * 2080 * 130 + 2080 + 130),
    "regionvit_base": 72_747_232,
    "regionvit_medium": 41_215_906,
    "regionvit_small": 30_586_618,
    "regionvit_tiny": 13_842_676,
    "resnet200": 64_673_832,
    # with their tables of positions and random vectors, which are not trained
    "t2t_vit_14": 21_545_550,
    "t2t_vit_19": 39_177_422,
    "t2t_vit_24": 64_105_934,
    "t2t_vit_7": 4_310_222,
    "t2t_vit_t_14": 21_541_070,
    "t2t_vit_t_19": 39_172_942,
    "t2t_vit_t_24": 64_101_454,
    "tnt_b": 65_428_680,
    "tnt_s": 23_755_336,
    "vit_b_16": 86_567_656,
    "vit_b_32": 88_224_232,
    "vit_h_14": 632_045_800,
    "vit_l_16": 304_326_632,
    "vit_l_32": 306_535_400,
    "vit_s_16": 22_050_664,
    "vit_ti_16": 5_717_416,
    "wide_resnet101_2": 126_886_696,
    "wide_resnet50_2": 68_883_240,
    # stem, 33 basic blocks of ResNet-101's depths, four projections, head; norms with each
    "wrn_68_3": (9_408 + 128)
    + sum(depth * (18 * w * w + 4 * w) for depth, w in zip((3, 4, 23, 3), WRN_68_3, strict=True))
    - sum(9 * (w * w - c * w) for c, w in zip((64, *WRN_68_3), WRN_68_3, strict=False))
    + sum(c * w + 2 * w for c, w in zip((64, *WRN_68_3), WRN_68_3, strict=False))
    + 1_537_000,
    "resnet110_cifar": 1_727_962,
    "resnet1202_cifar": 19_421_274,
    "resnet18_cifar": 11_173_962,
    "resnet34_cifar": 21_282_122,
    "resnet20_cifar": 269_722,
    "resnet32_cifar": 464_154,
    "resnet44_cifar": 658_586,
    "resnet56_cifar": 853_018,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnet_b6": 43_040_704,
    "efficientnet_b7": 66_347_960,
    "efficientnet_lite0": 4_652_008,
    "efficientnet_lite1": 5_416_680,
    "efficientnet_lite2": 6_092_072,
    "efficientnet_lite3": 8_197_096,
    "efficientnet_lite4": 13_006_568,
    "efficientnet_v2_l": 118_515_272,
    "efficientnet_v2_m": 54_139_356,
    "efficientnet_v2_s": 21_458_488,
    "nasnet_large": 88_753_150,
    "nasnet_mobile": 5_289_978,
    # shortcuts of option A have no parameters
    "plain20_cifar": 269_722,
    "plain32_cifar": 464_154,
    "plain44_cifar": 658_586,
    "plain56_cifar": 853_018,
    "pnasnet_large": 86_057_668,
    "preresnet1001_cifar": 10_327_706,
    "preresnet101": 44_541_608,
    "preresnet110_cifar": 1_730_522,
    "preresnet152": 60_185_256,
    "preresnet164_cifar": 1_703_258,
    "preresnet18": 11_687_848,
    "preresnet200": 64_666_280,
    "preresnet50": 25_549_480,
    "regnet_x_16gf": 54_278_536,
    "regnet_x_1_6gf": 9_190_136,
    "regnet_x_3_2gf": 15_296_552,
    "regnet_x_400mf": 5_495_976,
    "regnet_x_800mf": 7_259_656,
    "regnet_x_8gf": 39_572_648,
    "regnet_y_16gf": 83_590_140,
    "regnet_y_1_6gf": 11_202_430,
    "regnet_y_3_2gf": 19_436_338,
    "regnet_y_400mf": 4_344_144,
    "regnet_y_800mf": 6_432_512,
    "regnet_y_8gf": 39_381_472,
    "regnety_040": 20_646_656,
    "regnety_080": 39_180_068,
    "regnety_160": 83_590_140,
    "resnetv2_101": 44_541_480,
    "resnetv2_152": 60_185_128,
    "resnetv2_50": 25_549_352,
    "resnext101_32x4d": 44_177_704,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "resnext50_32x4d": 25_028_904,
    "rest_base": 30_327_052,
    "rest_large": 51_676_156,
    "rest_lite": 10_508_300,
    "rest_small": 13_679_708,
    "senet154": 115_088_984,
    "seresnet101": 49_326_872,
    "seresnet152": 66_821_848,
    "seresnet18": 11_778_592,
    "seresnet34": 21_958_868,
    "seresnet50": 28_088_024,
    "seresnext101_32x4d": 48_955_416,
    "seresnext50_32x4d": 27_559_896,
    "swin_b": 87_768_224,
    "swin_s": 49_606_258,
    "swin_t": 28_288_354,
    "swin_v2_b": 87_930_848,
    "swin_v2_s": 49_737_442,
    "swin_v2_t": 28_351_570,
    "twins_pcpvt_b": 43_828_456,
    "twins_pcpvt_l": 60_989_672,
    "twins_pcpvt_s": 24_106_216,
    "twins_svt_b": 56_070_952,
    "twins_svt_l": 99_271_400,
    "twins_svt_s": 24_060_776,
    "vgg11": 132_863_336,
    "vgg11_lrn": 132_863_336,
    "vgg13": 133_047_848,
    "wrn_16_8_cifar": 10_961_370,
    "wrn_28_10_cifar": 36_479_194,
    "wrn_40_4_cifar": 8_949_210,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    # vgg13 and a 1x1 convolution in each of the last three stages
    "vgg16_c": 133_047_848 + 256 * 257 + 2 * 512 * 513,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "xception": 22_855_952,
    "zfnet": 62_357_608,
    # convolutions 1 to 5, fc6 on 6x6x512, fc7 and the head
    "zfnet_big": (512 * 36 + 1) * 4096
    + 4097 * (4096 + 1000)
    + (147 + 1) * 96
    + (96 * 25 + 1) * 256
    + (256 * 9 + 1) * 512
    + (512 * 9 + 1) * 1024
    + (1024 * 9 + 1) * 512,
}


@pytest.mark.quick
def test_every_model_has_a_figure():
    assert set(zoo.list_models()) == set(PARAMETERS)


def models(default: set[str]) -> list:
    """All models, those that are not in `default` behind `-m full`."""
    marks = {name: [] if name in default else [pytest.mark.full] for name in PARAMETERS}
    return [pytest.param(name, marks=marks[name]) for name in sorted(PARAMETERS)]


@pytest.mark.parametrize("name", models(test_models.TRACED))
def test_parameter_count(name):
    assert zoo.info(name).num_params == PARAMETERS[name]


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_docstring_states_the_count(name):
    assert f"{PARAMETERS[name]:,} parameters" in registry.lookup(name).build.__doc__


COUNTED = {"alexnet", "lenet5", "mobilenet_v2", "resnet50", "resnet20_cifar", "vgg16"}


@pytest.mark.parametrize("name", models(COUNTED))
def test_docstring_multiply_adds_are_the_counted_ones(name):
    doc = registry.lookup(name).build.__doc__
    if "multiply-adds" in doc:
        assert f"{zoo.info(name).gmacs:.2f} G multiply-adds" in doc


@pytest.mark.quick
def test_list_models_takes_wildcards():
    assert zoo.list_models("vgg*_bn") == ["vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]
    assert zoo.list_models("nothing*") == []


@pytest.mark.quick
def test_unknown_model_names_the_closest():
    with pytest.raises(ValueError, match="'resnet51'.*resnet50"):
        zoo.create("resnet51")


@pytest.mark.quick
def test_unknown_attribute_lists_those_there_are():
    with pytest.raises(TypeError, match="no attribute classes.*num_classes"):
        zoo.create("resnet18", classes=10)


@pytest.mark.quick
def test_attributes_that_the_variant_sets_can_be_overridden():
    assert zoo.create("resnet18", depths=(1, 1, 1, 1)).depths == (1, 1, 1, 1)
    assert zoo.create("resnet18").depths == (2, 2, 2, 2)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ({"num_classes": -1}, ValueError, "number of classes.*not -1"),
        ({"num_classes": "10"}, TypeError, "number of classes.*not '10'"),
        ({"num_classes": None}, TypeError, "number of classes.*not None"),
        ({"num_classes": True}, TypeError, "number of classes.*not True"),
        ({"dtype": "bf16"}, ValueError, "floating-point type.*bfloat16.*not 'bf16'"),
        ({"dtype": None}, ValueError, "floating-point type.*not None"),
        ({"dtype": jnp.int32}, ValueError, "floating-point type.*int32"),
    ],
)
def test_values_that_cannot_be_are_errors(overrides, error, message):
    with pytest.raises(error, match=message):
        zoo.create("resnet18", **overrides)


@pytest.mark.quick
@pytest.mark.parametrize("dtype", ["bfloat16", jnp.bfloat16, np.float16, np.dtype("float64")])
def test_values_that_can_be(dtype):
    model = zoo.create("resnet18", dtype=dtype, num_classes=np.int64(0), name="backbone")
    assert (model.dtype, model.num_classes, model.name) == (dtype, 0, "backbone")


def test_figures_are_in_the_representation():
    assert "name='lenet5'" in repr(zoo.info("lenet5"))
    assert "num_params=61706, gmacs=0.0004)" in repr(zoo.info("lenet5"))
    assert isinstance(zoo.info("lenet5"), zoo.Info)


# Strides and channels, as the papers have them.
STAGES = {
    "alexnet": ((8, 96), (16, 256), (16, 384), (16, 384), (32, 256)),
    "crossvit_ti": ((12, 96), (240 / 14, 192), *3 * ((12, 96), (240 / 14, 192))),
    "efficientnet_b0": (
        *((2, 32), (2, 16), (4, 24), (8, 40), (16, 80), (16, 112), (32, 192), (32, 320)),
    ),
    "inception_v3": ((8, 192), (8, 288), (16, 768), (32, 2048)),
    "lenet5": ((2, 6), (4, 16)),
    "mlp": ((None, 300), (None, 100)),
    "regionvit_tiny": (
        (4, 64),
        *((4, 64), (28, 64), (8, 128), (56, 128)),
        *((16, 256), (112, 256), (32, 512), (224, 512)),
    ),
    "resnet50": ((4, 64), (4, 256), (8, 512), (16, 1024), (32, 2048)),
    "swin_t": ((4, 96), (4, 96), (8, 192), (16, 384), (32, 768)),
    "vit_h_14": 5 * ((14, 1280),),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[] if name in ("alexnet", "crossvit_ti", "mlp") else pytest.mark.full
        )
        for name in sorted(STAGES)
    ],
)
def test_stages(name):
    assert tuple(stage[1:] for stage in zoo.info(name).stages) == STAGES[name]


def test_names_of_stages():
    names = [stage.name for stage in zoo.info("resnet50").stages]
    assert names == ["stem", "stage1", "stage2", "stage3", "stage4"]


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_every_model_has_stages_of_whole_strides(name):
    stages = zoo.info(name).stages
    assert {"stage1", "stage2"} <= {stage.name for stage in stages}
    assert all(stage.channels > 0 for stage in stages)
    whole = [stage.stride is None or float(stage.stride).is_integer() for stage in stages]
    assert all(whole) or zoo.info(name).family == "crossvit"


def test_old_words_still_work():
    """For one release, with a warning."""
    with pytest.warns(DeprecationWarning, match="Info.accuracy_source"):
        assert zoo.info("resnet50").source == zoo.info("resnet50").accuracy_source
    with pytest.warns(DeprecationWarning, match="accuracy_source=.*version 0.3"):
        family = registry.Family("old", {"paper": "", "year": 2000, "source": "the paper"})
    assert family.defaults["accuracy_source"] == "the paper"
    with pytest.warns(DeprecationWarning, match="ignored_keys"):
        family = registry.Family("old", {"paper": "", "year": 2000}, redundant=("mask$",))
    assert family.ignored_keys == ("mask$",)
    with pytest.warns(DeprecationWarning, match="checkpoint_keys"):
        family.naming("torch", (("^head$", "fc"),), pointwise=("head",), framed=("norm",))
    assert family.sources["torch"] == ((("^head$", "fc"),), ("head",), ("norm",))


@pytest.mark.quick
def test_duplicate_registration_is_an_error():
    family = registry.Family("twice", {"paper": "", "year": 2000})

    def resnet18():
        """A second model of that name."""

    zoo.list_models()
    with pytest.raises(ValueError, match="registered already"):
        family.variant()(resnet18)


@pytest.mark.quick
def test_import_brings_in_only_jax_flax_and_numpy():
    """`import zoo` may load only what `import flax.linen` loads, and zoo itself."""
    code = (
        "import sys, flax.linen; before = set(sys.modules); import zoo; zoo.create('resnet18');"
        "new = {m.split('.')[0] for m in set(sys.modules) - before};"
        "print(*new - set(sys.stdlib_module_names))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(out.stdout.split()) <= {"zoo", "jax", "jaxlib", "flax", "numpy", "ml_dtypes"}
