"""Training: `train.loop` runs a recipe, `python -m train` is its command line."""
