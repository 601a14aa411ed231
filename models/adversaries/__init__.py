"""What judges the detector's boxes and masks while it trains (Le et al. 2020); no part of a model package."""

from .discriminators import BoxDiscriminator, MaskDiscriminator
from .instances import HeadTap, Instances
from .regions import pool_regions

__all__ = ["BoxDiscriminator", "HeadTap", "Instances", "MaskDiscriminator", "pool_regions"]
