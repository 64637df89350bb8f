"""Width multipliers: numbers of features, scaled and rounded to multiples that hardware likes."""


def scaled(features: float, width: float = 1.0, divisor: int = 8) -> int:
    """Rounds `features * width` to the nearest multiple of `divisor`, but never by 10 % down.

    The result is at least `divisor`. `scaled(32, 0.75)` is 24. This is `make_divisible` of the
    MobileNetV2 authors' code, which all MobileNets and EfficientNets since use.
    """
    exact = features * width
    rounded = max(divisor, int(exact + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * exact else rounded
