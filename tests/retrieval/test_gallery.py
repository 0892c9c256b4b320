from unicodedata import normalize

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import write_bars
from pairlens.core.images import load_image
from pairlens.experiments.evaluate_run import evaluate_run
from pairlens.experiments.run import resume, run
from pairlens.experiments.run_folder import RunFolder
from pairlens.retrieval.gallery import Gallery, _find, _short_name
from support.experiments import changed


@pytest.fixture(scope="module")
def gallery(tiny, tmp_path_factory):
    return Gallery.open(run(changed(tiny, num_epochs=1), tmp_path_factory.mktemp("runs") / "g").folder)


@pytest.fixture(scope="module")
def shop(tiny, tmp_path_factory):
    experiment = changed(tiny, num_epochs=0, data_name="shop")
    return Gallery.open(run(experiment, tmp_path_factory.mktemp("runs") / "s").folder)


def test_a_photo_of_the_gallery_is_known_and_does_not_find_itself(gallery):
    query = gallery.query("test/bar5/test2.jpg")
    matches = gallery.search(query, 23)
    assert query.class_name == "bar 5"
    assert query.name == "test_bar5_test2"
    assert "test/bar5/test2.jpg" not in [m.path for m in matches]
    assert sum(bool(m.right) for m in matches) == 5
    assert [m.rank for m in matches] == list(range(1, 24))
    assert [m.distance for m in matches] == sorted(m.distance for m in matches)


def test_any_picture_file_can_be_looked_up(gallery, tmp_path):
    Image.new("RGBA", (50, 20), (200, 30, 30, 128)).save(tmp_path / "red.png")
    query = gallery.query(tmp_path / "red.png")
    matches = gallery.search(query, 3)
    assert query.class_name is None
    assert [m.right for m in matches] == [None] * 3
    assert gallery.search(tmp_path / "red.png", 3)[0].path == matches[0].path


@pytest.mark.parametrize("name", ["...jpg", ". ..png", "a.jpg.jpg"])
def test_the_name_of_a_picture_cannot_lead_out_of_the_folder_of_results(gallery, tmp_path, name):
    Image.new("RGB", (9, 9)).save(tmp_path / name, "PNG")
    query_name = gallery.query(tmp_path / name).name
    assert (tmp_path / "out" / query_name).resolve().parent == (tmp_path / "out").resolve()


def test_a_key_cannot_lead_out_of_the_folder_of_results():
    for key in ("a/...jpg", "a/..jpg", "...jpg", "a/" + 300 * "x" + ".jpg"):
        name = _short_name(key, (key,))
        assert name.strip(".")
        assert len(name) <= 120


def test_a_class_can_be_given(gallery, tmp_path):
    Image.new("L", (50, 20)).save(tmp_path / "x.png")
    matches = gallery.search(gallery.query(tmp_path / "x.png", class_name="bar 6"), 8)
    assert [m.right for m in matches] == [m.class_name == "bar 6" for m in matches]
    with pytest.raises(ValueError, match="no class is called 'bus'"):
        gallery.query(tmp_path / "x.png", class_name="bus")


def test_a_picture_of_the_catalog_is_recognised_by_its_pixels(tiny, tmp_path_factory):
    """The files are lossless, so that a file and its stored photo are encoded once, in the same way."""
    import numpy as np

    from pairlens.data.prepare import Preparation, prepare

    source = tmp_path_factory.mktemp("photos")
    out = tmp_path_factory.mktemp("prepared")
    rng = np.random.default_rng(0)
    for name in "abcdefgh":
        (source / name).mkdir()
        for shot in range(4):
            pixels = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(source / name / f"{shot}.png")
    options = Preparation("folder", out, source=source, name="noise", size=36, quality=88)
    prepare(options, show=lambda _line: None)
    experiment = changed(tiny, data_path=out, data_name="noise", num_epochs=0)
    gallery = Gallery.open(run(experiment, out / "run").folder)
    query = gallery.query(source / "f" / "2.png")
    assert (query.class_name, gallery.catalog.paths[query.position]) == ("f", "f/2.png")
    assert "f/2.png" not in [m.path for m in gallery.search(query, 15)]


def test_a_unique_file_name_is_enough_and_an_unknown_one_is_named(shop):
    with pytest.raises(ValueError, match="neither a picture file nor a photo"):
        shop.query("/home/data/car/uncropped/008055.jpg")
    assert shop.query("test/bar5/gallery2.jpg").position is not None


def test_queries_are_looked_up_in_the_gallery(shop):
    query = shop.first_query()
    assert query.class_name == "bar 4"
    assert query.position is None
    assert {m.path.rsplit("/")[-1][:7] for m in shop.search(query, 24)} == {"gallery"}


def test_only_classes_of_the_photos_that_are_searched_can_be_found(gallery):
    assert gallery.holds("bar 6")
    assert not gallery.holds("bar 1")


