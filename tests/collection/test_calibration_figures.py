"""The figures of a calibration are written, with as many panels and lines as there are data sets."""

import numpy as np

from pairlens.collection.calibration import ReliabilityBin
from pairlens.collection.calibration_figures import draw_accepts, draw_reliability

BINS = (ReliabilityBin(0.1, 0.2, 0.7), ReliabilityBin(0.8, 0.75, 0.3))


def test_reliability_names_every_data_set(tmp_path):
    picture = draw_reliability({"birds": BINS, "cars": BINS[:1]}, tmp_path / "reliability.svg")
    text = picture.file.read_text(encoding="utf-8")
    assert "birds" in text
    assert "cars" in text
    assert picture.caption
    assert picture.alt


def test_accepts_have_a_panel_per_data_set(tmp_path):
    rates = (0.01, 0.1, 0.5)
    curves = (np.array([0.2, 0.5, 0.9]), np.array([0.1, 0.3, 0.8]))
    picture = draw_accepts({"birds": curves, "cars": curves}, rates, tmp_path / "accepts.svg", asked=(0.05,))
    text = picture.file.read_text(encoding="utf-8")
    assert text.count("false accepts of strange queries") == 2
    assert text.count(">calibrated score<") == 1
