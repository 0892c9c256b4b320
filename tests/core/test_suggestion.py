import pytest

from pairlens.core.suggestion import MAX_LETTERS, closest, closest_folder, suggest

LOSSES = ["contrastive", "multi_similarity", "triplet", "circle", "pooled_circle"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("crcle", "circle"),
        ("Circle", "circle"),
        ("circel", "circle"),
        ("multi-similarty", "multi_similarity"),
        # A beginning, of which the shortest name counts, but not one of two letters.
        ("contra", "contrastive"),
        ("ci", None),
        ("adam", None),
        ("", None),
    ],
)
def test_the_closest_name_is_the_one_that_was_meant(word, meant):
    assert closest(word, LOSSES) == meant


def test_a_long_text_is_no_misspelt_name():
    assert closest("circle" + "e" * MAX_LETTERS, [*LOSSES, "circle" + "e" * (MAX_LETTERS + 1)]) is None


def test_without_a_similar_name_all_names_are_listed():
    assert suggest("crcle", LOSSES) == "did you mean circle?"
    assert suggest("adam", ["x", "y"]) == "available are x, y"
    assert suggest("adam", []) == "available are none"


def test_a_missing_folder_is_compared_with_those_that_have_the_file(tmp_path):
    for name, file in (("circle_seed0", "config.json"), ("circle_seed1", "other.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    assert closest_folder(tmp_path / "circle_seed1x", "config.json") == tmp_path / "circle_seed0"
    assert closest_folder(tmp_path / "margin", "config.json") is None
    # This folder exists, so its name is not misspelt.
    assert closest_folder(tmp_path / "circle_seed1", "config.json") is None
