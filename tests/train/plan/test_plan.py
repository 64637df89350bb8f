"""The plan's arithmetic, what it reads from compiled programs, and its messages.

The TPU compiler is no dependency of the tests: programs are compiled for eight virtual CPU devices.
"""

import json
import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from configs import base, lenet, resnet50
from train.errors import TrainError
from train.plan import __main__ as program
from train.plan import hlo, pod, roofline
from train.plan.figures import make_plans
from train.plan.tables import describe, scaling_table
from train.sharding import make_mesh

ROOT = Path(__file__).parents[3]
CHIP = pod.Chip(flops=100e12, memory=16e9, bandwidth=1e12, link=50e9, ring=4, shapes=())

# As the TPU compiler writes it, shortened.
TPU_PROGRAM = """HloModule jit_step, is_scheduled=true

%fused_gather (param_0: u8[60000,784], param_1: s32[128]) -> f32[128,784] {
  %param_0 = u8[60000,784]{1,0:T(8,128)(4,1)} parameter(0)
  %param_1 = s32[128]{0:T(128)S(1)} parameter(1)
  %gather.1 = u8[128,784]{1,0:T(8,128)(4,1)} gather(%param_0, %param_1), offset_dims={1}
  ROOT %convert.1 = f32[128,784]{1,0:T(8,128)} convert(%gather.1)
}

%body (arg: (f32[1024], f32[1024])) -> (f32[1024], f32[1024]) {
  %arg = (f32[1024]{0:T(1024)}, f32[1024]{0:T(1024)S(1)}) parameter(0)
  %gte.1 = f32[1024]{0:T(1024)} get-tuple-element(%arg), index=0
  %gte.2 = f32[1024]{0:T(1024)S(1)} get-tuple-element(%arg), index=1
  %add.1 = f32[1024]{0:T(1024)} add(%gte.1, %gte.2), metadata={op_name="jit(step)/add"}
  ROOT %tuple.1 = (f32[1024]{0:T(1024)}, f32[1024]{0:T(1024)S(1)}) tuple(%add.1, %gte.2)
}

ENTRY %main (x: bf16[64,1024], d: u8[60000,784], i: s32[128], t: (f32[1024], f32[1024])) -> f32[8] {
  %x = bf16[64,1024]{1,0:T(8,128)(2,1)} parameter(0)
  %d = u8[60000,784]{1,0:T(8,128)(4,1)} parameter(1)
  %i = s32[128]{0:T(128)S(1)} parameter(2)
  %t = (f32[1024]{0:T(1024)}, f32[1024]{0:T(1024)S(1)}) parameter(3)
  %slice-start.1 = ((bf16[64,1024]{1,0:T(8,128)}), bf16[16,1024]{1,0:T(8,128)S(1)}, s32[]{:S(2)}) \
slice-start(%x), slice={[0:16], [0:1024]}
  %slice-done.1 = bf16[16,1024]{1,0:T(8,128)S(1)} slice-done(%slice-start.1)
  %copy-start.1 = (bf16[64,1024]{1,0:T(8,128)S(1)}, bf16[64,1024]{1,0:T(8,128)}, u32[]{:S(2)}) \
copy-start(%x)
  %copy-done.1 = bf16[64,1024]{1,0:T(8,128)S(1)} copy-done(%copy-start.1)
  %fusion.1 = f32[128,784]{1,0:T(8,128)S(1)} fusion(%d, %i), kind=kLoop, calls=%fused_gather
  %while.1 = (f32[1024]{0:T(1024)}, f32[1024]{0:T(1024)S(1)}) while(%t), condition=%c, body=%body
  %all-reduce-start.1 = f32[1024]{0:T(1024)} all-reduce-start(%gte.9), \
replica_groups=[2,8]<=[16], to_apply=%add
  %all-reduce-done.1 = f32[1024]{0:T(1024)} all-reduce-done(%all-reduce-start.1)
  ROOT %r = f32[8]{0:T(128)S(1)} slice(%all-reduce-done.1), slice={[0:8]}
}
"""


