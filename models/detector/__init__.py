"""Mask R-CNN for buildings (He et al. 2017), compact enough for a CPU."""

from .mask_rcnn import MaskRCNN, build_detector
from .predict import Prediction, predict

__all__ = ["MaskRCNN", "Prediction", "build_detector", "predict"]
