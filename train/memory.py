"""Makes glibc keep freed memory, because returning it to the system costs more than it saves.

On CPU, XLA frees the temporaries of a step after it, one block of up to gigabytes, and glibc
returns that to the system. In the next step each page is faulted in and zeroed again, which takes
up to half of the step's time.
"""

import ctypes
import platform

# glibc's malloc.h. All values are C ints.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_NEVER = -1


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory for the next allocation; returns whether there is a glibc.

    Call it before the first large allocation.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # One arena: the arenas of other threads map large blocks in spite of the second setting.
    settings = [(_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER)]
    settings.append((_M_TOP_PAD, 2**26))
    return all([mallopt(ctypes.c_int(name), ctypes.c_int(value)) for name, value in settings])
