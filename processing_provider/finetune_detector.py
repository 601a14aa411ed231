"""A detector made better on local outlines."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsProcessingOutputNumber, QgsProcessingOutputString

from ..engine.config import ADVERSARIAL, DEVICES, OPTIMIZERS, PRECISIONS
from ..engine.finetune_config import ARCHITECTURES, FinetuneConfig
from . import parameters as p
from .algorithm import CadastralAlgorithm, explained
from .jobs import run_training
from .rasters import Orthophoto
from .vectorize_buildings import BUNDLED

FIGURES = ("AP", "AP50", "F1")


class FinetuneDetector(CadastralAlgorithm):
    """``cadastral:finetunedetector``."""

    NAME = "finetunedetector"
    ICON = "finetune.svg"
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
        for parameter in (
            p.rasters("INPUT", tr("Orthophotos"),
                tr("One or several, in any CRS and of any ground pixel. Of XYZ, WMS and other layers QGIS draws what "
                   "lies around the annotated area, or the outlines. Empty: a folder of training data is given below."),
                optional=True),
            p.polygons("ANNOTATIONS", tr("Outlines of buildings"), optional=True, help_text=
                tr("Drawn by hand, in any CRS; holes are kept.")),
            p.polygons("AREA", tr("Annotated area"), optional=True, help_text=
                tr("Polygons in which every building is outlined. Empty: everywhere.")),
            p.polygons("NEGATIVES", tr("No buildings"), optional=True, help_text=
                tr("Polygons around what was taken for a building and is none, such as yards or buses; also outside "
                   "the annotated area. Training looks there more often.")),
            p.folder("CHIPS", tr("Folder of training data"),
                tr("Made by 'Export training data'; instead of orthophotos and outlines, or beside them.")),
            p.file("MODEL", tr("Model package to start from"),
                tr("A zip file, or a folder with model.json in it. Empty: the model of the plugin."),
                file_filter=tr("Model packages (*.zip *.json)") + ";;" + tr("All files (*)")),
            p.number("MINUTES", tr("Minutes"), tr("How long it may learn; measuring is not counted."),
                default=15.0, minimum=0.01, maximum=100000.0),
            p.switch("FROM_SCRATCH", tr("From scratch"),
                tr("Forget what the model knows. Takes thousands of outlines and many hours."),
                default=False, advanced=True),
            p.choice("ARCHITECTURE", tr("Architecture"),
                tr("Of a network from scratch. The ResNets are those of the papers: up to ten times as large and "
                   "slow as the compact one, for a machine with a graphics card."),
                options=[tr("That of the model"), *ARCHITECTURES], advanced=True),
            p.number("EPOCHS", tr("Epochs (0 = the minutes above)"),
                tr("In an epoch it sees as much ground as the training data shows."),
                default=0.0, minimum=0.0, maximum=100000.0, advanced=True),
            p.choice("OPTIMIZER", tr("Optimizer"),
                tr("AdamW, or SGD with momentum, which wants a higher learning rate."),
                options=["AdamW", "SGD"], advanced=True),
            p.number("PIXEL_SIZE", tr("Ground pixel (metres, 0 = that of the model)"),
                tr("At which the model works: 0, or 0.03 to 2."),
                default=0.0, minimum=0.0, maximum=2.0, advanced=True),
            p.number("LEARNING_RATE", tr("Learning rate"), tr("Lower changes the model less."),
                default=0.0003, minimum=0.0000001, maximum=1.0, advanced=True),
            p.number("BATCH_SIZE", tr("Batch size"), tr("How many crops it sees at once; fewer need less memory."),
                default=8, minimum=1, maximum=256, advanced=True),
            p.number("ACCUMULATE", tr("Parts of a batch"),
                tr("A batch is computed in so many parts, one after the other: the same result with less memory."),
                default=1, minimum=1, maximum=256, advanced=True),
            p.number("COPY_PASTE", tr("Share of crops with pasted buildings (0 to 1)"),
                tr("Buildings of other places on free land, with a shadow."),
                default=0.3, minimum=0.0, maximum=1.0, advanced=True),
            p.number("FROZEN_STAGES", tr("Frozen stages (0 to 4)"),
                tr("Parts of the network that stay as they are; more learn faster and forget less."),
                default=0, minimum=0, maximum=4, advanced=True),
            p.number("TRUNK_RATE", tr("Learning rate of the trunk (0 to 1)"),
                tr("As a share of the learning rate. The trunk is what the network knows of images everywhere: slower, "
                   "it forgets less of other places; the heads learn at the full rate."),
                default=0.3, minimum=0.0, maximum=1.0, advanced=True),
            p.number("ANCHOR", tr("Pull towards the start"),
                tr("Takes back a part of what was learnt at every step, in place of the decay towards zero: the "
                   "learning rate times this number, with 3 about a thousandth. More forgets less and learns less. "
                   "0: none."),
                default=0.0, minimum=0.0, maximum=100.0, advanced=True),
            p.choice("ADVERSARIAL", tr("Adversarial training"),
                tr("Discriminators that learn to tell predicted from true boxes and masks teach the heads, too "
                   "(GAN Mask R-CNN, Le et al. 2020): slower, and without a gain in short trials of ours."),
                options=[tr("None"), tr("Boxes"), tr("Masks"), tr("Boxes and masks"), tr("Adversarial losses only")],
                advanced=True),
            p.number("ADVERSARIAL_DEPTH", tr("Depth of the discriminators (3 to 5)"),
                tr("Convolutions of each discriminator."), default=5, minimum=3, maximum=5, advanced=True),
            p.number("SCENES_SHARE", tr("Share of generated scenes (0 to 0.9)"),
                tr("Mixed in so that the model does not forget other places."),
                default=0.3, minimum=0.0, maximum=0.9, advanced=True),
            p.number("VALIDATION_SHARE", tr("Share kept aside to measure with (0.01 to 0.8)"),
                tr("Of the outlines, in whole blocks of ground."),
                default=0.2, minimum=0.01, maximum=0.8, advanced=True),
            p.number("PATIENCE", tr("Patience (measurements, 0 = endless)"),
                tr("Ends the run when so many measurements brought no gain."),
                default=5, minimum=0, maximum=1000, advanced=True),
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
            p.file_destination("OUTPUT_MODEL", tr("Fine-tuned model"), tr("Model package to write."),
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
        rasters = self.parameterAsLayerList(parameters, "INPUT", context)
        return FinetuneConfig(
            output="-",
            work_folder="-",
            rasters=("-",) if rasters else (),
            annotations="-" if parameters.get("ANNOTATIONS") else "",
            chips=(chips,) if chips else (),
            base=str(Path(model).parent) if model.endswith("model.json") else model,
            negatives="-" if parameters.get("NEGATIVES") and rasters else "",
            from_scratch=self.parameterAsBool(parameters, "FROM_SCRATCH", context),
            architecture=("", *ARCHITECTURES)[self.parameterAsEnum(parameters, "ARCHITECTURE", context)],
            epochs=self.parameterAsDouble(parameters, "EPOCHS", context),
            optimizer=OPTIMIZERS[self.parameterAsEnum(parameters, "OPTIMIZER", context)],
            accumulate=self.parameterAsInt(parameters, "ACCUMULATE", context),
            copy_paste=self.parameterAsDouble(parameters, "COPY_PASTE", context),
            pixel_m=self.parameterAsDouble(parameters, "PIXEL_SIZE", context),
            minutes=self.parameterAsDouble(parameters, "MINUTES", context),
            learning_rate=self.parameterAsDouble(parameters, "LEARNING_RATE", context),
            batch_size=self.parameterAsInt(parameters, "BATCH_SIZE", context),
            frozen_stages=self.parameterAsInt(parameters, "FROZEN_STAGES", context),
            trunk_rate=self.parameterAsDouble(parameters, "TRUNK_RATE", context),
            anchor=self.parameterAsDouble(parameters, "ANCHOR", context),
            adversarial=ADVERSARIAL[self.parameterAsEnum(parameters, "ADVERSARIAL", context)],
            adversarial_depth=self.parameterAsInt(parameters, "ADVERSARIAL_DEPTH", context),
            scenes_share=self.parameterAsDouble(parameters, "SCENES_SHARE", context),
            val_share=self.parameterAsDouble(parameters, "VALIDATION_SHARE", context),
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
        chips = [str(Path(folder) / "annotations.json") for folder in config.chips]
        result, outputs = run_training(
            "finetune-detector", self, config, self._photos, parameters, context, feedback,
            layers=("annotations", "area", "negatives"),
            files=[config.base or str(BUNDLED), *chips],
        )  # fmt: skip
        for moment in ("before", "after"):
            outputs.update({f"{name}_{moment.upper()}": result[moment][name] for name in FIGURES})
        return outputs
