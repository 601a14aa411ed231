"""A mask refiner trained on local outlines or on pairs of masks."""

from __future__ import annotations

from qgis.core import QgsProcessingOutputNumber, QgsProcessingOutputString

from ..engine.config import REFINER_VARIANTS, FinetuneRefinerConfig
from . import parameters as p
from . import shared_parameters as shared
from .algorithm import explained
from .training import TrainingAlgorithm

FIGURES = {"IOU": "iou", "IOU50_95": "iou50_95", "BOUNDARY_IOU": "boundary_iou"}
LOSSES = ((), ("bce",), ("dice",), ("boundary",), ("bce", "dice"), ("bce", "dice", "boundary"))


class TrainRefiner(TrainingAlgorithm):
    """``cadastral:trainrefiner``."""

    NAME = "trainrefiner"
    JOB = "finetune-refiner"
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
        self.declare(
            shared.orthophotos(tr("Empty: training data or mask pairs are given below.")),
            shared.annotations(),
            shared.annotated_area(),
            shared.chips(),
            p.folder("PAIRS", tr("Folder of mask pairs"),
                tr("With folders 'predicted' and 'exact' of masks that have the same names, and optionally 'image'; "
                   "instead of all of the above."), field="pairs"),
            p.choice("VARIANT", tr("Network"), tr("The plugin's own (guided), that of Vinokurov 2025, or one of "
                "NeuralSegmentello's (plain, residual, attention; narrowest and widest level)."),
                field="variant", options=list(REFINER_VARIANTS), values=REFINER_VARIANTS),
            shared.base_model(
                tr("Its detector draws the rough masks, and its refiner is where training starts if it is of the "
                   "same network. Empty: the model of the plugin.")),
            p.number("MINUTES", tr("Minutes"),
                tr("How long it may learn; drawing masks and measuring are not counted."),
                field="minutes", default=15.0, minimum=0.01, maximum=100000.0),
            shared.steps(),
            p.switch("FROM_SCRATCH", tr("From scratch"), tr("Forget what the refiner of the model knows."),
                field="from_scratch", default=False, advanced=True),
            p.number("FOLDS", tr("Folds (0 = none)"),
                tr("For a model that was trained on these very outlines: the ground is divided into so many parts (2 "
                   "to 20), and a detector trained without a part draws its masks. Takes long. Without folds the "
                   "detector of the model draws all masks."),
                field="folds", default=0, minimum=0, maximum=20, advanced=True),
            p.number("FOLD_STEPS", tr("Steps of a fold's detector"), tr("How long each of them learns."),
                field="fold_steps", default=300, minimum=1, maximum=1000000, advanced=True),
            p.number("LEARNING_RATE", tr("Learning rate (0 = that of the network)"), tr("Lower changes it less."),
                field="learning_rate", default=0.0, minimum=0.0, maximum=1.0, advanced=True),
            p.number("BATCH_SIZE", tr("Batch size"),
                tr("How many masks it sees at once (of 128 pixels; fewer of larger ones)."),
                field="batch_size", default=16, minimum=1, maximum=1024, advanced=True),
            p.number("LAMBDA", tr("Lambda"), tr("Weight of the pixels against the discriminator, for Vinokurov's "
                "network; the paper tried 80, 100 and 120."),
                field="lambda_l1", default=100.0, minimum=0.0, maximum=1000000.0, advanced=True),
            p.choice("LOSS", tr("Loss"), tr("Not for Vinokurov's network, which has its own."),
                field="loss_terms", options=losses, values=LOSSES, advanced=True),
            p.number("ADVERSARIAL", tr("Weight of the discriminator (-1 = that of the network)"),
                tr("0 trains without one."),
                field="adversarial_weight", default=-1.0, minimum=-1.0, maximum=100.0, advanced=True),
            p.number("PREDICTED_SHARE", tr("Share of the detector's masks (0 to 1)"),
                tr("The other examples are true outlines, damaged."),
                field="predicted_share", default=0.5, minimum=0.0, maximum=1.0, advanced=True),
            p.number("PIXEL_SIZE", tr("Ground pixel of the mask pairs (metres, 0 = unknown)"),
                tr("For figures in metres."),
                field="pairs_pixel_m", default=0.0, minimum=0.0, maximum=100.0, advanced=True),
            shared.validation_share(
                tr("Of the outlines, in whole blocks of ground; of mask pairs it is a fifth.")),
            p.number("VALIDATIONS", tr("Measurements"), tr("How often it is measured on the way."),
                field="validations", default=10, minimum=1, maximum=1000, advanced=True),
            shared.patience(),
            *shared.learning_device(),
            shared.seed(tr("The same number gives the same blocks, examples and order.")),
            shared.job_folder(),
            shared.output_model(tr("Trained model")),
            shared.report(tr("Page with curves, figures and pictures.")),
            shared.figures(tr("All figures, for other programs.")),
        )  # fmt: skip
        for moment in ("BEFORE", "AFTER"):
            for name in FIGURES:
                self.addOutput(QgsProcessingOutputNumber(f"{name}_{moment}", f"{name}, {moment.lower()}"))
        self.addOutput(QgsProcessingOutputString("MODEL_HASH", tr("Hash of the model")))

    def settings(self, parameters, context):
        return FinetuneRefinerConfig(output="-", work_folder="-", **self.values(parameters, context))

    @explained
    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        result, outputs = self.train(parameters, context, feedback)
        for moment in ("before", "after"):
            outputs.update({f"{name}_{moment.upper()}": result[moment][key] for name, key in FIGURES.items()})
        return outputs
