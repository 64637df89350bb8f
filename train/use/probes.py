"""Few-shot classifiers on frozen features: how much a model's features know of other classes."""

import dataclasses

import numpy as np

L2 = 2.0**10
_BIAS = 100.0  # a feature that is always this, so that the penalty hardly touches its weight


@dataclasses.dataclass(frozen=True)
class LeastSquares:
    """Ridge regression on whitened features with targets -1 and 1, in closed form.

    It has nothing to tune. Source: google-research/big_vision, `evaluators/fewshot_lsr.py`.

    Attributes:
      mean, deviation: of the features of the training images, [D].
      weights: [D + 1, K].
    """

    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, labels: np.ndarray, l2: float = L2) -> "LeastSquares":
        """Fits features [N, D] to labels [N] in [0, K), in float64.

        Args:
          features: [N, D].
          labels: [N], all classes from 0 to the largest occur.
          l2: the penalty of the squared weights.
        """
        features = np.asarray(features, np.float64)
        mean, deviation = features.mean(0), features.std(0) + 1e-5
        x = _whitened(features, mean, deviation)  # [N, D + 1]
        y = 2.0 * np.eye(labels.max() + 1)[labels] - 1  # [N, K]
        few = len(x) < x.shape[1]  # the smaller of the two systems
        gram, right = (x @ x.T, y) if few else (x.T @ x, x.T @ y)
        solution = np.linalg.solve(gram + l2 * np.eye(len(gram)), right)
        return cls(mean, deviation, x.T @ solution if few else solution)

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Returns a score for each class, [N, K]."""
        x = _whitened(np.asarray(features, np.float64), self.mean, self.deviation)
        return x @ self.weights


def _whitened(features: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    return np.pad((features - mean) / deviation, ((0, 0), (0, 1)), constant_values=_BIAS)


def choose(labels: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Returns the indices of `shots` examples of each class; those of fewer shots are among them.

    Raises:
      ValueError: a class has fewer examples.
    """
    rng, chosen = np.random.default_rng(seed), []
    for label in np.unique(labels):
        of_class = rng.permutation(np.flatnonzero(labels == label))
        if len(of_class) < shots:
            raise ValueError(f"class {label} has {len(of_class)} images, fewer than {shots} shots")
        chosen.append(of_class[:shots])
    return np.concatenate(chosen)
