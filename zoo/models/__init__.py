"""One paper, one file: a family of models, its variants and its conversion tables."""
