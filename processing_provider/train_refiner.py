"""A mask refiner trained on local outlines or on pairs of masks."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsProcessingOutputNumber, QgsProcessingOutputString

from ..engine.config import DEVICES, PRECISIONS
from ..engine.refiner_config import VARIANTS, FinetuneRefinerConfig
from . import parameters as p
from .algorithm import CadastralAlgorithm, explained
from .jobs import run_training
from .rasters import Orthophoto
from .vectorize_buildings import BUNDLED

FIGURES = {"IOU": "iou", "IOU50_95": "iou50_95", "BOUNDARY_IOU": "boundary_iou"}
LOSSES = ((), ("bce",), ("dice",), ("boundary",), ("bce", "dice"), ("bce", "dice", "boundary"))


class TrainRefiner(CadastralAlgorithm):
    """``cadastral:trainrefiner``."""

    NAME = "trainrefiner"
    ICON = "finetune.svg"
    TAGS = "train,training,learn,refiner,mask,GAN,U-Net,model,deep learning,annotation,building"

    def displayName(self):  # noqa: N802
        return self.tr("Train the mask refiner")

    def shortHelpString(self):  # noqa: N802
        return self.tr(
            "Teaches the refiner how the masks of your detector differ from the outlines you draw: either from "
            "orthophotos with outlines, on which the detector of the model package draws its masks, or from a folder "
            "of mask pairs (predicted and exact). Leaves a model package for 'Vectorize buildings'.\n\n"
            "Some blocks of ground are kept aside; on them masks are measured before and after, and the best weights "
            "are chosen. The report shows curves, figures and pictures of pairs. A run that was stopped goes on where "
            "it was when it is run again with the same parameters; the model written so far stays usable."
        )

    def initAlgorithm(self, config=None):  # noqa: N802
        tr = self.tr
        losses = [tr("That of the network")] + [" + ".join(terms) for terms in LOSSES[1:]]
        for parameter in (
            p.rasters("INPUT", tr("Orthophotos"),
                tr("One or several, in any CRS and of any ground pixel. Of XYZ, WMS and other layers QGIS draws what "
                   "lies around the annotated area, or the outlines. Empty: training data or mask pairs are given "
                   "below."),
                optional=True),
            p.polygons("ANNOTATIONS", tr("Outlines of buildings"), optional=True, help_text=
                tr("Drawn by hand, in any CRS; holes are kept.")),
            p.polygons("AREA", tr("Annotated area"), optional=True, help_text=
                tr("Polygons in which every building is outlined. Empty: everywhere.")),
            p.folder("CHIPS", tr("Folder of training data"),
                tr("Made by 'Export training data'; instead of orthophotos and outlines, or beside them.")),
            p.folder("PAIRS", tr("Folder of mask pairs"),
                tr("With folders 'predicted' and 'exact' of masks that have the same names, and optionally 'image'; "
                   "instead of all of the above.")),
            p.choice("VARIANT", tr("Network"), tr("The plugin's own (guided), that of Vinokurov 2025, or one of "
                "NeuralSegmentello's (plain, residual, attention; narrowest and widest level)."),
                options=list(VARIANTS)),
            p.file("MODEL", tr("Model package to start from"),
                tr("Its detector draws the rough masks, and its refiner is where training starts if it is of the "
                   "same network. Empty: the model of the plugin."),
                file_filter=tr("Model packages (*.zip *.json)") + ";;" + tr("All files (*)")),
            p.number("MINUTES", tr("Minutes"),
                tr("How long it may learn; drawing masks and measuring are not counted."),
                default=15.0, minimum=0.01, maximum=100000.0),
            p.number("STEPS", tr("Steps (0 = by minutes)"), tr("Ends after so many batches, however long they take."),
                default=0, minimum=0, maximum=10000000, advanced=True),
            p.switch("FROM_SCRATCH", tr("From scratch"), tr("Forget what the refiner of the model knows."),
                default=False, advanced=True),
            p.number("FOLDS", tr("Folds (0 = none)"),
                tr("For a model that was trained on these very outlines: the ground is divided into so many parts (2 "
                   "to 20), and a detector trained without a part draws its masks. Takes long. Without folds the "
                   "detector of the model draws all masks."), default=0, minimum=0, maximum=20, advanced=True),
            p.number("FOLD_STEPS", tr("Steps of a fold's detector"), tr("How long each of them learns."),
                default=300, minimum=1, maximum=1000000, advanced=True),
            p.number("LEARNING_RATE", tr("Learning rate (0 = that of the network)"), tr("Lower changes it less."),
                default=0.0, minimum=0.0, maximum=1.0, advanced=True),
            p.number("BATCH_SIZE", tr("Batch size"),
                tr("How many masks it sees at once (of 128 pixels; fewer of larger ones)."),
                default=16, minimum=1, maximum=1024, advanced=True),
            p.number("LAMBDA", tr("Lambda"), tr("Weight of the pixels against the discriminator, for Vinokurov's "
                "network; the paper tried 80, 100 and 120."),
                default=100.0, minimum=0.0, maximum=1000000.0, advanced=True),
            p.choice("LOSS", tr("Loss"), tr("Not for Vinokurov's network, which has its own."),
                options=losses, advanced=True),
            p.number("ADVERSARIAL", tr("Weight of the discriminator (-1 = that of the network)"),
                tr("0 trains without one."), default=-1.0, minimum=-1.0, maximum=100.0, advanced=True),
            p.number("PREDICTED_SHARE", tr("Share of the detector's masks (0 to 1)"),
                tr("The other examples are true outlines, damaged."),
                default=0.5, minimum=0.0, maximum=1.0, advanced=True),
            p.number("PIXEL_SIZE", tr("Ground pixel of the mask pairs (metres, 0 = unknown)"),
                tr("For figures in metres."), default=0.0, minimum=0.0, maximum=100.0, advanced=True),
            p.number("VALIDATION_SHARE", tr("Share kept aside to measure with (0.01 to 0.8)"),
                tr("Of the outlines, in whole blocks of ground; of mask pairs it is a fifth."),
                default=0.2, minimum=0.01, maximum=0.8, advanced=True),
            p.number("VALIDATIONS", tr("Measurements"), tr("How often it is measured on the way."),
                default=10, minimum=1, maximum=1000, advanced=True),
            p.number("PATIENCE", tr("Patience (measurements, 0 = endless)"),
                tr("Ends the run when so many measurements brought no gain."),
                default=5, minimum=0, maximum=1000, advanced=True),
            p.choice("DEVICE", tr("Device"),
                tr("Where it learns; automatic takes a graphics card if there is one."),
                options=[tr("Automatic"), "CPU", "CUDA", "MPS"], advanced=True),
            p.choice("PRECISION", tr("Precision"),
                tr("Number format inside the network; bfloat16 is faster where the processor knows it."),
                options=[tr("Automatic"), "float32", "bfloat16"], advanced=True),
            p.number("SEED", tr("Seed"), tr("The same number gives the same blocks, examples and order."),
                default=1, minimum=0, maximum=2**31 - 1, advanced=True),
            p.folder("JOB_FOLDER", tr("Job folder"),
                tr("Where unfinished work is kept so that a stopped run can go on. Empty: a folder in the "
                   "QGIS profile, removed when the run is complete."), advanced=True),
            p.file_destination("OUTPUT_MODEL", tr("Trained model"), tr("Model package to write."),
                file_filter=tr("Model packages (*.zip)"), optional=False),
            p.file_destination("REPORT", tr("Report"), tr("Page with curves, figures and pictures."),
                file_filter=tr("Web pages (*.html)")),
            p.file_destination("FIGURES", tr("Figures"), tr("All figures, for other programs."),
                file_filter=tr("JSON files (*.json)")),
        ):  # fmt: skip
            self.addParameter(parameter)
        for moment in ("BEFORE", "AFTER"):
            for name in FIGURES:
                self.addOutput(QgsProcessingOutputNumber(f"{name}_{moment}", f"{name}, {moment.lower()}"))
        self.addOutput(QgsProcessingOutputString("MODEL_HASH", tr("Hash of the model")))

    def settings(self, parameters, context):
        model = self.parameterAsString(parameters, "MODEL", context)
        chips = self.parameterAsString(parameters, "CHIPS", context)
        return FinetuneRefinerConfig(
            output="-",
            work_folder="-",
            rasters=("-",) if self.parameterAsLayerList(parameters, "INPUT", context) else (),
            annotations="-" if parameters.get("ANNOTATIONS") else "",
            chips=(chips,) if chips else (),
            pairs=self.parameterAsString(parameters, "PAIRS", context),
            pairs_pixel_m=self.parameterAsDouble(parameters, "PIXEL_SIZE", context),
            base=str(Path(model).parent) if model.endswith("model.json") else model,
            variant=VARIANTS[self.parameterAsEnum(parameters, "VARIANT", context)],
            folds=self.parameterAsInt(parameters, "FOLDS", context),
            fold_steps=self.parameterAsInt(parameters, "FOLD_STEPS", context),
            predicted_share=self.parameterAsDouble(parameters, "PREDICTED_SHARE", context),
            from_scratch=self.parameterAsBool(parameters, "FROM_SCRATCH", context),
            minutes=self.parameterAsDouble(parameters, "MINUTES", context),
            steps=self.parameterAsInt(parameters, "STEPS", context),
            learning_rate=self.parameterAsDouble(parameters, "LEARNING_RATE", context),
            batch_size=self.parameterAsInt(parameters, "BATCH_SIZE", context),
            lambda_l1=self.parameterAsDouble(parameters, "LAMBDA", context),
            loss_terms=LOSSES[self.parameterAsEnum(parameters, "LOSS", context)],
            adversarial_weight=self.parameterAsDouble(parameters, "ADVERSARIAL", context),
            val_share=self.parameterAsDouble(parameters, "VALIDATION_SHARE", context),
            validations=self.parameterAsInt(parameters, "VALIDATIONS", context),
            patience=self.parameterAsInt(parameters, "PATIENCE", context),
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
        data = [str(Path(folder) / "annotations.json") for folder in config.chips]
        data += [str(file) for file in sorted(Path(config.pairs).glob("*/*"))] if config.pairs else []
        result, outputs = run_training(
            "finetune-refiner", self, config, self._photos, parameters, context, feedback,
            layers=("annotations", "area"), files=[config.base or str(BUNDLED), *data],
        )  # fmt: skip
        for moment in ("before", "after"):
            outputs.update({f"{name}_{moment.upper()}": result[moment][key] for name, key in FIGURES.items()})
        return outputs