def test_a_training_photo_is_known_too(gallery):
    query = gallery.query("train/bar1/train2.jpg")
    assert (query.class_name, query.position) == ("bar 1", None)
    assert [m.right for m in gallery.search(query, 3)] == [False] * 3


def test_the_distance_is_euclidean(gallery):
    match = gallery.search("test/bar5/test2.jpg", 1)[0]
    vectors = [gallery.embeddings.vectors[gallery.catalog.paths.index(p)] for p in ("test/bar5/test2.jpg", match.path)]
    assert match.distance == pytest.approx(float((vectors[0] - vectors[1]).norm()), abs=1e-4)


def test_more_results_than_photos_are_refused(gallery):
    with pytest.raises(ValueError, match="gallery offers 1 to 23"):
        gallery.search("test/bar5/test2.jpg", 24)


def test_a_data_set_prepared_again_is_noticed_and_evaluation_repairs_it(tiny, tmp_path):
    write_bars(tmp_path / "bars" / "uncropped.arrow")
    folder = run(changed(tiny, data_path=tmp_path, num_epochs=0), tmp_path / "run").folder
    write_bars(tmp_path / "bars" / "uncropped.arrow", size=40)
    for open_again in (lambda: Gallery.open(folder), lambda: list(resume(RunFolder(folder)))):
        with pytest.raises(ValueError, match=r"prepared (anew|again)"):
            open_again()
    before = RunFolder(folder).gallery.read_bytes()
    with pytest.raises(ValueError, match="ranks"):
        evaluate_run(folder, recalls=(1, 2**62))
    write_bars(tmp_path / "lone" / "bars" / "uncropped.arrow", shots=1)
    with pytest.raises(ValueError, match="nothing can be found"):
        evaluate_run(folder, data_path=tmp_path / "lone")
    assert RunFolder(folder).gallery.read_bytes() == before
    evaluate_run(folder)
    assert Gallery.open(folder).search("test/bar5/test2.jpg", 1)


def test_the_data_set_may_have_moved(tiny, tmp_path):
    write_bars(tmp_path / "old" / "bars" / "uncropped.arrow")
    folder = run(changed(tiny, data_path=tmp_path / "old", num_epochs=0), tmp_path / "run").folder
    (tmp_path / "old").rename(tmp_path / "new")
    assert Gallery.open(folder, tmp_path / "new").search("test/bar5/test2.jpg", 1)
    assert evaluate_run(folder, data_path=tmp_path / "new").queries == 24


def test_the_stored_picture_comes_back(gallery):
    match = gallery.search("test/bar5/test2.jpg", 1)[0]
    position = gallery.catalog.paths.index(match.path)
    assert match.picture.tobytes() == load_image(bytes(gallery.catalog.jpeg(position))).tobytes()


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_a_key_is_found_in_any_spelling(stored, asked):
    paths = tuple(normalize(stored, path) for path in ("a/1.jpg", "café/é.jpg", "café/ô.jpg#1", "café/ô.jpg#2"))
    for name, rows in (
        ("café/é.jpg", [1]),
        ("é.jpg", [1]),
        ("café/ô.jpg", [2, 3]),
        ("café/ô.jpg#2", [3]),
        ("è.jpg", []),
    ):
        assert _find(paths, normalize(asked, name)) == rows


def test_a_photo_may_be_given_in_any_form(gallery, tmp_path):
    picture = load_image(bytes(gallery.catalog.jpeg(0))).rotate(5)
    file = tmp_path / "turned.png"
    picture.save(file)
    pixels = np.array(picture)
    expected = [(match.path, match.distance) for match in gallery.search(file, np.int64(4))]
    for photo in (str(file), file.read_bytes(), picture, pixels, torch.from_numpy(pixels).permute(2, 0, 1)):
        assert [(match.path, match.distance) for match in gallery.search(photo, torch.tensor(4))] == expected
    assert gallery.query(pixels, class_name="bar 4").class_name == "bar 4"
    assert gallery.approximation(np.int64(2), np.int64(2)) is None


@pytest.mark.parametrize(
    ("photo", "k", "message"),
    [
        (np.zeros((4, 4, 3)), 1, "uint8 values from 0 to 255, not float64"),
        (torch.zeros(3, 4, 4, dtype=torch.int8), 1, "uint8 values from 0 to 255, not torch.int8"),
        (["a.jpg"], 1, "one photo at a time"),
        (np.zeros((2, 4, 4, 3), np.uint8), 1, "one photo at a time"),
        (None, 1, "a NoneType is not a photo"),
        (3, 1, "a int is not a photo"),
        (b"no picture", 1, "cannot be read as a picture"),
        (np.zeros((40, 40, 3), np.uint8), 2.0, "k 2.0 must be a whole number"),
        (np.zeros((40, 40, 3), np.uint8), "2", "k '2' must be a whole number"),
        (np.zeros((40, 40, 3), np.uint8), True, "k True must be a whole number"),
    ],
)
def test_what_is_no_photo_or_no_number_is_named(gallery, photo, k, message):
    with pytest.raises(ValueError, match=message):
        gallery.search(photo, k)
