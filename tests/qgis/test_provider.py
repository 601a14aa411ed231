"""What the toolbox shows: stable ids and parameters, help on every one, sentences for bad values."""

from __future__ import annotations

import pytest
from qgis.core import (
    QgsProcessingContext,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterNumber,
)

PARAMETERS = {
    "vectorizebuildings": [
        "INPUT", "AREA", "EXTENT", "MODEL", "SCORE_THRESHOLD", "REFINE", "LOOKS", "TOLERANCE", "REGULARIZATION",
        "MIN_AREA",
        "PIXEL_SIZE", "TILE_SIZE", "OVERLAP", "BATCH_SIZE", "SMOOTHING", "SMOOTHING_SIZE", "SPLIT_TERRACES", "DEVICE",
        "PRECISION", "MORE_INPUTS", "BANDS", "SKIP_UNREADABLE", "JOB_FOLDER", "OUTPUT",
    ],
    "refinepolygons": [
        "INPUT", "RASTER", "MODEL", "STROKE_WIDTH", "TOLERANCE", "REGULARIZATION", "PASSES", "MIN_CERTAINTY", "BANDS",
        "SMOOTHING", "SMOOTHING_SIZE", "DEVICE", "PRECISION", "OUTPUT",
    ],
    "regularizepolygons": ["INPUT", "TOLERANCE", "REGULARIZATION", "MIN_AREA", "SNAP", "OUTPUT"],
    "evaluate": [
        "INPUT", "REFERENCE", "AREA", "RASTER", "OTHERS", "SURVEYED", "ACCURACY_CLASS", "LIMIT", "PIXEL_SIZE",
        "SMALL_AREA", "LARGE_AREA", "OUTPUT", "REPORT", "FIGURES",
    ],
    "comparewithcadastre": [
        "INPUT", "CADASTRE", "CADASTRE_ID", "AREA", "TOLERANCE", "SHIFT", "MIN_AREA", "MIN_OVERLAP", "OUTPUT",
        "FIGURES",
    ],
    "createsamplescene": [
        "WIDTH", "HEIGHT", "PIXEL_SIZE", "STYLE", "DENSITY", "CRS", "ROTATION", "SEED", "OUTPUT", "OUTLINES",
    ],
    "exporttrainingdata": [
        "INPUT", "ANNOTATIONS", "AREA", "NEGATIVES", "PIXEL_SIZE", "CHIP_SIZE", "OVERLAP", "EMPTY_SHARE",
        "VALIDATION_SHARE", "BLOCK_SIZE", "SEED", "OUTPUT_FOLDER",
    ],
    "finetunedetector": [
        "INPUT", "ANNOTATIONS", "AREA", "NEGATIVES", "CHIPS", "MODEL", "MINUTES", "FROM_SCRATCH", "ARCHITECTURE",
        "EPOCHS", "OPTIMIZER", "PIXEL_SIZE", "LEARNING_RATE", "BATCH_SIZE", "ACCUMULATE", "COPY_PASTE",
        "FROZEN_STAGES", "TRUNK_RATE", "ANCHOR", "ADVERSARIAL", "ADVERSARIAL_DEPTH", "SCENES_SHARE",
        "VALIDATION_SHARE", "PATIENCE", "DEVICE", "PRECISION", "SEED", "JOB_FOLDER", "OUTPUT_MODEL", "REPORT",
        "FIGURES",
    ],
    "trainrefiner": [
        "INPUT", "ANNOTATIONS", "AREA", "CHIPS", "PAIRS", "VARIANT", "MODEL", "MINUTES", "STEPS", "FROM_SCRATCH",
        "FOLDS", "FOLD_STEPS", "LEARNING_RATE", "BATCH_SIZE", "LAMBDA", "LOSS", "ADVERSARIAL", "PREDICTED_SHARE",
        "PIXEL_SIZE", "VALIDATION_SHARE", "VALIDATIONS", "PATIENCE", "DEVICE", "PRECISION", "SEED", "JOB_FOLDER",
        "OUTPUT_MODEL", "REPORT", "FIGURES",
    ],
    "trainsegmenter": [
        "INPUT", "ANNOTATIONS", "AREA", "CHIPS", "ARCHITECTURE", "MODEL", "FROM_SCRATCH", "MINUTES", "STEPS",
        "GAN_STEPS", "LAMBDA_CONTENT", "LAMBDA_ADVERSARIAL", "GAN_WIDTH", "PIXEL_SIZE", "CROP_SIZE", "LEARNING_RATE",
        "BATCH_SIZE", "COPY_PASTE", "VALIDATION_SHARE", "VALIDATE_EVERY", "DEVICE", "PRECISION", "SEED", "JOB_FOLDER",
        "OUTPUT_MODEL", "REPORT", "FIGURES",
    ],
    "setupenvironment": ["WHEELS", "PYTHON", "ANEW"],
}  # fmt: skip


