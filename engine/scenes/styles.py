"""What a region looks like: which land uses, street and parcel sizes, roofs, grounds and trees."""

from __future__ import annotations

from dataclasses import dataclass, field

Weights = dict[str, float]
Range = tuple[float, float]


@dataclass(frozen=True)
class Style:
    """A regional style; weights are relative, lengths in metres.

    Attributes:
        uses: land uses of blocks: ``detached``, ``narrow``, ``semi``, ``row``, ``perimeter``, ``town``,
            ``shacks``, ``halls``, ``farm``, and the building-free ``forest``, ``field``, ``park``,
            ``parking``, ``court``, ``bare``, ``water``.
        block_m: side of a block; street_m: width of streets; parcel_m: width and depth of parcels.
        jitter_deg: how far cuts stray from the right angle; curve_m: amplitude of street curves.
        roofs: materials of dwellings.
        crowns: kinds of trees; tree_cover: trees per 1000 m2 of green.
        walls: chance of a wall or fence around a parcel.
        size: factor on house sizes; crown: factor on tree sizes.
        storeys: of dwellings; big_roofs: materials of halls; sidewalks: blocks have them.
        cars: how many; haze: how strong it may be; overcast: chance of a sky without clear shadows.
    """

    uses: Weights
    block_m: Range
    street_m: Range
    parcel_m: tuple[float, float]
    jitter_deg: float
    curve_m: float
    streets: Weights
    yards: Weights
    open_ground: Weights
    roofs: Weights
    crowns: Weights
    tree_cover: float
    walls: float
    size: float = 1.0
    crown: float = 1.0
    storeys: Range = (1, 2.5)
    big_roofs: Weights = field(default_factory=lambda: {"membrane": 3, "seam_metal": 3, "gravel_flat": 2, "tin": 1})
    sidewalks: bool = True
    cars: float = 1.0
    haze: float = 0.5
    overcast: float = 0.2


