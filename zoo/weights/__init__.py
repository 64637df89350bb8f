"""Weights of the reference implementations, in and out."""
