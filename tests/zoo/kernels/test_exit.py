"""Programs end when they are over, whatever they have in flight."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest

GRACE = 3.0  # seconds from the last line of a program, or from the end of what is in flight

START = """
import os, signal, sys, threading, time
import jax, numpy as np
import zoo

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored

# Work that is in flight when the program ends.
model = zoo.create("lenet5")
images = np.zeros((8192, 32, 32, 1), np.float32)
variables = jax.jit(model.init)(jax.random.key(0), images[:1])
apply = jax.jit(model.apply)
apply(variables, images).block_until_ready()
began = time.monotonic()
apply(variables, images).block_until_ready()
seconds = time.monotonic() - began

def last_line():
    print("last line", time.monotonic(), seconds, flush=True)
"""

ENDS = {
    "a call in flight": ("last_line(); logits = apply(variables, images)", 0),
    "several calls in flight": (
        "last_line(); logits = [apply(variables, images) for _ in range(3)]; seconds *= 3",
        0,
    ),
    "an exception after dispatch": (
        "last_line(); logits = apply(variables, images); raise RuntimeError('on purpose')",
        1,
    ),
    "Ctrl-C": (
        "last_line(); logits = apply(variables, images); os.kill(os.getpid(), signal.SIGINT)\n"
        "logits.block_until_ready(); time.sleep(1)",
        -signal.SIGINT,
    ),
    "SIGTERM": (
        "last_line(); logits = apply(variables, images); os.kill(os.getpid(), signal.SIGTERM)\n"
        "logits.block_until_ready(); time.sleep(1)",
        -signal.SIGTERM,
    ),
    "a daemon thread that calls": (
        """
def call():
    while True:
        apply(variables, images)
threading.Thread(target=call, daemon=True).start()
time.sleep(0.5)
last_line()
""",
        # CPython ends the thread inside of JAX's C++, which aborts: plain JAX does the same.
        (0, -signal.SIGABRT),
    ),
    "sys.exit in a thread": (
        """
def call():
    global logits
    logits = apply(variables, images)
    sys.exit(3)
thread = threading.Thread(target=call)
thread.start()
thread.join()
last_line()
""",
        0,
    ),
    "threads that keep the lock busy": (
        """
def count():
    while True:
        sum(range(1000))
for _ in range(2):
    threading.Thread(target=count, daemon=True).start()
last_line()
logits = apply(variables, images)
""",
        0,
    ),
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> dict[str, str]:
    """Settings by which all these programs compile their model once."""
    folder = str(tmp_path_factory.mktemp("compile_cache"))
    seconds = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return seconds | {"JAX_COMPILATION_CACHE_DIR": folder}


CASES = [
    pytest.param(end, marks=[pytest.mark.full] if end == "several calls in flight" else [])
    for end in ENDS
]


def finish(program: str, codes: int | tuple[int, ...], environment: dict[str, str]) -> None:
    """Runs a program and checks its exit code and how long it takes after its last line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"XLA_FLAGS": ""} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        output, errors = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"still alive after 120 s: {process.communicate()}") from None
    ended = time.monotonic()
    assert process.returncode in (codes if isinstance(codes, tuple) else (codes,)), errors
    last, seconds = map(float, re.search(r"last line (\S+) (\S+)", output).groups())
    assert ended - last < GRACE + 4 * seconds, (ended - last, seconds)


@pytest.mark.parametrize("end", CASES)
def test_a_program_ends(end, cache):
    last, codes = ENDS[end]
    finish(START + textwrap.dedent(last), codes, cache)


@pytest.mark.full
@pytest.mark.parametrize("end", ["an exception after dispatch"])
def test_a_program_in_portable_form_ends(end, cache):
    last, codes = ENDS[end]
    finish(START + textwrap.dedent(last), codes, cache | {"ZOO_PORTABLE": "1"})


def test_pytest_ends(tmp_path, cache):
    """A test run whose last test leaves work in flight."""
    body = textwrap.indent(START, "    ")
    last = '    last_line()\n    globals()["logits"] = apply(variables, images)\n'
    (tmp_path / "test_it.py").write_text(f"def test_it():\n{body}{last}")
    program = f"import pytest, sys; sys.exit(pytest.main(['-s', '-p', 'no:xdist', '{tmp_path}']))"
    finish(program, 0, cache)
