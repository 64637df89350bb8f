"""What `import zoo` costs over `import flax.linen`: python benchmarks/import_time.py

Each import is timed in a process of its own; the minimum of several, as the machine is noisy.
"""

import subprocess
import sys

CODE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
TRIES = 7


def seconds(module: str) -> float:
    """Returns the minimum time of importing a module, each time in a new process."""
    command = [sys.executable, "-c", CODE.format(module)]
    runs = [subprocess.run(command, capture_output=True, check=True) for _ in range(TRIES)]
    return min(float(run.stdout) for run in runs)


def main() -> None:
    """Runs the command line."""
    flax, zoo = seconds("flax.linen"), seconds("zoo")
    print(f"import flax.linen  {flax:.3f} s")
    print(f"import zoo         {zoo:.3f} s  ({zoo - flax:+.3f} s)")


if __name__ == "__main__":
    main()
