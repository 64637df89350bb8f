"""How our models are compared with the figures of their references."""

import numpy as np

import zoo


def model_without_dropout(name: str, **overrides):
    rates = ("dropout", "aux_dropout", "token_dropout", "drop_path")
    rates = [rate for rate in rates if hasattr(zoo.create(name), rate)]
    return zoo.create(name, **dict.fromkeys(rates, 0.0), **overrides)


def assert_agree(logits, expected: dict, tolerance: float):
    error = np.abs(logits[:, :8] - np.array(expected["first8"])).max() / expected["std"]
    assert error <= tolerance
    for figure, ours in [("std", logits.std()), ("l1", np.abs(logits).mean())]:
        assert abs(ours - expected[figure]) <= tolerance * expected["std"]
    assert abs(logits.mean() - expected["mean"]) <= tolerance * expected["std"]
