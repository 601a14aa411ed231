"""Generated orthophotos with true building outlines: streets, parcels, buildings, trees, camera."""

from .scene import Scene, generate_scene

__all__ = ["Scene", "generate_scene"]
