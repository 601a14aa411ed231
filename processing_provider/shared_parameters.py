"""Parameters that several algorithms have, in the same words; what differs is an argument."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsProcessingParameters

from ..engine.config import DEVICES, PRECISIONS, REGULARIZATIONS, SMOOTHINGS
from . import parameters as p
from .parameters import tr

# fmt: off

# -- networks and where they run ----------------------------------------------------------------------------


def model(label="", help_text="", *, field="model"):
    """A model package; of an unpacked one its manifest may be chosen, and the field gets the folder."""

    def read(*given):
        path = QgsProcessingParameters.parameterAsString(*given)
        return str(Path(path).parent) if path.endswith("model.json") else path

    return p.file("MODEL", label or tr("Model package"),
        help_text or tr("A zip file, or a folder with model.json in it. Empty: the model of the plugin."),
        file_filter=tr("Model packages (*.zip *.json)") + ";;" + tr("All files (*)"), field=field, read=read)


def device(help_text):
    return p.choice("DEVICE", tr("Device"), help_text,
        options=[tr("Automatic"), "CPU", "CUDA", "MPS"], field="device", values=DEVICES, advanced=True)


def precision(help_text=""):
    return p.choice("PRECISION", tr("Precision"),
        help_text or tr("Number format inside the network; bfloat16 is faster where the processor knows it."),
        options=[tr("Automatic"), "float32", "bfloat16"], field="precision", values=PRECISIONS, advanced=True)


def job_folder():
    return p.folder("JOB_FOLDER", tr("Job folder"),
        tr("Where unfinished work is kept so that a stopped run can go on. Empty: a folder in the "
           "QGIS profile, removed when the run is complete."), advanced=True)


# -- outlines -----------------------------------------------------------------------------------------------


def tolerance(help_text="", *, default=1.0):
    return p.number("TOLERANCE", tr("Simplification tolerance (metres)"),
        help_text or tr("How far an outline may move when it is simplified and squared. The network rounds corners by "
                        "about a metre; much less keeps the rounding."),
        field="tolerance_m", default=default, minimum=0.0, maximum=10.0)


def regularization(help_text=""):
    return p.choice("REGULARIZATION", tr("Regularization"),
        help_text or tr("Which angles the outlines are made of. One that would move too far keeps its shape."),
        options=[tr("None"), tr("Right angles"), tr("Right angles and diagonals"), tr("Any angle")],
        field="regularization", values=REGULARIZATIONS, default=1)


def smoothing():
    """The kind of smoothing, and its reach."""
    return (
        p.choice("SMOOTHING", tr("Smoothing of masks"),
            tr("Before they are outlined. Rounds corners; worth a try where masks are ragged."),
            options=[tr("None"), tr("Opening and closing"), tr("Gaussian blur"), tr("Active contour"), tr("Spline")],
            field="smoothing", values=SMOOTHINGS, advanced=True),
        p.number("SMOOTHING_SIZE", tr("Reach of the smoothing (metres)"),
            tr("Radius of the opening, sigma of the blur, or deviation of the curve."),
            field="smoothing_m", default=0.3, minimum=0.01, maximum=10.0, advanced=True),
    )


# -- what is learnt from ------------------------------------------------------------------------------------


def orthophotos(empty):
    """Orthophotos to learn from; `empty` says what may stand in for them."""
    text = tr(
        "One or several, in any CRS and of any ground pixel. Of XYZ, WMS and other layers QGIS draws what "
        "lies around the annotated area, or the outlines."
    )
    return p.rasters("INPUT", tr("Orthophotos"), f"{text} {empty}", field="rasters", optional=True)


def annotations(*, optional=True):
    return p.polygons("ANNOTATIONS", tr("Outlines of buildings"), tr("Drawn by hand, in any CRS; holes are kept."),
        field="annotations", optional=optional)


def annotated_area():
    return p.polygons("AREA", tr("Annotated area"),
        tr("Polygons in which every building is outlined. Empty: everywhere."), optional=True)


def negatives():
    return p.polygons("NEGATIVES", tr("No buildings"),
        tr("Polygons around what was taken for a building and is none, such as yards or buses; also outside "
           "the annotated area. Training looks there more often."),
        field="negatives", optional=True)


def chips():
    """A chip folder; the field gets a tuple of it, or of nothing."""

    def read(*given):
        path = QgsProcessingParameters.parameterAsString(*given)
        return (path,) if path else ()

    return p.folder("CHIPS", tr("Folder of training data"),
        tr("Made by 'Export training data'; instead of orthophotos and outlines, or beside them."),
        field="chips", read=read)


# -- how it is learnt ---------------------------------------------------------------------------------------


def base_model(help_text=""):
    return model(tr("Model package to start from"), help_text, field="base")


def steps():
    return p.number("STEPS", tr("Steps (0 = by minutes)"), tr("Ends after so many batches, however long they take."),
        field="steps", default=0, minimum=0, maximum=10000000, advanced=True)


def learning_rate(default):
    return p.number("LEARNING_RATE", tr("Learning rate"), tr("Lower changes the model less."),
        field="learning_rate", default=default, minimum=0.0000001, maximum=1.0, advanced=True)


def batch_size():
    return p.number("BATCH_SIZE", tr("Batch size"), tr("How many crops it sees at once; fewer need less memory."),
        field="batch_size", default=8, minimum=1, maximum=256, advanced=True)


def copy_paste():
    return p.number("COPY_PASTE", tr("Share of crops with pasted buildings (0 to 1)"),
        tr("Buildings of other places on free land, with a shadow."),
        field="copy_paste", default=0.3, minimum=0.0, maximum=1.0, advanced=True)


def model_pixel(help_text):
    return p.number("PIXEL_SIZE", tr("Ground pixel (metres, 0 = that of the model)"), help_text,
        field="pixel_m", default=0.0, minimum=0.0, maximum=2.0, advanced=True)


def validation_share(help_text=""):
    return p.number("VALIDATION_SHARE", tr("Share kept aside to measure with (0.01 to 0.8)"),
        help_text or tr("Of the outlines, in whole blocks of ground."),
        field="val_share", default=0.2, minimum=0.01, maximum=0.8, advanced=True)


def patience():
    return p.number("PATIENCE", tr("Patience (measurements, 0 = endless)"),
        tr("Ends the run when so many measurements brought no gain."),
        field="patience", default=5, minimum=0, maximum=1000, advanced=True)


def learning_device():
    """Device and precision."""
    return device(tr("Where it learns; automatic takes a graphics card if there is one.")), precision()


def seed(help_text=""):
    return p.number("SEED", tr("Seed"), help_text or tr("The same number gives the same blocks, crops and order."),
        field="seed", default=1, minimum=0, maximum=2**31 - 1, advanced=True)


# -- files to write -----------------------------------------------------------------------------------------


def output_model(label):
    return p.file_destination("OUTPUT_MODEL", label, tr("Model package to write."),
        file_filter=tr("Model packages (*.zip)"), optional=False)


def report(help_text):
    return p.file_destination("REPORT", tr("Report"), help_text, file_filter=tr("Web pages (*.html)"))


def figures(help_text):
    return p.file_destination("FIGURES", tr("Figures"), help_text, file_filter=tr("JSON files (*.json)"))
