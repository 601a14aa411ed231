"""Walls: straight pieces of outlines, found and fitted for many outlines at a time.

Shared by the simplification and the regularisation stage; knows rings and lines, no buildings.
"""
