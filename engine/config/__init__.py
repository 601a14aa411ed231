"""What each job is asked to do: one frozen dataclass per sub-command, validated once.

Standard library only, because the QGIS side builds these too. Units stand in the field names. The
dictionary form is the wire format between QGIS and the engine and is stored with every result.
"""

from .base import DEVICES, PRECISIONS, Config, require_choice, require_given, require_range
from .detector import ADVERSARIAL, OPTIMIZERS, BundleConfig, TrainDetectorConfig
from .evaluate import CompareConfig, EvaluateConfig
from .regularize import RegularizeConfig
from .scene import STYLES, SceneConfig
from .vectorize import LOOKS, REGULARIZATIONS, SMOOTHINGS, SeveralConfig, VectorizeConfig

__all__ = [
    "ADVERSARIAL", "DEVICES", "LOOKS", "OPTIMIZERS", "PRECISIONS", "REGULARIZATIONS", "SMOOTHINGS", "STYLES",
    "BundleConfig", "CompareConfig", "Config", "EvaluateConfig", "RegularizeConfig", "SceneConfig",
    "SeveralConfig", "TrainDetectorConfig", "VectorizeConfig", "require_choice", "require_given", "require_range",
]  # fmt: skip
