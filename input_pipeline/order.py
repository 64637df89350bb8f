"""The order of training examples, a pure function of seed and position.

The example at each position 0, 1, 2, ... of a run does not depend on the batch size, the number of
hosts or the step at which the run was resumed, so there is no iterator state to save.
"""

import functools

import numpy as np


def indices(seed: int, start: int, stop: int, n: int) -> np.ndarray:
    """Returns the example index at each global position in [start, stop).

    Position p is in epoch p // n. Each epoch is a permutation of all n examples, and batches may
    cross its end, so no example is dropped.

    Args:
      seed: in [0, 2**32).
      start, stop: positions.
      n: number of examples.

    Returns:
      int64 [stop - start], values in [0, n).

    Raises:
      ValueError: n is not positive.
    """
    if n <= 0:
        raise ValueError(f"cannot order a data set of {n} examples")
    epochs = range(start // n, -(-stop // n))
    parts = [_permutation(seed, e, n)[max(start - e * n, 0) : min(stop - e * n, n)] for e in epochs]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    # RandomState, not Generator: numpy guarantees that its streams never change.
    permutation = np.random.RandomState([seed, epoch]).permutation(n)
    permutation.flags.writeable = False
    return permutation
