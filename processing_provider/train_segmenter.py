"""A semantic segmenter trained on local outlines, to stand in the place of the detector."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsProcessingOutputNumber, QgsProcessingOutputString

from ..engine.config import DEVICES, PRECISIONS
from ..engine.segmenter_config import SEGMENTERS, TrainSegmenterConfig
from . import parameters as p
from .algorithm import CadastralAlgorithm, explained
from .jobs import run_training
from .rasters import Orthophoto
from .vectorize_buildings import BUNDLED

PIXELS = {"MEAN_IOU": "mean_iou", "PIXEL_ACCURACY": "pixel_accuracy", "CLASS_ACCURACY": "class_accuracy"}
BUILDINGS = ("AP", "AP50", "F1")


class TrainSegmenter(CadastralAlgorithm):
    """``cadastral:trainsegmenter``."""

    NAME = "trainsegmenter"
    ICON = "finetune.svg"
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
            "are chosen, and the scores are adjusted. A run that was stopped goes on where it was when it is run "
            "again with the same parameters."
        )

    def initAlgorithm(self, config=None):  # noqa: N802
        tr = self.tr
        for parameter in (
            p.rasters("INPUT", tr("Orthophotos"),
                tr("One or several, in any CRS and of any ground pixel. Of XYZ, WMS and other layers QGIS draws what "
                   "lies around the annotated area, or the outlines. Empty: a folder of training data is given below."),
                optional=True),
            p.polygons("ANNOTATIONS", tr("Outlines of buildings"), optional=True, help_text=
                tr("Drawn by hand, in any CRS; holes are kept.")),
            p.polygons("AREA", tr("Annotated area"), optional=True, help_text=
                tr("Polygons in which every building is outlined. Empty: everywhere.")),
            p.folder("CHIPS", tr("Folder of training data"),
                tr("Made by 'Export training data'; instead of orthophotos and outlines, or beside them.")),
            p.choice("ARCHITECTURE", tr("Network"), tr("Compact: one half of the plugin's own detector, and can start "
                "from it. DeepLabV3: ten or three times as large, for a machine with a graphics card; starts from "
                "scratch, or from a package with the same network."),
                options=[tr("Compact"), "DeepLabV3, ResNet-50", "DeepLabV3, MobileNetV3"]),
            p.file("MODEL", tr("Model package to start from"),
                tr("With a segmenter of the same network, or with the plugin's kind of detector, whose trunk is a "
                   "compact segmenter. Its refiner goes along. Empty: the model of the plugin."),
                file_filter=tr("Model packages (*.zip *.json)") + ";;" + tr("All files (*)")),
            p.switch("FROM_SCRATCH", tr("From scratch"),
                tr("Forget what the model knows; only its refiner goes along. Takes thousands of outlines and hours."),
                default=False),
            p.number("MINUTES", tr("Minutes"), tr("How long it may learn; SegGAN's first step and measuring are not "
                "counted. 0 (and 0 steps): the model is only measured and packed as a segmenter."),
                default=15.0, minimum=0.0, maximum=100000.0),
            p.number("STEPS", tr("Steps (0 = by minutes)"), tr("Ends after so many batches, however long they take."),
                default=0, minimum=0, maximum=10000000, advanced=True),
            p.number("GAN_STEPS", tr("Steps of SegGAN (0 = none)"),
                tr("How long two networks learn to rebuild images from outlines, before they are frozen and judge the "
                   "segmenter. The paper took 20,000."), default=0, minimum=0, maximum=10000000, advanced=True),
            p.number("LAMBDA_CONTENT", tr("Weight of the rebuilt image"),
                tr("How much its likeness to the photograph counts beside the segmenter's own loss."),
                default=0.1, minimum=0.0, maximum=1000.0, advanced=True),
            p.number("LAMBDA_ADVERSARIAL", tr("Weight of SegGAN's discriminator"),
                tr("How much it counts that the rebuilt image is taken for a photograph."),
                default=0.1, minimum=0.0, maximum=1000.0, advanced=True),
            p.number("GAN_WIDTH", tr("Width of SegGAN's networks"), tr("Channels of their first layers: 8, 16, 24 ..."),
                default=32, minimum=8, maximum=256, advanced=True),
            p.number("PIXEL_SIZE", tr("Ground pixel (metres, 0 = that of the model)"),
                tr("At which the segmenter works: 0, or 0.03 to 2."),
                default=0.0, minimum=0.0, maximum=2.0, advanced=True),
            p.number("CROP_SIZE", tr("Side of the crops (pixels)"), tr("What it sees at a time; a multiple of 64."),
                default=256, minimum=64, maximum=1024, advanced=True),
            p.number("LEARNING_RATE", tr("Learning rate"), tr("Lower changes the model less."),
                default=0.001, minimum=0.0000001, maximum=1.0, advanced=True),
            p.number("BATCH_SIZE", tr("Batch size"), tr("How many crops it sees at once; fewer need less memory."),
                default=8, minimum=1, maximum=256, advanced=True),
            p.number("COPY_PASTE", tr("Share of crops with pasted buildings (0 to 1)"),
                tr("Buildings of other places on free land, with a shadow."),
                default=0.3, minimum=0.0, maximum=1.0, advanced=True),
            p.number("VALIDATION_SHARE", tr("Share kept aside to measure with (0.01 to 0.8)"),
                tr("Of the outlines, in whole blocks of ground."),
                default=0.2, minimum=0.01, maximum=0.8, advanced=True),
            p.number("VALIDATE_EVERY", tr("Steps between measurements"),
                tr("Also measured: the start, and the end."), default=200, minimum=1, maximum=1000000, advanced=True),
            p.choice("DEVICE", tr("Device"),
                tr("Where it learns; automatic takes a graphics card if there is one."),
                options=[tr("Automatic"), "CPU", "CUDA", "MPS"], advanced=True),
            p.choice("PRECISION", tr("Precision"),
                tr("Number format inside the network; bfloat16 is faster where the processor knows it."),
                options=[tr("Automatic"), "float32", "bfloat16"], advanced=True),
            p.number("SEED", tr("Seed"), tr("The same number gives the same blocks, crops and order."),
                default=1, minimum=0, maximum=2**31 - 1, advanced=True),
            p.folder("JOB_FOLDER", tr("Job folder"),
                tr("Where unfinished work is kept so that a stopped run can go on. Empty: a folder in the "
                   "QGIS profile, removed when the run is complete."), advanced=True),
            p.file_destination("OUTPUT_MODEL", tr("Segmenter"), tr("Model package to write."),
                file_filter=tr("Model packages (*.zip)"), optional=False),
            p.file_destination("FIGURES", tr("Figures"), tr("All figures, before and after, for other programs."),
                file_filter=tr("JSON files (*.json)")),
        ):  # fmt: skip
            self.addParameter(parameter)
        for name in (*PIXELS, *BUILDINGS):
            self.addOutput(QgsProcessingOutputNumber(name, name))
        self.addOutput(QgsProcessingOutputString("MODEL_HASH", tr("Hash of the model")))

    def settings(self, parameters, context):
        model = self.parameterAsString(parameters, "MODEL", context)
        chips = self.parameterAsString(parameters, "CHIPS", context)
        steps = self.parameterAsInt(parameters, "STEPS", context)
        return TrainSegmenterConfig(
            output="-",
            work_folder="-",
            rasters=("-",) if self.parameterAsLayerList(parameters, "INPUT", context) else (),
            annotations="-" if parameters.get("ANNOTATIONS") else "",
            chips=(chips,) if chips else (),
            base=str(Path(model).parent) if model.endswith("model.json") else model or str(BUNDLED),
            from_scratch=self.parameterAsBool(parameters, "FROM_SCRATCH", context),
            architecture=SEGMENTERS[self.parameterAsEnum(parameters, "ARCHITECTURE", context)],
            minutes=0.0 if steps else self.parameterAsDouble(parameters, "MINUTES", context),
            steps=steps,
            gan_steps=self.parameterAsInt(parameters, "GAN_STEPS", context),
            lambda_content=self.parameterAsDouble(parameters, "LAMBDA_CONTENT", context),
            lambda_adversarial=self.parameterAsDouble(parameters, "LAMBDA_ADVERSARIAL", context),
            gan_width=self.parameterAsInt(parameters, "GAN_WIDTH", context),
            pixel_m=self.parameterAsDouble(parameters, "PIXEL_SIZE", context),
            crop_px=self.parameterAsInt(parameters, "CROP_SIZE", context),
            learning_rate=self.parameterAsDouble(parameters, "LEARNING_RATE", context),
            batch_size=self.parameterAsInt(parameters, "BATCH_SIZE", context),
            copy_paste=self.parameterAsDouble(parameters, "COPY_PASTE", context),
            val_share=self.parameterAsDouble(parameters, "VALIDATION_SHARE", context),
            validate_every=self.parameterAsInt(parameters, "VALIDATE_EVERY", context),
            device=DEVICES[self.parameterAsEnum(parameters, "DEVICE", context)],
            precision=PRECISIONS[self.parameterAsEnum(parameters, "PRECISION", context)],
            seed=self.parameterAsInt(parameters, "SEED", context),
        )

    @explained
    def prepareAlgorithm(self, parameters, context, feedback):  # noqa: N802
        layers = self.parameterAsLayerList(parameters, "INPUT", context)
        self._photos = [Orthophoto.of(layer) for layer in layers]
        return True

    @explained
    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        config = self.settings(parameters, context)
        chips = [str(Path(folder) / "annotations.json") for folder in config.chips]
        result, outputs = run_training(
            "train-segmenter", self, config, self._photos, parameters, context, feedback,
            layers=("annotations", "area"), files=[config.base, *chips],
        )  # fmt: skip
        outputs.update({name: result["pixels"]["all"][key] for name, key in PIXELS.items()})
        outputs.update({name: result["instances"][name] for name in BUILDINGS})
        return outputs
