"""Plans a recipe on TPU slices, without a TPU: memory, roofline and weak scaling."""
