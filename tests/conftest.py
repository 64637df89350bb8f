"""Settings of all tests: eight virtual devices on CPU, no silent rank promotion, which test where.

By default everything runs but what is marked `full` or `soak`. `-m quick` runs what is marked so,
`-m full` and `-m soak` the rest. Soak tests that passed are passed over when the same command runs
again, until a source file changes or all have passed.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores: see oneDNN

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


CACHE = pytest.StashKey[str]()  # the folder of caches of this run
QUICKLY = "JAX_DISABLE_MOST_OPTIMIZATIONS"
MOST_MEMORY = 3 * 2**30  # bytes of a worker, above which compiled programs are dropped
# Files that go through all models: those of one name run on one worker, which shares what it made.
BY_MODEL = ("test_models", "test_parity", "test_variants", "test_export", "test_published")

# Any other folder of the same format can be given by --recipe-goldens=FOLDER and so on.
GOLDENS = {"recipe": "goldens/recipes", "look": "zoo/look/goldens"}


@pytest.fixture
def quick_compilation():
    """For programs that run once on little data: compiling them is what costs time."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def optimized_compilation(monkeypatch):
    """For tests of what XLA's optimizations do, here and in processes that are started."""
    before = jax.config.read("jax_disable_most_optimizations")
    monkeypatch.delenv(QUICKLY, raising=False)
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def mnist_dir(tmp_path_factory) -> Path:
    """A data_dir with MNIST prepared, which all workers share."""
    from input_pipeline.prepare import prepare

    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    prepare("mnist", folder / "mnist")
    return folder / "mnist"


def pytest_make_parametrize_id(val, argname):
    """Bytes are named by their argument: a zip holds the second of its making, and all workers must
    collect the same names."""
    return argname if isinstance(val, bytes) else None


def pytest_addoption(parser):
    for kind, folder in GOLDENS.items():
        parser.addoption(
            f"--{kind}-goldens",
            type=Path,
            default=Path(__file__).parent / folder,
            metavar="FOLDER",
            help=f"goldens of the tests marked {kind}_goldens (default: tests/{folder})",
        )


@pytest.fixture(scope="session")
def recipe_goldens(request) -> Path:
    """The folder of --recipe-goldens."""
    return request.config.getoption("--recipe-goldens")


def pytest_generate_tests(metafunc):
    """A test marked recipe_goldens(case=function) runs for each entry of function(folder), a
    mapping from names to values of the argument `case`; look_goldens likewise."""
    for kind in GOLDENS:
        for mark in metafunc.definition.iter_markers(f"{kind}_goldens"):
            for argument, read in mark.kwargs.items():
                cases = read(metafunc.config.getoption(f"--{kind}-goldens"))
                metafunc.parametrize(argument, cases.values(), ids=cases.keys())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """What runs on one worker: a file; where a file goes through all models, those of one name."""
    for item in items:
        group = item.path.stem  # xdist cuts names at "@" and "]", which a whole path may have
        by_model = group in BY_MODEL
        if by_model and hasattr(item, "callspec"):
            group += f":{item.callspec.id}"
        item.add_marker(pytest.mark.xdist_group(group))
        marks = {mark.name for mark in item.iter_markers()} & {"quick", "full", "soak"}
        if len(marks) > 1:
            raise pytest.UsageError(f"{item.nodeid} is marked {' and '.join(sorted(marks))}.")


def _group(item) -> str | None:
    mark = item and item.get_closest_marker("xdist_group")
    return mark.args[0] if mark else None


def pytest_runtest_teardown(item, nextitem):
    """Compiled programs of hundreds of models would fill the memory: they go when it has grown."""
    if _group(item) != _group(nextitem) and resident_bytes() > MOST_MEMORY:
        jax.clear_caches()


def resident_bytes() -> int:
    """The memory of this process; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def pytest_configure(config):
    """Programs of tests run once or twice, so that compiling them is what costs time: by default
    XLA leaves its optimizations out; `-m full` and `-m soak` run with them, as users do.

    The workers and the programs that tests start share a cache of compiled programs, a new one in
    each run, and leave the user's alone.
    """
    config.pluginmanager.register(Soak(config))
    if config.option.markexpr not in ("full", "soak"):
        os.environ[QUICKLY] = "1"
        jax.config.update("jax_disable_most_optimizations", True)
        if jax.__version_info__ < (0, 11):  # whose XLA knows the flag; three times as fast
            os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
    if not hasattr(config, "workerinput"):
        config.stash[CACHE] = os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
    compiled = os.path.join(os.environ["XDG_CACHE_HOME"], "xla")
    jax.config.update("jax_compilation_cache_dir", compiled)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def pytest_unconfigure(config):
    if CACHE in config.stash:
        shutil.rmtree(config.stash[CACHE], ignore_errors=True)


class Soak:
    """Remembers in pytest's cache which soak tests have passed, and passes them over."""

    FOLDERS = ("zoo", "train", "input_pipeline", "configs", "tests")

    def __init__(self, config: pytest.Config):
        self.config, self.some_ran = config, False
        self.is_worker = hasattr(config, "workerinput")
        if self.is_worker:  # all workers must collect the same tests
            self.passed = config.workerinput["soak_passed"]
        else:
            self.key = f"soak/{self.source()}"
            # Without pytest's cache (-p no:cacheprovider) nothing is remembered.
            self.cache = getattr(config, "cache", None)
            self.passed = self.cache.get(self.key, []) if self.cache else []

    def source(self) -> str:
        """A digest of all Python files."""
        root, digest = self.config.rootpath, hashlib.sha256()
        for folder in self.FOLDERS:
            for path in sorted((root / folder).rglob("*.py")):
                digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()[:16]

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node):
        node.workerinput["soak_passed"] = self.passed

    def pytest_collection_modifyitems(self, items):
        done = [item for item in items if item.nodeid in self.passed]
        items[:] = [item for item in items if item.nodeid not in self.passed]
        self.config.hook.pytest_deselected(items=done)

    def pytest_runtest_logreport(self, report):
        if not self.is_worker and report.when == "call" and "soak" in report.keywords:
            self.some_ran = True
            if report.passed:
                self.passed = [*self.passed, report.nodeid]
                self.remember(self.passed)

    def pytest_sessionfinish(self, exitstatus):
        if not self.is_worker and self.some_ran and exitstatus == 0:
            self.remember([])

    def remember(self, passed: list[str]) -> None:
        if self.cache:
            self.cache.set(self.key, passed)
