"""Generated orthophotos with true building outlines: streets, parcels, buildings, trees, camera."""

from .scene import Scene, generate_scene
from .write import write_scene

__all__ = ["Scene", "generate_scene", "write_scene"]
