"""Training chips: images and outlines prepared once, read anywhere."""