def test_algorithms_keep_their_ids(provider):
    assert provider.id() == "cadastral"
    assert {algorithm.name() for algorithm in provider.algorithms()} >= set(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_keep_their_names_and_order(provider, name):
    definitions = provider.algorithm(name).parameterDefinitions()
    assert [definition.name() for definition in definitions] == PARAMETERS[name]


def test_every_parameter_of_every_algorithm_has_help_and_numbers_have_bounds(provider):
    for algorithm in provider.algorithms():
        assert algorithm.shortHelpString()
        assert algorithm.tags()
        assert not algorithm.icon().isNull()
        for definition in algorithm.parameterDefinitions():
            assert definition.help(), f"{algorithm.id()} {definition.name()}"
            if isinstance(definition, QgsProcessingParameterNumber):
                assert definition.minimum() > -1e9
                assert definition.maximum() < 1e12
                assert definition.defaultValue() is not None


@pytest.mark.parametrize("name", sorted(set(PARAMETERS) - {"setupenvironment"}))
def test_every_number_choice_and_switch_reaches_the_engine_s_configuration(provider, name):
    algorithm, context = provider.algorithm(name).create(), QgsProcessingContext()
    usual = algorithm.settings({}, context).to_dict()
    for definition in algorithm.parameterDefinitions():
        if isinstance(definition, QgsProcessingParameterNumber):
            ends = definition.minimum(), definition.maximum()
            other = next(end for end in ends if end != definition.defaultValue())
        elif isinstance(definition, QgsProcessingParameterEnum):
            other = len(definition.options()) - 1
        elif isinstance(definition, QgsProcessingParameterBoolean):
            other = not definition.defaultValue()
        else:
            continue
        assert algorithm.settings({definition.name(): other}, context).to_dict() != usual, definition.name()


def test_enums_keep_the_order_of_the_engine_s_choices(provider):
    from cadastral_vectorizer.engine.config import DEVICES, PRECISIONS, REGULARIZATIONS, STYLES

    vectorize = provider.algorithm("vectorizebuildings")
    scene = provider.algorithm("createsamplescene")
    for definition, choices in (
        (vectorize.parameterDefinition("REGULARIZATION"), REGULARIZATIONS),
        (vectorize.parameterDefinition("DEVICE"), DEVICES),
        (vectorize.parameterDefinition("PRECISION"), PRECISIONS),
        (scene.parameterDefinition("STYLE"), STYLES),
    ):
        assert isinstance(definition, QgsProcessingParameterEnum)
        assert not definition.usesStaticStrings()
        shown = [option.lower().replace(" ", "_") for option in definition.options()]
        for text, choice in zip(shown, choices):
            assert text.startswith(choice[:4]) or choice in text or choice == "diagonals"
        assert len(shown) == len(choices)


def test_looks_and_segmenters_stand_in_the_order_of_the_engine_s_choices(provider):
    from cadastral_vectorizer.engine.config import LOOKS, SEGMENTERS

    options = provider.algorithm("vectorizebuildings").parameterDefinition("LOOKS").options()
    words = {0: "As the model", 1: "One", 2: "Two", 4: "Four"}
    assert [text.startswith(words[count]) for text, count in zip(options, LOOKS)] == [True] * 4 and len(options) == 4
    options = provider.algorithm("trainsegmenter").parameterDefinition("ARCHITECTURE").options()
    kinds = [text.lower().replace(", ", "_").replace("-", "") for text in options]
    assert [kind.replace("mobilenetv3", "mobilenet_v3") for kind in kinds] == list(SEGMENTERS)


def test_expert_parameters_are_advanced(provider):
    algorithm = provider.algorithm("vectorizebuildings")
    advanced = {
        definition.name()
        for definition in algorithm.parameterDefinitions()
        if definition.flags() & QgsProcessingParameterDefinition.FlagAdvanced
    }
    assert advanced == {
        "PIXEL_SIZE", "TILE_SIZE", "OVERLAP", "BATCH_SIZE", "SMOOTHING", "SMOOTHING_SIZE", "SPLIT_TERRACES", "DEVICE",
        "PRECISION", "MORE_INPUTS", "BANDS", "SKIP_UNREADABLE", "JOB_FOLDER",
    }  # fmt: skip


def test_land_categories_come_with_their_limits_in_the_engine_s_order(provider):
    from cadastral_vectorizer.engine.accuracy_limits import ORDER_P0393
    from cadastral_vectorizer.engine.config import EvaluateConfig

    algorithm = provider.algorithm("evaluate")
    own, *categories = algorithm.parameterDefinition("ACCURACY_CLASS").options()
    assert len(categories) == len(ORDER_P0393)
    for index, (text, (name, limit)) in enumerate(zip(categories, ORDER_P0393), start=1):
        assert text.lower() == f"{name} ({limit:.2f} m)".lower()
        parameters = {"ACCURACY_CLASS": index, "LIMIT": 0.33}
        assert algorithm.create().settings(parameters, QgsProcessingContext()).limit_m == limit
    settings = algorithm.create().settings({"LIMIT": "0.33"}, QgsProcessingContext())
    assert own == "The limit below"
    assert settings.limit_m == 0.33
    assert settings == EvaluateConfig(predicted="-", reference="-", limit_m=0.33)


def test_what_the_evaluation_is_asked_reaches_the_engine_s_configuration(provider):
    asked = {"SURVEYED": "true", "PIXEL_SIZE": "0.2", "SMALL_AREA": "10", "LARGE_AREA": "20"}
    settings = provider.algorithm("evaluate").create().settings(asked, QgsProcessingContext())
    assert (settings.surveyed, settings.pixel_m, settings.size_limits_m2) == (True, 0.2, (10.0, 20.0))


def test_values_that_do_not_fit_together_are_refused_before_the_run(provider, engine, scene):
    algorithm = provider.algorithm("vectorizebuildings").create()
    parameters = {"INPUT": scene[0], "OUTPUT": "TEMPORARY_OUTPUT", "TILE_SIZE": "256", "OVERLAP": "200"}
    ok, message = algorithm.checkParameterValues(parameters, QgsProcessingContext())
    assert not ok
    assert "overlap" in message.lower()
    parameters["OVERLAP"] = "64"
    assert algorithm.checkParameterValues(parameters, QgsProcessingContext())[0]


def test_menu_comes_and_goes_without_a_trace(qgis, provider):
    from cadastral_vectorizer import classFactory
    from qgis.PyQt.QtWidgets import QMainWindow, QToolBar

    class Interface:
        """The five methods of QgisInterface that the plugin uses, on a real window."""

        def __init__(self):
            self.window = QMainWindow()
            self.menu = []

        def mainWindow(self):
            return self.window

        def addToolBar(self, name):
            return self.window.addToolBar(name)

        def addPluginToMenu(self, name, action):
            self.menu.append(action)

        def removePluginMenu(self, name, action):
            self.menu.remove(action)

    interface = Interface()
    plugin = classFactory(interface)
    plugin.initProcessing = lambda: None  # the provider of this session is registered already
    plugin.initGui()
    assert len(interface.menu) == 3
    assert interface.window.findChildren(QToolBar)
    plugin.unload()
    qgis.sendPostedEvents(None, 52)  # QEvent.DeferredDelete
    assert interface.menu == []
    assert not interface.window.findChildren(QToolBar)
