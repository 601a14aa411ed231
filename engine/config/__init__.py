"""What each job is asked to do: one frozen dataclass per sub-command, validated once.

Standard library only, because the QGIS side builds these too. Units stand in the field names. The
dictionary form is the wire format between QGIS and the engine and is stored with every result.
"""

from .base import DEVICES, PRECISIONS, Config, require_choice, require_given, require_range
from .detector import ADVERSARIAL, OPTIMIZERS, BundleConfig, TrainDetectorConfig
from .evaluate import CompareConfig, EvaluateConfig
from .finetune import (
    ARCHITECTURES,
    CollectTrainingConfig,
    ExportConfig,
    FinetuneConfig,
    PackTrainingConfig,
    chip_pixel_m,
)
from .refine import RefineConfig
from .refiner import REFINER_VARIANTS, FinetuneRefinerConfig, TrainRefinerConfig
from .regularize import RegularizeConfig
from .scene import STYLES, SceneConfig
from .segmenter import SEGMENTERS, TrainSegmenterConfig
from .vectorize import LOOKS, REGULARIZATIONS, SMOOTHINGS, SeveralConfig, VectorizeConfig

__all__ = [
    "ADVERSARIAL", "ARCHITECTURES", "DEVICES", "LOOKS", "OPTIMIZERS", "PRECISIONS", "REFINER_VARIANTS",
    "REGULARIZATIONS", "SEGMENTERS", "SMOOTHINGS", "STYLES", "BundleConfig", "CollectTrainingConfig",
    "CompareConfig", "Config", "EvaluateConfig", "ExportConfig", "FinetuneConfig", "FinetuneRefinerConfig",
    "PackTrainingConfig", "RefineConfig", "RegularizeConfig", "SceneConfig", "SeveralConfig", "TrainDetectorConfig",
    "TrainRefinerConfig", "TrainSegmenterConfig", "VectorizeConfig", "chip_pixel_m", "require_choice",
    "require_given", "require_range",
]  # fmt: skip