def compiled_on_eight(function, *shapes):
    """The text of a function compiled under shard_map over all devices, all arguments split."""
    split = PartitionSpec("data")
    mesh = make_mesh(8, 1)
    mapped = jax.shard_map(
        function, mesh=mesh, in_specs=split, out_specs=PartitionSpec(), check_vma=False
    )
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.jit(mapped).lower(*arrays).compile().as_text()


def test_collectives_are_found_with_their_bytes():
    text = compiled_on_eight(lambda x: jax.lax.psum(x, "data"), (16, 5))
    assert hlo.collectives(text, 8) == [hlo.Collective("all-reduce", 2 * 5 * 4, 8)]


def test_a_gather_is_as_large_as_its_result():
    gather = partial(jax.lax.all_gather, axis_name="data")
    text = compiled_on_eight(lambda x: jnp.tanh(gather(x)), (16,))
    found = {each.kind: each for each in hlo.collectives(text, 8)}
    assert found["all-gather"].size == 16 * 4 and found["all-gather"].sent == 16 * 4 * 7 / 8


def test_an_all_reduce_sends_nearly_twice_its_bytes():
    assert hlo.Collective("all-reduce", 800, 8).sent == 1400
    assert hlo.Collective("reduce-scatter", 800, 8).sent == 700
    assert hlo.Collective("collective-permute", 800, 8).sent == 800


def test_hbm_traffic_of_a_tpu_program():
    sliced, copied, gathered = 16 * 1024 * 2, 64 * 1024 * 2, 128 * 784
    looped, reduced, last = 2 * 4096, 4096, 8 * 4
    total = sliced + copied + gathered + looped + reduced + last
    assert hlo.hbm_bytes(TPU_PROGRAM) == total


def test_collectives_of_a_tpu_program():
    (found,) = hlo.collectives(TPU_PROGRAM, 16)
    assert (found.kind, found.devices) == ("all-reduce", 8)


def test_without_memory_on_the_chip_traffic_is_what_xla_says():
    shape = jax.ShapeDtypeStruct((128, 256), jnp.float32)
    compiled = jax.jit(lambda x, y: jnp.tanh(x) @ y.T).lower(shape, shape).compile()
    expected = compiled.cost_analysis()["bytes accessed"]
    assert hlo.hbm_bytes(compiled.as_text()) == expected


def test_what_is_called_counts_and_the_call_does_not():
    called = TPU_PROGRAM.replace(
        " while(%t), condition=%c, body=%body", " call(%t), to_apply=%body"
    )
    assert called != TPU_PROGRAM and hlo.hbm_bytes(called) == hlo.hbm_bytes(TPU_PROGRAM)


@pytest.mark.parametrize(
    "type_, size, in_hbm",
    [
        ("bf16[128,56]{1,0:T(8,128)(2,1)S(1)}", 128 * 56 * 2, 0),
        ("(f32[3]{0}, pred[7]{0:S(6)}, s32[])", 12 + 7 + 4, 12 + 4),
        ("f8e4m3fn[10]{0}", 10, 10),
    ],
)
def test_bytes_of_arrays(type_, size, in_hbm):
    assert (hlo.array_bytes(type_), hlo.array_bytes(type_, hbm_only=True)) == (size, in_hbm)


def test_the_slowest_part_bounds_a_step():
    cost = roofline.Cost(flops=2e12, bytes=50e9, sent=1e9)
    seconds = cost.seconds(CHIP, links_bandwidth=100e9)
    parts = {"compute": 0.02, "memory": 0.05, "links": 0.01}
    assert seconds == pytest.approx(parts | {"step": 0.05, "step_waiting_for_links": 0.06})
    assert roofline.Cost(0, 1e9, 1e9).seconds(CHIP, 1e9)["step"] == 1


def test_a_lone_chip_needs_no_links():
    lone = pod.Pod("one", CHIP, (1, 1), [])
    assert roofline.Cost(1e12, 0, 0).seconds(CHIP, lone.links_bandwidth)["links"] == 0


@pytest.mark.parametrize("shape, links", [((2, 2), 2), ((4, 4), 4), ((2, 8), 3), ((1, 1), 0)])
def test_rings_use_twice_the_links(shape, links):
    assert pod.Pod("", CHIP, shape, []).links_bandwidth == links * 50e9


