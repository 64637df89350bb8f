"""The order of training examples: a pure function of (seed, epoch, index).

Every position 0, 1, 2, ... of a run has its example, whatever the batch size, the number of hosts
or the step at which the run was resumed. There is no iterator state to save.
"""

import functools

import numpy as np


def indices(seed: int, start: int, stop: int, n: int) -> np.ndarray:
    """Example index at each global position of [start, stop).

    Position p lies in epoch p // n; an epoch is one permutation of all n examples, and positions
    run on across epochs, so nothing is dropped.

    Args:
      seed: 0 <= seed < 2**32.
      n: number of examples.

    Returns:
      int64 [stop - start], values in [0, n).
    """
    if n <= 0:
        raise ValueError(f"cannot order a data set of {n} examples")
    epochs = range(start // n, -(-stop // n))
    parts = [_permutation(seed, e, n)[max(start - e * n, 0) : min(stop - e * n, n)] for e in epochs]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    # RandomState, not Generator: numpy has frozen its streams for ever.
    permutation = np.random.RandomState([seed, epoch]).permutation(n)
    permutation.flags.writeable = False
    return permutation
