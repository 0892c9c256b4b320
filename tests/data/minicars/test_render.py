import io
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from pairlens.data.minicars import render

HALF = render.CLASSES // 2


def recall_at_1(features, labels):
    distances = np.linalg.norm(features[:, None] - features[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return float((labels[distances.argmin(1)] == labels).mean())


def test_a_picture_depends_only_on_model_and_shot():
    assert render.draw(5, 3).tobytes() == render.draw(5, 3).tobytes()
    assert render.photograph(5, 3) == render.photograph(5, 3)
    pictures = {render.draw(model, shot, 48).tobytes() for model in (5, 6) for shot in range(4)}
    assert len(pictures) == 8


# The mean brightness of the four quarters of three pictures: a random number added, removed or moved changes them.
QUARTERS = {
    (0, 0): [[71.8, 67.6], [46.0, 46.9]],
    (37, 5): [[137.1, 165.4], [99.7, 116.9]],
    (95, 19): [[142.5, 163.6], [79.5, 98.9]],
}


@pytest.mark.parametrize(("model", "shot"), QUARTERS)
def test_the_pictures_have_not_changed(model, shot):
    pixels = np.asarray(render.draw(model, shot), float)
    quarters = pixels.reshape(2, 54, 2, 54, 3).mean((1, 3, 4))
    np.testing.assert_allclose(quarters, QUARTERS[model, shot], atol=0.2)


@pytest.mark.parametrize("size", [1, 33, 108, 256])
def test_a_picture_has_the_requested_size(size):
    picture = render.draw(17, 2, size)
    assert (picture.mode, picture.size) == ("RGB", (size, size))


def test_size_changes_the_scale_and_not_the_scene():
    small = render.draw(17, 1, 108).resize((27, 27), Image.Resampling.BOX)
    large = render.draw(17, 1, 324).resize((27, 27), Image.Resampling.BOX)
    assert np.abs(np.asarray(small, float) - np.asarray(large, float)).mean() < 4


def test_a_photograph_is_the_drawing_as_jpeg():
    with Image.open(io.BytesIO(render.photograph(40, 7))) as photograph:
        assert (photograph.format, photograph.mode, photograph.size) == ("JPEG", "RGB", (108, 108))
        error = np.asarray(photograph, float) - np.asarray(render.draw(40, 7), float)
    assert 0 < np.abs(error).mean() < 8


def test_photographs_differ_in_quality():
    heads = {render.photograph(0, shot, 32).partition(b"\xff\xc0")[0] for shot in range(6)}  # quantisation tables
    assert len(heads) > 2


def test_class_names_are_unique_and_plain():
    names = [render.class_name(index) for index in range(render.CLASSES)]
    assert len(set(names)) == render.CLASSES
    assert all(name.isascii() and len(name.split()) == 3 for name in names)


def test_no_two_models_are_alike_in_either_half():
    models = [render.model_of(index) for index in range(render.CLASSES)]
    assert len(set(models)) == render.CLASSES
    proportions = np.array([[value for value in vars(model).values() if isinstance(value, float)] for model in models])
    gaps = np.abs(proportions[:, None] - proportions[None]).max(2) + np.eye(render.CLASSES)
    assert gaps.min() > 0.05


def test_both_halves_hold_the_same_bodies():
    bodies = [render.model_of(index).body for index in range(render.CLASSES)]
    assert sorted(bodies[:HALF]) == sorted(bodies[HALF:])
    assert len(set(bodies)) == 12


@pytest.mark.parametrize("index", range(render.CLASSES))
def test_the_proportions_of_a_model_are_those_of_a_car(index):
    car = render.model_of(index)
    assert all(left < right for left, right in pairwise((0, car.cowl_x, car.screen_x, car.roof_x, car.deck_x, 1)))
    assert car.tyre < car.front
    assert car.front + car.wheelbase + car.tyre < car.length
    assert car.height - car.roof_drop - car.roof_rail > max(car.cowl_y, car.deck_y) or car.body == "roadster"
    assert 0 < car.clearance < car.tyre < car.nose


def test_each_detail_of_a_model_changes_the_picture():
    model = render.model_of(2)
    choices = {
        "spokes": 4, "doors": 2, "rim": "turbine", "lamp": "round", "tail": "hook", "grille": "mouth", "rear": "wing",
        "bumper": "chrome", "handle": "flap", "pillar": "black",
    }  # fmt: skip
    flags = {field.name: not getattr(model, field.name) for field in fields(model) if field.type is bool}
    unchanged = pixels_of(model)
    for name, value in (choices | flags).items():
        if getattr(model, name) != value:
            assert not np.array_equal(pixels_of(replace(model, **{name: value})), unchanged), name


def pixels_of(model):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "model_of", lambda _: model)
        return np.asarray(render.draw(2, 1, 96))


def test_the_surroundings_do_not_depend_on_the_model(monkeypatch):
    pictures = [np.asarray(render.draw(4, shot)) for shot in range(12)]
    limousine = render.model_of(10)
    monkeypatch.setattr(render, "model_of", lambda _: limousine)
    for shot, picture in enumerate(pictures):
        other_model = np.asarray(render.draw(4, shot))
        np.testing.assert_array_equal(other_model[:20], picture[:20])
        np.testing.assert_array_equal(other_model[-16:], picture[-16:])
        assert not np.array_equal(other_model, picture)


def test_colour_does_not_reveal_the_class():
    classes, shots = range(HALF, HALF + 16), range(12)
    pictures = np.array([np.asarray(render.draw(c, s, 24)) for c in classes for s in shots], float)
    labels = np.repeat(np.arange(16), 12)
    chance = 11 / 191
    assert recall_at_1(pictures.mean((1, 2)), labels) < 2 * chance
    assert recall_at_1(pictures[:, :4].reshape(len(pictures), -1), labels) < 2 * chance


@pytest.mark.parametrize("index", [-1, render.CLASSES])
def test_an_unknown_model_is_an_error_in_one_sentence(index):
    for function in (render.model_of, render.class_name, lambda number: render.draw(number, 0)):
        with pytest.raises(ValueError, match=f"there is no car model {index}; choose one from 0 to 95"):
            function(index)


@pytest.mark.parametrize(("shot", "size"), [(-1, 108), (0, 0)])
def test_a_shot_or_size_out_of_range_is_an_error(shot, size):
    with pytest.raises(ValueError, match=f"cannot draw shot {shot} at size {size}"):
        render.draw(0, shot, size)