@pytest.mark.parametrize("name", ["v5e:3x3", "v7:2x2", "", "16x16"])
def test_a_wrong_topology_lists_those_that_work(name):
    with pytest.raises(TrainError, match=r"(?s)not known.*v5e:16x16.*v5p:2x2x1.*v6e:4x4"):
        pod.open_pod(name)


def test_without_the_compiler_the_message_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(pod, "_is_a_package", lambda: False)
    monkeypatch.setattr(pod, "COMPILER_FOLDER", str(tmp_path))
    with pytest.raises(TrainError, match=f"pip install --target {tmp_path} 'libtpu=="):
        pod.open_pod("v5e:2x2")
    library = tmp_path / "libtpu" / "libtpu.so"
    library.parent.mkdir()
    library.touch()
    pod.check_compiler()
    monkeypatch.setattr(os, "environ", {})
    pod.set_environment()
    assert os.environ["TPU_LIBRARY_PATH"] == str(library)


def test_imagenet_is_known_without_its_files():
    data = roofline.known_data(resnet50.get_config())
    assert (len(data.train), len(data.evaluation), data.num_classes) == (1_281_167, 50_000, 1000)
    assert data.image_shape == (224, 224, 3) and not data.on_device


@pytest.mark.parametrize(
    "split, count", [("train[:90%]", 54_000), ("train[1000:3000]", 2000), ("train[2000:]", 58_000)]
)
def test_parts_of_splits_are_counted(split, count):
    config = lenet.get_config()
    config.data.train_split = split
    assert len(roofline.known_data(config).train) == count


def test_other_data_sets_are_opened():
    config = base.smoke(resnet50.get_config())
    assert len(roofline.known_data(config).train) == 5


@pytest.mark.parametrize("start, tries", [(8, 2), (128, 3), (4096, 3)])
def test_the_largest_batch_is_found_in_a_few_tries(start, tries):
    seen = []

    def peak(batch):
        seen.append(batch)
        needed = 100 + 3 * batch
        if needed > 1000:
            raise roofline.TooLarge(needed, 1000)
        return needed

    fits, fails = roofline.largest_batch(peak, 1000, 100, start)
    assert fits == 296 and (fails == 0 or fails > 300) and len(seen) <= tries


def small_recipe():
    config = lenet.get_config()
    config.model.name = "mlp"
    return config


def cpu_pod(shape):
    return pod.Pod("cpu:" + "x".join(map(str, shape)), CHIP, shape, jax.devices()[: np.prod(shape)])


@pytest.fixture(scope="module")
def plans():
    return make_plans(small_recipe(), [cpu_pod((1, 1)), cpu_pod((2, 4))])


def test_figures_of_a_recipe(plans):
    one, eight = plans
    assert (one["chips"], one["batch_size"], one["collectives"]) == (1, 128, {})
    assert (eight["chips"], eight["batch_size"], eight["batch_per_chip"]) == (8, 1024, 128)
    assert eight["collectives"]["all-reduce"]["bytes"] >= one["memory"]["parameters"]
    assert one["steps"] == pytest.approx(8 * eight["steps"], rel=0.01)
    assert one["flops"] == pytest.approx(eight["flops"], rel=0.05)
    assert one["memory"]["optimizer"] >= one["memory"]["parameters"] > 0
    assert one["recipe_seconds"] == one["steps"] * one["seconds"]["step"]
    assert one["images_per_second"] == pytest.approx(128 / one["seconds"]["step"])
    assert json.loads(json.dumps(plans)) == plans


def test_figures_are_described(plans):
    first, *rest = describe(plans[0]).splitlines()
    assert "mlp" in first and "fits" in first and any("roofline" in line for line in rest)
    table = scaling_table(plans).splitlines()
    assert len(table) == 4 and "100.0 %" in table[2]


