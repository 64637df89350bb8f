"""What a network sees: pure functions that look inside, for any model of the zoo.

Keys of random numbers are arguments; nothing is hooked or changed.
"""

from zoo.look import attribution
from zoo.look.receptive_field import ReceptiveField, receptive_fields

__all__ = ["ReceptiveField", "attribution", "receptive_fields"]
