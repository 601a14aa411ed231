"""Limits of cadastral and mapping rules. Standard library only, because the QGIS side offers them for choice."""

from __future__ import annotations

LEAST_POINTS = 30
"""ASPRS 2023 asks for at least this many independent check points before any class is stated."""

ORDER_P0393 = (
    ("settlements", 0.10),
    ("garden and allotment plots", 0.20),
    ("industry, energy, transport, defence", 0.50),
    ("agricultural and specially protected land", 2.50),
    ("forest and water fund, reserve", 5.00),
)
"""Limiting mean-square error of characteristic points by land category, metres (Rosreestr order P/0393, 2020)."""

GOST_R_59562 = (("1:500", 0.06), ("1:1000", 0.09), ("1:2000, dense building", 0.14), ("1:2000", 0.20))
"""Greatest ground pixel in metres by map scale (GOST R 59562-2021)."""
