"""Trained models at work: names for pictures, evaluation, features."""
