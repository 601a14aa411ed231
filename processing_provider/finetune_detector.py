"""A detector made better on local outlines."""

from __future__ import annotations

from qgis.core import QgsProcessingOutputNumber, QgsProcessingOutputString

from ..engine.config import ADVERSARIAL, ARCHITECTURES, OPTIMIZERS, FinetuneConfig
from . import parameters as p
from . import shared_parameters as shared
from .algorithm import explained
from .training import TrainingAlgorithm

FIGURES = ("AP", "AP50", "F1")


class FinetuneDetector(TrainingAlgorithm):
    """``cadastral:finetunedetector``."""

    NAME = "finetunedetector"
    JOB = "finetune-detector"
    LAYERS = ("annotations", "area", "negatives")
    TAGS = "train,training,fine-tune,learn,model,deep learning,annotation,building,detector"

    def displayName(self):  # noqa: N802
        return self.tr("Fine-tune the detector")

    def shortHelpString(self):  # noqa: N802
        return self.tr(
            "Teaches the detector what buildings look like in your town: outline a few hundred, draw the annotated "
            "area around them, and get a model package for 'Vectorize buildings'.\n\n"
            "Some blocks of ground are kept aside; on them the model is measured before and after, the best weights "
            "are chosen, and the scores are adjusted. The report shows the curves, the figures and pictures. A run "
            "that was stopped goes on where it was when it is run again with the same parameters."
        )

    def initAlgorithm(self, config=None):  # noqa: N802
        tr = self.tr
        self.declare(
            shared.orthophotos(tr("Empty: a folder of training data is given below.")),
            shared.annotations(),
            shared.annotated_area(),
            shared.negatives(),
            shared.chips(),
            shared.base_model(),
            p.number("MINUTES", tr("Minutes"), tr("How long it may learn; measuring is not counted."),
                field="minutes", default=15.0, minimum=0.01, maximum=100000.0),
            p.switch("FROM_SCRATCH", tr("From scratch"),
                tr("Forget what the model knows. Takes thousands of outlines and many hours."),
                field="from_scratch", default=False, advanced=True),
            p.choice("ARCHITECTURE", tr("Architecture"),
                tr("Of a network from scratch. The ResNets are those of the papers: up to ten times as large and "
                   "slow as the compact one, for a machine with a graphics card."),
                field="architecture", options=[tr("That of the model"), *ARCHITECTURES],
                values=("", *ARCHITECTURES), advanced=True),
            p.number("EPOCHS", tr("Epochs (0 = the minutes above)"),
                tr("In an epoch it sees as much ground as the training data shows."),
                field="epochs", default=0.0, minimum=0.0, maximum=100000.0, advanced=True),
            p.choice("OPTIMIZER", tr("Optimizer"),
                tr("AdamW, or SGD with momentum, which wants a higher learning rate."),
                field="optimizer", options=["AdamW", "SGD"], values=OPTIMIZERS, advanced=True),
            shared.model_pixel(tr("At which the model works: 0, or 0.03 to 2.")),
            shared.learning_rate(0.0003),
            shared.batch_size(),
            p.number("ACCUMULATE", tr("Parts of a batch"),
                tr("A batch is computed in so many parts, one after the other: the same result with less memory."),
                field="accumulate", default=1, minimum=1, maximum=256, advanced=True),
            shared.copy_paste(),
            p.number("FROZEN_STAGES", tr("Frozen stages (0 to 4)"),
                tr("Parts of the network that stay as they are; more learn faster and forget less."),
                field="frozen_stages", default=0, minimum=0, maximum=4, advanced=True),
            p.number("TRUNK_RATE", tr("Learning rate of the trunk (0 to 1)"),
                tr("As a share of the learning rate. The trunk is what the network knows of images everywhere: slower, "
                   "it forgets less of other places; the heads learn at the full rate."),
                field="trunk_rate", default=0.3, minimum=0.0, maximum=1.0, advanced=True),
            p.number("ANCHOR", tr("Pull towards the start"),
                tr("Takes back a part of what was learnt at every step, in place of the decay towards zero: the "
                   "learning rate times this number, with 3 about a thousandth. More forgets less and learns less. "
                   "0: none."),
                field="anchor", default=0.0, minimum=0.0, maximum=100.0, advanced=True),
            p.choice("ADVERSARIAL", tr("Adversarial training"),
                tr("Discriminators that learn to tell predicted from true boxes and masks teach the heads, too "
                   "(GAN Mask R-CNN, Le et al. 2020): slower, and without a gain in short trials of ours."),
                options=[tr("None"), tr("Boxes"), tr("Masks"), tr("Boxes and masks"), tr("Adversarial losses only")],
                field="adversarial", values=ADVERSARIAL, advanced=True),
            p.number("ADVERSARIAL_DEPTH", tr("Depth of the discriminators (3 to 5)"),
                tr("Convolutions of each discriminator."),
                field="adversarial_depth", default=5, minimum=3, maximum=5, advanced=True),
            p.number("SCENES_SHARE", tr("Share of generated scenes (0 to 0.9)"),
                tr("Mixed in so that the model does not forget other places."),
                field="scenes_share", default=0.3, minimum=0.0, maximum=0.9, advanced=True),
            shared.validation_share(),
            shared.patience(),
            *shared.learning_device(),
            shared.seed(),
            shared.job_folder(),
            shared.output_model(tr("Fine-tuned model")),
            shared.report(tr("Page with curves, figures and pictures.")),
            shared.figures(tr("All figures, for other programs.")),
        )  # fmt: skip
        for moment in ("BEFORE", "AFTER"):
            for name in FIGURES:
                self.addOutput(QgsProcessingOutputNumber(f"{name}_{moment}", f"{name}, {moment.lower()}"))
        self.addOutput(QgsProcessingOutputString("MODEL_HASH", tr("Hash of the model")))

    def settings(self, parameters, context):
        values = self.values(parameters, context)
        if not values["rasters"]:
            values["negatives"] = ""  # training data has its own
        return FinetuneConfig(output="-", work_folder="-", **values)

    @explained
    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        result, outputs = self.train(parameters, context, feedback)
        for moment in ("before", "after"):
            outputs.update({f"{name}_{moment.upper()}": result[moment][name] for name in FIGURES})
        return outputs
