"""The order of training examples, a pure function of seed and position.

The example at each position 0, 1, 2, ... of a run does not depend on the number of devices or
hosts, or on the step at which the run was resumed, so there is no iterator state to save.
"""

import functools

import numpy as np

MULTIPLE = 256  # of which the length of an epoch with repeats is one, as in DeiT


def indices(
    seed: int,
    start: int,
    stop: int,
    n: int,
    *,
    repeats: int = 1,
    batch_size: int = 1,
    replicas: int = 1,
) -> np.ndarray:
    """Returns the example index at each global position in [start, stop).

    Position p is in epoch p // n. Each epoch is a permutation of all n examples, and batches may
    cross its end, so no example is dropped.

    With `repeats`, an epoch has `epoch_length(n, repeats)` positions, and each of its examples
    stands there so often: repeated augmentation (Hoffer et al. 2020) as DeiT's sampler does it. The
    examples of a batch are dealt out to replicas in turn, so that a replica sees few of them twice:
    replica r has the rows [r b, (r + 1) b) of a batch of `replicas` b rows, and in them every
    `replicas`-th example of the order from the r-th on.

    Args:
      seed: in [0, 2**32).
      start, stop: positions.
      n: number of examples.
      repeats: how often each example stands in its epoch.
      batch_size, replicas: rows of a global batch, and parts that they are dealt out to.

    Returns:
      int64 [stop - start], values in [0, n).

    Raises:
      ValueError: n is not positive, or the batch does not divide over the replicas.
    """
    if n <= 0:
        raise ValueError(f"cannot order a data set of {n} examples")
    if repeats > 1:
        entries = _dealt(np.arange(start, stop), batch_size, replicas)
        length = epoch_length(n, repeats)
        epochs, entries = np.divmod(entries, length)
        result = np.empty(len(entries), np.int64)
        for epoch in np.unique(epochs):
            rows = epochs == epoch
            result[rows] = _permutation(seed, int(epoch), n)[entries[rows] // repeats]
        return result
    epochs = range(start // n, -(-stop // n))
    parts = [_permutation(seed, e, n)[max(start - e * n, 0) : min(stop - e * n, n)] for e in epochs]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def epoch_length(n: int, repeats: int = 1) -> int:
    """Returns the number of positions of an epoch of n examples.

    With repeats it is the multiple of 256 below, so that an epoch sees about n / repeats different
    examples; fewer than 256 are all there.
    """
    return n if repeats == 1 else n // MULTIPLE * MULTIPLE or n


def repeated(examples: np.ndarray, repeats: int, replicas: int = 1, replica: int = 0) -> np.ndarray:
    """Returns what one replica sees of an epoch whose examples are all repeated, in their order.

    Source: facebookresearch/deit `samplers.py`.

    Args:
      examples: int [n], the order of the epoch without repeats.
      repeats: how often each stands in it.
      replicas, replica: number of replicas, and which of them.

    Returns:
      int [epoch_length(n, repeats) // replicas].

    Example:
      >>> repeated(np.arange(4), repeats=3, replicas=2, replica=0)
      array([0, 0])
    """
    length = epoch_length(len(examples), repeats) // replicas
    entries = np.arange(replica, replicas * length, replicas)
    return examples[entries // repeats]


def _dealt(positions: np.ndarray, batch_size: int, replicas: int) -> np.ndarray:
    """The place in the order of what stands at each position of batches."""
    if batch_size % replicas:
        raise ValueError(f"a batch of {batch_size} does not divide over {replicas} replicas")
    batch, row = np.divmod(positions, batch_size)
    replica, turn = np.divmod(row, batch_size // replicas)
    return batch * batch_size + turn * replicas + replica


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    # RandomState, not Generator: numpy guarantees that its streams never change.
    permutation = np.random.RandomState([seed, epoch]).permutation(n)
    permutation.flags.writeable = False
    return permutation
