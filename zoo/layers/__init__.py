"""Modules that you may take into any Flax program."""
