"""Width multipliers: numbers of features, scaled and rounded to what hardware likes."""


def scaled(features: float, width: float = 1.0, divisor: int = 8) -> int:
    """`features * width` to the nearest multiple of `divisor`, at least one and never 10 % less.

    As in all MobileNets and EfficientNets since the authors' MobileNetV2.
    """
    exact = features * width
    rounded = max(divisor, int(exact + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * exact else rounded
