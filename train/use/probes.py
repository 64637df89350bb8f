"""Classifiers on frozen features: how much a model knows of classes that it was not trained on."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from train.errors import TrainError

L2 = 2.0**10
_BIAS = 100.0  # a feature that is always this, so that the penalty hardly touches its weight
# C of VISSL's protocol for linear SVMs, chosen by cross-validation.
COSTS = (0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0)
_FOLDS = 3

Scorer = Callable[[np.ndarray], np.ndarray]  # features [N, D] -> scores [N, K] or [N]


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
        """Fits features [N, D] to labels [N] in [0, K), in float64; `l2` is the penalty."""
        features = np.asarray(features, np.float64)
        mean, deviation = features.mean(0), features.std(0) + 1e-5
        x = _whitened(features, mean, deviation)  # [N, D + 1]
        y = 2.0 * np.eye(labels.max() + 1)[labels] - 1  # [N, K]
        few = len(x) < x.shape[1]  # the smaller of the two systems
        gram, right = (x @ x.T, y) if few else (x.T @ x, x.T @ y)
        solution = np.linalg.solve(gram + l2 * np.eye(len(gram)), right)
        return cls(mean, deviation, x.T @ solution if few else solution)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Returns a score for each class, [N, K]."""
        x = _whitened(np.asarray(features, np.float64), self.mean, self.deviation)
        return x @ self.weights


def logistic(features: np.ndarray, labels: np.ndarray) -> Scorer:
    """Fits a logistic regression (L2, C = 1) to standardised features, by scikit-learn.

    Raises:
      TrainError: scikit-learn is not installed.
    """
    sklearn = _sklearn()
    regression = sklearn.linear_model.LogisticRegression(solver="newton-cg", max_iter=2000)
    steps = sklearn.preprocessing.StandardScaler(), regression
    return _fitted(sklearn, steps, features, labels)


def svm(features: np.ndarray, labels: np.ndarray) -> Scorer:
    """Fits a linear SVM (squared hinge) to features of length 1, by scikit-learn.

    The protocol is VISSL's: C is the best of `COSTS` in a cross-validation of three folds, or of as
    many as there are examples of a class; of one example, C is 1.

    Raises:
      TrainError: scikit-learn is not installed.
    """
    sklearn = _sklearn()
    machine: Any = sklearn.svm.LinearSVC(max_iter=2000, C=1.0)
    folds = min(_FOLDS, np.bincount(labels).min())
    if folds > 1:
        grid = {"C": list(COSTS)}
        machine = sklearn.model_selection.GridSearchCV(machine, grid, cv=folds)
    steps = sklearn.preprocessing.Normalizer(), machine
    return _fitted(sklearn, steps, features, labels)


def one_class_svm(features: np.ndarray) -> Scorer:
    """Fits a one-class SVM to features of one class [N, D]; scores [N] are larger inside of it.

    Raises:
      TrainError: scikit-learn is not installed.
    """
    sklearn = _sklearn()
    steps = sklearn.preprocessing.StandardScaler(), sklearn.svm.OneClassSVM(gamma="auto", nu=0.1)
    pipeline = sklearn.pipeline.make_pipeline(*steps).fit(features)
    return pipeline.decision_function


def mahalanobis(features: np.ndarray) -> Scorer:
    """Fits a normal distribution to features of one class [N, D], by scikit-learn.

    The covariance is that of Ledoit and Wolf 2004, as there are more features than images. Scores
    [N] are minus the squared distance.

    Raises:
      TrainError: scikit-learn is not installed.
    """
    fitted = _sklearn().covariance.LedoitWolf().fit(np.asarray(features, np.float64))
    return lambda x: -fitted.mahalanobis(np.asarray(x, np.float64))


CLASSIFIERS: dict[str, Callable[[np.ndarray, np.ndarray], Scorer]] = {
    "least_squares": LeastSquares.fit,
    "logistic": logistic,
    "svm": svm,
}
ONE_CLASS: dict[str, Callable[[np.ndarray], Scorer]] = {
    "one_class_svm": one_class_svm,
    "mahalanobis": mahalanobis,
}


def accuracy(scorer: Scorer, features: np.ndarray, labels: np.ndarray) -> float:
    """Returns the fraction in [0, 1] of examples whose class has the largest score."""
    scores = np.asarray(scorer(features))
    if scores.ndim == 1:  # scikit-learn gives two classes one score
        scores = np.stack([-scores, scores], -1)
    return float((scores.argmax(-1) == labels).mean())


def auc(scores: np.ndarray, inside: np.ndarray) -> float:
    """Returns the area under the ROC curve: how often one inside scores above one outside.

    Args:
      scores: [N].
      inside: [N], whether each is of the class.
    """
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[place]  # the mean rank of those that are equal, from 1
    number = int(inside.sum())
    above = ranks[inside].sum() - number * (number + 1) / 2
    return float(above / (number * (len(scores) - number)))


def choose(labels: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Returns the indices of `shots` examples of each class; those of fewer shots are among them.

    Raises:
      TrainError: a class has fewer examples.
    """
    rng, chosen = np.random.default_rng(seed), []
    for label in np.unique(labels):
        of_class = rng.permutation(np.flatnonzero(labels == label))
        if len(of_class) < shots:
            raise TrainError(
                f"Class {label} has {len(of_class)} images, fewer than --shots={shots}."
            )
        chosen.append(of_class[:shots])
    return np.concatenate(chosen)


def _whitened(features: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    return np.pad((features - mean) / deviation, ((0, 0), (0, 1)), constant_values=_BIAS)


def _fitted(sklearn: Any, steps: tuple, features: np.ndarray, labels: np.ndarray) -> Scorer:
    return sklearn.pipeline.make_pipeline(*steps).fit(features, labels).decision_function


def _sklearn() -> Any:
    try:
        import sklearn
        import sklearn.covariance
        import sklearn.linear_model
        import sklearn.model_selection
        import sklearn.pipeline
        import sklearn.preprocessing
        import sklearn.svm
    except ImportError as error:
        raise TrainError(
            "This classifier is scikit-learn's: pip install 'flax-zoo[probe]', or choose "
            "--classifier=least_squares."
        ) from error
    return sklearn
