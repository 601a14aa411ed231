"""Coarse instances to precise ones, with the image as witness."""
