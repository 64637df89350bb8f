"""Work on batches in threads, ahead of who asks for it."""

import collections
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")
_BATCHES_AHEAD = 3  # that are decoded, or being decoded, while one is computed


def decoded(
    batches: Sequence[Sequence[Item]], decode: Callable[[Item], Made], threads: int
) -> Iterator[tuple[Sequence[Item], list[Made]]]:
    """Yields each batch and what `decode` has made of its items; works ahead in threads.

    Args:
      batches: the items, which are decoded in this order.
      decode: called in a thread with an item.
      threads: number of threads.
    """
    with ThreadPoolExecutor(threads, "decode") as pool:
        ahead: collections.deque[list[Future]] = collections.deque()
        following = iter(batches)
        try:
            for items in batches:
                for batch in itertools.islice(following, _BATCHES_AHEAD - len(ahead)):
                    ahead.append([pool.submit(decode, item) for item in batch])
                yield items, [future.result() for future in ahead.popleft()]
        finally:
            pool.shutdown(cancel_futures=True)
