"""What a network sees: pure functions that look inside, for any model of the zoo.

Keys of random numbers are arguments; nothing is hooked or changed.
"""

from zoo.look import attention, attribution, fourier, objectives, robustness
from zoo.look.receptive_field import ReceptiveField, receptive_fields
from zoo.look.units import TopImages, top_images
from zoo.look.visualisation import Visualised, visualise

__all__ = [
    "ReceptiveField",
    "TopImages",
    "Visualised",
    "attention",
    "attribution",
    "fourier",
    "objectives",
    "receptive_fields",
    "robustness",
    "top_images",
    "visualise",
]
