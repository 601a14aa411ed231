"""A semantic segmenter trained on local outlines, to stand in the place of the detector."""

from __future__ import annotations

from qgis.core import QgsProcessingOutputNumber, QgsProcessingOutputString

from ..engine.config import SEGMENTERS, TrainSegmenterConfig
from ..models.manifest import BUNDLED
from . import parameters as p
from . import shared_parameters as shared
from .algorithm import explained
from .training import TrainingAlgorithm

PIXELS = {"MEAN_IOU": "mean_iou", "PIXEL_ACCURACY": "pixel_accuracy", "CLASS_ACCURACY": "class_accuracy"}
BUILDINGS = ("AP", "AP50", "F1")


class TrainSegmenter(TrainingAlgorithm):
    """``cadastral:trainsegmenter``."""

    NAME = "trainsegmenter"
    JOB = "train-segmenter"
    TAGS = "train,training,learn,segmenter,segmentation,DeepLab,SegGAN,GAN,semantic,model,deep learning,building"

    def displayName(self):  # noqa: N802
        return self.tr("Train a segmenter")

    def shortHelpString(self):  # noqa: N802
        return self.tr(
            "Teaches a network that judges every pixel, building or ground, what buildings look like in your town, "
            "and leaves a model package in which it stands in the place of the detector: 'Vectorize buildings' takes "
            "it as any other. It is faster than the detector; roofs that touch come apart less well. Where you are "
            "not after that, fine-tune the detector instead.\n\n"
            "With SegGAN (Zhang et al. 2019) a second pair of networks first learns to rebuild the image from the "
            "outlines, and is then a second judge of the segmenter. It needs many thousands of steps; with few it "
            "made segmenters worse in trials of ours.\n\n"
            "Some blocks of ground are kept aside; on them the pixels and the buildings are measured, the best weights "
            "are chosen, and the scores are adjusted. The report shows curves, figures and pictures. A run that was "
            "stopped goes on where it was when it is run again with the same parameters."
        )

    def initAlgorithm(self, config=None):  # noqa: N802
        tr = self.tr
        self.declare(
            shared.orthophotos(tr("Empty: a folder of training data is given below.")),
            shared.annotations(),
            shared.annotated_area(),
            shared.chips(),
            p.choice("ARCHITECTURE", tr("Network"), tr("Compact: one half of the plugin's own detector, and can start "
                "from it. DeepLabV3: ten or three times as large, for a machine with a graphics card; starts from "
                "scratch, or from a package with the same network."),
                field="architecture", options=[tr("Compact"), "DeepLabV3, ResNet-50", "DeepLabV3, MobileNetV3"],
                values=SEGMENTERS),
            shared.base_model(
                tr("With a segmenter of the same network, or with the plugin's kind of detector, whose trunk is a "
                   "compact segmenter. Its refiner goes along. Empty: the model of the plugin.")),
            p.switch("FROM_SCRATCH", tr("From scratch"),
                tr("Forget what the model knows; only its refiner goes along. Takes thousands of outlines and hours."),
                field="from_scratch", default=False),
            p.number("MINUTES", tr("Minutes"), tr("How long it may learn; SegGAN's first step and measuring are not "
                "counted. 0 (and 0 steps): the model is only measured and packed as a segmenter."),
                field="minutes", default=15.0, minimum=0.0, maximum=100000.0),
            shared.steps(),
            p.number("GAN_STEPS", tr("Steps of SegGAN (0 = none)"),
                tr("How long two networks learn to rebuild images from outlines, before they are frozen and judge the "
                   "segmenter. The paper took 20,000."),
                field="gan_steps", default=0, minimum=0, maximum=10000000, advanced=True),
            p.number("LAMBDA_CONTENT", tr("Weight of the rebuilt image"),
                tr("How much its likeness to the photograph counts beside the segmenter's own loss."),
                field="lambda_content", default=0.1, minimum=0.0, maximum=1000.0, advanced=True),
            p.number("LAMBDA_ADVERSARIAL", tr("Weight of SegGAN's discriminator"),
                tr("How much it counts that the rebuilt image is taken for a photograph."),
                field="lambda_adversarial", default=0.1, minimum=0.0, maximum=1000.0, advanced=True),
            p.number("GAN_WIDTH", tr("Width of SegGAN's networks"), tr("Channels of their first layers: 8, 16, 24 ..."),
                field="gan_width", default=32, minimum=8, maximum=256, advanced=True),
            shared.model_pixel(tr("At which the segmenter works: 0, or 0.03 to 2.")),
            p.number("CROP_SIZE", tr("Side of the crops (pixels)"), tr("What it sees at a time; a multiple of 64."),
                field="crop_px", default=256, minimum=64, maximum=1024, advanced=True),
            shared.learning_rate(0.001),
            shared.batch_size(),
            shared.copy_paste(),
            shared.validation_share(),
            p.number("VALIDATE_EVERY", tr("Steps between measurements"),
                tr("Also measured: the start, and the end."),
                field="validate_every", default=200, minimum=1, maximum=1000000, advanced=True),
            *shared.learning_device(),
            shared.seed(),
            shared.job_folder(),
            shared.output_model(tr("Segmenter")),
            shared.report(tr("Page with curves, figures and pictures.")),
            shared.figures(tr("All figures, before and after, for other programs.")),
        )  # fmt: skip
        for name in (*PIXELS, *BUILDINGS):
            self.addOutput(QgsProcessingOutputNumber(name, name))
        self.addOutput(QgsProcessingOutputString("MODEL_HASH", tr("Hash of the model")))

    def settings(self, parameters, context):
        values = self.values(parameters, context)
        if values["steps"]:
            values["minutes"] = 0.0
        values["base"] = values["base"] or str(BUNDLED)  # without one the engine starts from scratch
        return TrainSegmenterConfig(output="-", work_folder="-", **values)

    @explained
    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        result, outputs = self.train(parameters, context, feedback)
        outputs.update({name: result["pixels"]["all"][key] for name, key in PIXELS.items()})
        outputs.update({name: result["instances"][name] for name in BUILDINGS})
        return outputs
