"""How this process gives memory back to the system: on CPU that costs more than it saves.

XLA frees a step's temporaries after each step, one piece of up to gigabytes, and glibc gives that
back to the system. Each page is then faulted in and zeroed anew in the next step: up to half of a
step's time.
"""

import ctypes
import platform

# glibc's malloc.h. All values are C ints.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_NEVER = -1


def keep_freed_memory() -> bool:
    """Lets glibc keep what is freed, for the next allocation; True where there is a glibc.

    Call it before the first large allocation.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # One arena: in those of other threads large allocations are mapped in spite of the second.
    settings = [(_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER)]
    settings.append((_M_TOP_PAD, 2**26))
    return all([mallopt(ctypes.c_int(name), ctypes.c_int(value)) for name, value in settings])
