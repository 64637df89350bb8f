import platform
import subprocess
import sys

# Allocates, touches and frees 64 MB a few times; says how many pages the later times faulted in.
CODE = """
import ctypes, resource
from train.memory import keep_freed_memory
kept = keep_freed_memory() if {keep} else None
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def touch():
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(2**26)))
    ctypes.memset(block, 1, 2**26)
    libc.free(block)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    touch()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> tuple[str, int]:
    command = [sys.executable, "-c", CODE.format(keep=keep)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return output[0], int(output[1])


def test_freed_memory_is_used_again():
    kept, with_it = faults(True)
    _, without = faults(False)
    assert kept == str(platform.libc_ver()[0] == "glibc")
    if kept == "True":
        assert with_it < without / 10