TABLE: dict[str, Style] = {
    "european_suburb": Style(
        uses={
            "detached": 8,
            "semi": 1.5,
            "row": 1,
            "halls": 0.5,
            "field": 0.3,
            "park": 0.2,
            "forest": 0.3,
            "parking": 0.15,
            "court": 0.2,
        },
        block_m=(55, 120),
        street_m=(5.5, 9),
        parcel_m=(18, 28),
        jitter_deg=7,
        curve_m=7,
        streets={"asphalt": 3, "old_asphalt": 2},
        yards={"lawn": 5, "meadow": 2, "paving": 0.5, "gravel": 0.5},
        open_ground={"meadow": 3, "lawn": 2, "dry": 1},
        roofs={"tiles_red": 6, "tiles_dark": 4, "seam_metal": 1, "membrane": 0.7, "gravel_flat": 0.5},
        crowns={"broadleaf": 5, "conifer": 2, "shrub": 2, "autumn": 0.3},
        tree_cover=12,
        walls=0.35,
        crown=1.1,
        size=1.05,
    ),
    "terraces": Style(
        uses={"row": 4.5, "perimeter": 4, "semi": 1, "halls": 0.6, "park": 0.4, "parking": 0.25, "court": 0.2},
        block_m=(55, 110),
        street_m=(8, 15),
        parcel_m=(8, 26),
        jitter_deg=5,
        curve_m=0,
        streets={"asphalt": 4, "old_asphalt": 2},
        yards={"lawn": 3, "paving": 2, "concrete": 1.5, "gravel": 1},
        open_ground={"lawn": 3, "paving": 1, "gravel": 1},
        roofs={"tiles_red": 5, "tiles_dark": 3, "seam_metal": 3, "membrane": 1, "gravel_flat": 1},
        crowns={"broadleaf": 6, "shrub": 2, "autumn": 0.3},
        tree_cover=8,
        walls=0.3,
        storeys=(2, 5),
        cars=2.0,
        crown=1.2,
    ),
    "dense_town": Style(
        uses={"town": 8, "detached": 1.5, "halls": 1.0, "field": 0.6, "bare": 0.4, "parking": 0.1, "park": 0.2},
        block_m=(28, 70),
        street_m=(1.8, 5.5),
        parcel_m=(8.5, 13),
        jitter_deg=8,
        curve_m=0,
        streets={"old_asphalt": 2, "grey_soil": 2, "concrete": 1, "asphalt": 1},
        yards={"brown_soil": 2, "lush": 2, "grey_soil": 2, "concrete": 1, "rubble": 1, "meadow": 1},
        open_ground={"lush": 2, "brown_soil": 2, "meadow": 2},
        roofs={"concrete": 7, "tin": 2.5, "tin_rusty": 2, "tin_painted": 1.2, "tiles_red": 0.8},
        crowns={"broadleaf": 3, "tropical": 3, "shrub": 3},
        tree_cover=8,
        walls=0.4,
        storeys=(1, 4.5),
        big_roofs={"tin_painted": 3, "tin": 3, "tin_rusty": 2, "concrete": 1},
        sidewalks=False,
        cars=0.6,
        overcast=0.6,
        size=0.95,
    ),
    "villas_tropical": Style(
        uses={"detached": 8, "town": 0.7, "shacks": 0.7, "halls": 0.3, "bare": 0.3, "forest": 0.5, "park": 0.2},
        block_m=(45, 90),
        street_m=(3.5, 7),
        parcel_m=(19, 25),
        jitter_deg=9,
        curve_m=6,
        streets={"red_soil": 4, "old_asphalt": 1, "brown_soil": 1},
        yards={"red_soil": 3, "lush": 3, "paving": 1, "brown_soil": 1, "concrete": 0.6},
        open_ground={"lush": 3, "red_soil": 2, "meadow": 1},
        roofs={"tin_painted": 4, "tiles_red": 3, "tin": 2, "tin_rusty": 2, "tiles_dark": 1, "concrete": 0.4},
        crowns={"tropical": 6, "palm": 2, "shrub": 3},
        tree_cover=14,
        walls=0.75,
        size=1.3,
        sidewalks=False,
        cars=0.6,
        crown=1.2,
        overcast=0.35,
    ),
    "informal": Style(
        uses={"shacks": 9, "bare": 0.6, "town": 0.6, "forest": 0.2, "halls": 0.3, "water": 0.2},
        block_m=(22, 60),
        street_m=(1.0, 4),
        parcel_m=(4.2, 5.8),
        jitter_deg=8,
        curve_m=0,
        streets={"brown_soil": 2, "grey_soil": 2, "red_soil": 1, "concrete": 0.6},
        yards={"brown_soil": 2, "grey_soil": 2, "red_soil": 1, "rubble": 1},
        open_ground={"brown_soil": 2, "dry": 1},
        roofs={"tin": 6, "tin_rusty": 5, "tin_painted": 1.6, "concrete": 0.7, "thatch": 0.2},
        crowns={"tropical": 4, "broadleaf": 2, "palm": 1, "shrub": 2},
        tree_cover=5,
        walls=0.1,
        storeys=(1, 1.6),
        sidewalks=False,
        cars=0.2,
        overcast=0.45,
    ),
    "industrial": Style(
        uses={"halls": 8, "parking": 0.7, "bare": 0.6, "detached": 0.6, "field": 0.4},
        block_m=(80, 190),
        street_m=(8, 14),
        parcel_m=(45, 70),
        jitter_deg=5,
        curve_m=3,
        streets={"asphalt": 3, "old_asphalt": 3},
        yards={"asphalt": 2, "old_asphalt": 3, "concrete": 3, "gravel": 2},
        open_ground={"meadow": 2, "gravel": 2, "dry": 1},
        roofs={"membrane": 3, "seam_metal": 2, "gravel_flat": 2, "tiles_red": 1, "tin": 1},
        crowns={"broadleaf": 4, "shrub": 3},
        tree_cover=5,
        walls=0.3,
        cars=2.0,
    ),
    "rural": Style(
        uses={"farm": 5, "field": 2.5, "forest": 1.2, "detached": 3.5, "water": 0.2},
        block_m=(70, 170),
        street_m=(3.5, 6),
        parcel_m=(26, 36),
        jitter_deg=12,
        curve_m=10,
        streets={"old_asphalt": 2, "gravel": 2, "brown_soil": 2},
        yards={"meadow": 3, "gravel": 1.5, "brown_soil": 2, "lawn": 2},
        open_ground={"meadow": 4, "lush": 1, "dry": 1.5},
        roofs={"tiles_red": 4, "tiles_dark": 2, "tin": 2, "tin_rusty": 2, "thatch": 0.6, "seam_metal": 1},
        crowns={"broadleaf": 5, "conifer": 2, "shrub": 3},
        tree_cover=9,
        walls=0.2,
        big_roofs={"tin": 2, "tin_rusty": 2, "seam_metal": 2, "tiles_red": 1.5},
        sidewalks=False,
        cars=0.4,
    ),
    "rural_tropical": Style(
        uses={"farm": 2, "detached": 5, "field": 2.5, "forest": 2, "bare": 0.4, "shacks": 0.6},
        block_m=(50, 130),
        street_m=(1.5, 4.5),
        parcel_m=(20, 24),
        jitter_deg=16,
        curve_m=10,
        streets={"brown_soil": 2, "sand": 2, "red_soil": 1, "grey_soil": 1},
        yards={"lush": 3, "brown_soil": 2, "sand": 2, "dry": 1.5, "meadow": 1},
        open_ground={"lush": 3, "meadow": 2, "dry": 2},
        roofs={"tin": 5, "tin_rusty": 3, "thatch": 1.5, "tin_painted": 1.5, "concrete": 0.5},
        crowns={"palm": 5, "tropical": 5, "shrub": 3},
        tree_cover=15,
        walls=0.15,
        size=0.75,
        storeys=(1, 1.3),
        big_roofs={"tin": 3, "tin_rusty": 2, "tin_painted": 1},
        sidewalks=False,
        cars=0.15,
        overcast=0.5,
        crown=1.15,
    ),
    "american_suburb": Style(
        uses={
            "detached": 8,
            "narrow": 2.5,
            "row": 0.4,
            "halls": 0.8,
            "parking": 0.2,
            "forest": 0.4,
            "park": 0.2,
            "court": 0.2,
        },
        block_m=(60, 140),
        street_m=(7, 10),
        parcel_m=(20, 31),
        jitter_deg=4,
        curve_m=9,
        streets={"asphalt": 3, "old_asphalt": 3},
        yards={"lawn": 4, "winter": 3, "dry": 2, "meadow": 1},
        open_ground={"winter": 2, "meadow": 2, "dry": 2},
        roofs={"shingle": 8, "tiles_dark": 1, "membrane": 0.6, "seam_metal": 0.8, "tiles_red": 0.5},
        crowns={"broadleaf": 4, "bare": 3, "conifer": 1.5, "shrub": 2},
        tree_cover=17,
        walls=0.45,
        size=1.3,
        cars=1.3,
        crown=1.45,
    ),
}

MIXES = {
    "mixed": tuple(TABLE),
}
