import subprocess
import sys

import pytest

import zoo
from zoo import registry

# Trainable parameters with the native number of classes: the reference's, or the paper's layers
# added up where there is no reference.
PARAMETERS = {
    "alexnet": 60_965_224,
    # alexnet, and the connections that its groups leave out: 256*48*25 + 384*192*9 + 256*192*9
    "alexnet_one_gpu": 60_965_224 + 307_200 + 663_552 + 442_368,
    "alexnet_owt": 61_100_840,
    # 6*26 + 16*151 + 120*401 + 84*121 + 10*85
    "lenet5": 156 + 2_416 + 48_120 + 10_164 + 850,
    # C1 + S2 + C3 (60 kernels of 25 and 16 biases) + S4 + C5 + F6
    "lenet5_1998": 156 + 12 + 1_516 + 32 + 48_120 + 10_164,
    "mlp": 785 * 300 + 301 * 100 + 101 * 10,
    # resnet18 and 34 less their three projections with BatchNorm
    "plain18": 11_689_512 - (64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)),
    "plain34": 21_797_672 - (64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)),
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
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
    "pnasnet_large": 86_057_668,
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
    "vgg11": 132_863_336,
    "vgg11_lrn": 132_863_336,
    "vgg13": 133_047_848,
    # vgg13 and a 1x1 convolution in each of the last three stages
    "vgg16_c": 133_047_848 + 256 * 257 + 2 * 512 * 513,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
}


def test_every_model_has_a_figure():
    assert set(zoo.list_models()) == set(PARAMETERS)


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_parameter_count(name):
    assert zoo.info(name).num_params == PARAMETERS[name]


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_docstring_states_the_count(name):
    assert f"{PARAMETERS[name]:,} parameters" in registry.lookup(name).build.__doc__


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_docstring_multiply_adds_are_the_counted_ones(name):
    doc = registry.lookup(name).build.__doc__
    if "multiply-adds" in doc:
        assert f"{zoo.info(name).gmacs:.2f} G multiply-adds" in doc


def test_list_models_takes_wildcards():
    assert zoo.list_models("resnet*") == [
        "resnet101",
        "resnet152",
        "resnet18",
        "resnet34",
        "resnet50",
    ]
    assert zoo.list_models("nothing*") == []


def test_unknown_model_names_the_closest():
    with pytest.raises(ValueError, match="'resnet51'.*resnet50"):
        zoo.create("resnet51")


def test_unknown_attribute_lists_those_there_are():
    with pytest.raises(TypeError, match="no attribute classes.*num_classes"):
        zoo.create("resnet18", classes=10)


def test_duplicate_registration_is_an_error():
    family = registry.Family("twice", {"paper": "", "year": 2000})

    def resnet18():
        """A second model of that name."""

    zoo.list_models()
    with pytest.raises(ValueError, match="registered already"):
        family.variant()(resnet18)


def test_import_brings_in_only_jax_flax_and_numpy():
    """`import zoo` may load only what `import flax.linen` loads, and zoo itself."""
    code = (
        "import sys, flax.linen; before = set(sys.modules); import zoo; zoo.create('resnet18');"
        "new = {m.split('.')[0] for m in set(sys.modules) - before};"
        "print(*new - set(sys.stdlib_module_names))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(out.stdout.split()) <= {"zoo", "jax", "jaxlib", "flax", "numpy", "ml_dtypes"}