@pytest.mark.parametrize(
    "message",
    [
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space "
        "hbm. Used 20.41G of 15.75G hbm. Exceeded hbm capacity by 4.66G.",
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
        "temporaries (20.41G) exceeds available HBM (15.75G).",
    ],
)
def test_what_does_not_fit_is_said_in_the_first_line(message, monkeypatch):
    class Lowered:
        def compile(self):
            raise jax.errors.JaxRuntimeError(message)

    monkeypatch.setattr(roofline, "lower_train_steps", lambda *_: Lowered())
    (figures,) = make_plans(small_recipe(), [cpu_pod((1, 1))])
    assert not figures["fits"] and figures["memory"]["peak"] == 20.41 * 2**30
    first = describe(figures).splitlines()[0]
    assert first.startswith("DOES NOT FIT") and "20.41 of 15.75 GiB" in first
    assert "does not fit" in scaling_table([figures, figures])


def test_another_failure_of_the_compiler_is_passed_on(monkeypatch):
    class Lowered:
        def compile(self):
            raise jax.errors.JaxRuntimeError("INTERNAL: a bug")

    monkeypatch.setattr(roofline, "lower_train_steps", lambda *_: Lowered())
    with pytest.raises(TrainError, match="INTERNAL: a bug"):
        make_plans(small_recipe(), [cpu_pod((1, 1))])


def test_a_batch_that_does_not_divide_is_refused():
    config = small_recipe()
    config.batch_size = 12
    with pytest.raises(TrainError, match="batch_size=12 does not divide over 8 devices"):
        make_plans(config, [cpu_pod((2, 4))])


@pytest.mark.parametrize(
    "limits, restarts",
    [
        ((8 << 20, resource.RLIM_INFINITY), True),
        ((8 << 20, 8 << 20), False),  # more is not allowed
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), False),
    ],
)
def test_starts_anew_with_an_unlimited_stack(monkeypatch, capsys, limits, restarts):
    calls = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: calls.append(limits))
    monkeypatch.setattr(os, "execv", lambda program, arguments: calls.append(arguments))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "train.plan", "--topology=v6e:4x4"])
    monkeypatch.setattr(sys, "argv", ["plan.py", "--topology=v6e:4x4"])
    program._restart_with_unlimited_stack()
    unlimited = (resource.RLIM_INFINITY,) * 2
    again = [sys.executable, "-m", "train.plan", "--topology=v6e:4x4"]
    assert calls == ([unlimited, again] if restarts else [])
    warned = "limited to 8 MiB and cannot be raised" in capsys.readouterr().err
    assert warned == (resource.RLIM_INFINITY not in limits)


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "train.plan", *arguments],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": ""},
        text=True,
        capture_output=True,
    )


def test_values_that_cannot_be_are_told():
    config = lenet.get_config()
    config.seed = -1
    with pytest.raises(TrainError, match="seed=-1: it has to be"):
        make_plans(config, [])


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--config=configs/lenet.py", "--topology=v5e:5x5"], "v5e:4x4"),
        (["--config=configs/lenet.py", "--topology=v5e:2x2", "--config.sed=1"], "'sed'"),
        (["--topology=v5e:2x2"], "--config=configs/lenet.py"),
        (["--config=configs/lenet.py", "--json=no/such/folder/plan.json"], "no/such/folder"),
    ],
)
def test_a_wrong_command_line_gets_one_clear_message(arguments, expected):
    done = run(*arguments)
    assert done.returncode not in (0, None) and expected in done.stderr
    assert "Traceback" not in done.stderr


if pod._is_a_package() or pod._library().exists():

    @pytest.mark.full
    def test_a_recipe_is_compiled_for_tpus(tmp_path):
        settings = ["--config=configs/lenet.py", "--config.model.name=mlp"]
        settings += ["--config.batch_norm=per_device", "--topology=v5e:1x1,v5e:2x2"]
        done = run(*settings, f"--json={tmp_path / 'plan.json'}")
        assert done.returncode == 0, done.stderr
        one, four = json.loads((tmp_path / "plan.json").read_text())
        assert one["fits"] and four["chips"] == 4
        assert 1 <= four["collectives"]["all-reduce"]["count"] <= 3
        assert "| v5e:2x2 | 4 | 512 |" in done.stdout
