"""The commands about collections: what they print, what they end with, and one story from photos to a trained model."""

import json
import re
import sys

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from pairlens.cli import search as search_commands
from pairlens.cli import train as train_command
from pairlens.cli.collection import VERBS
from pairlens.collection.collection import Collection
from pairlens.collection.location import exists
from support.commands import QUICK, run
from support.scripts import run_script
from support.tiny_collections import (
    clustered,
    new_collection,
    photo_folder,
    pixels,
    tiny_embedder,
    tiny_run,
    write_photo,
)


@pytest.fixture
def photos(tmp_path):
    return photo_folder(tmp_path / "photos", "ab", 3)


@pytest.fixture
def shop(tmp_path, photos, monkeypatch):
    """A collection of six photos; results are written into the temporary folder."""
    monkeypatch.chdir(tmp_path)
    with new_collection(tmp_path / "shop", tiny_run()) as collection:
        collection.add(photos)
    return tmp_path / "shop"


def save_model(folder):
    folder.mkdir()
    tiny_embedder(5).save(folder)


def size_of(file):
    with Image.open(file) as picture:
        return picture.size


def printed(capsys, *words, status=0):
    assert run(*words) == status
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return err if status == 2 else out


class TestIndex:
    def test_photos_become_a_collection(self, tmp_path, photos, capsys):
        (photos / "a" / "bad.jpg").write_bytes(b"no photo")
        words = ["index", photos, "--to", tmp_path / "shop", "--model", "no_such_backbone"]
        # A wrong model leaves nothing behind.
        assert "no_such_backbone" in printed(capsys, *words, status=2)
        assert not exists(tmp_path / "shop")
        new_collection(tmp_path / "shop").close()
        text = printed(capsys, *words[:4], "--refused", tmp_path / "refused.csv")
        assert "the label of a photo is the folder that holds it: a, b (2 labels)" in text
        assert "Found 7: 6 read, 1 refused (1 unreadable photo), 0 left out. Added 6." in text
        assert "6 photos (0 before)" in text
        assert f"search it: pairlens search {tmp_path / 'shop'} PHOTO" in text
        assert "a/bad.jpg," in (tmp_path / "refused.csv").read_text(encoding="utf-8")
        assert "Added 0, unchanged 6." in printed(capsys, *words[:4])

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            ([], "nothing to index"),
            (["nowhere"], "nowhere does not exist"),
            (["photos", "--labels", "folder"], "folder is not a file"),
            (["photos", "--engine", "dask"], "must be one of threads, ray"),
        ],
    )
    def test_wrong_words(self, shop, capsys, words, sentence):
        assert sentence in printed(capsys, "index", *words, "--to", "shop", status=2)
        if "photos" not in words:
            assert sentence in printed(capsys, "index", *words, "--to", "new", status=2)
            assert not exists("new")

    def test_a_collection_that_was_interrupted_while_it_was_made_goes_on(self, tmp_path, photos, capsys, monkeypatch):
        from pairlens.collection import collection_model

        Collection.create(tmp_path / "shop", "none").close()
        monkeypatch.setattr(collection_model, "default_model", tiny_run)
        assert "Added 6." in printed(capsys, "index", photos, "--to", tmp_path / "shop")

    def test_another_model_is_refused(self, shop, photos, capsys, tmp_path):
        save_model(tmp_path / "model")
        error = printed(capsys, "index", photos, "--to", shop, "--model", tmp_path / "model", status=2)
        assert "has another model" in error
        assert "pairlens collection migrate" in error

    def test_sync_asks_before_it_removes(self, shop, photos, capsys, monkeypatch):
        (photos / "a" / "0.png").unlink()
        assert "1 of 6 photos are gone" in printed(capsys, "index", photos, "--to", shop, "--sync", status=2)

        class Answer:
            def __init__(self, text):
                self.text = text

            def isatty(self):
                return True

            def readline(self):
                return self.text

        for answer, status in (("n\n", 2), ("y\n", 0)):
            monkeypatch.setattr(sys, "stdin", Answer(answer))
            assert run("index", photos, "--to", shop, "--sync") == status
            out = capsys.readouterr().out
            assert "Remove these 1 photos from the collection? [y/N]" in out
        assert "Removed 1" in out
        (photos / "a" / "1.png").unlink()
        assert "Removed 1" in printed(capsys, "index", photos, "--to", shop, "--sync", "--yes")

    def test_an_interruption_says_how_to_go_on(self, shop, photos, capsys, monkeypatch):
        write_photo(photos / "c" / "1.png", 1000)

        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(search_commands.PhotoProgress, "__call__", interrupt)
        assert run("index", photos, "--to", shop) == 130
        assert "shop has 6 photos. Give the same command again" in capsys.readouterr().err


class TestSearch:
    def test_a_table_and_pictures(self, shop, photos, capsys):
        text = printed(capsys, "search", shop, photos / "a" / "1.png", "--k", 3)
        assert "verdict  No verdict: the collection is not calibrated" in text
        assert "    1  1.0000        2  a  a/1.png" in text
        assert "results/1/sheet.png" in text
        files = sorted(file.name for file in (shop.parent / "results" / "1").iterdir())
        assert [file[:9] for file in files] == ["match_001", "match_002", "match_003", "sheet.png"]

    def test_json_is_pure(self, shop, photos, capsys):
        text = printed(capsys, "search", shop, "2", "--json", "--k", 2, "--where", "label=b", "id=4..5", "--not", "1")
        found = json.loads(text)
        assert {match["id"] for match in found["matches"]} == {4, 5}
        assert not (shop.parent / "results").exists()

    def test_json_is_pure_although_libraries_warn(self, shop, photos):
        code = (
            "import sys, warnings; import torch; warnings.warn('a library speaks');"
            "from pairlens.cli.main import main; main(sys.argv[1:])"
        )
        words = ["search", str(shop), str(photos / "a" / "1.png"), "--json"]
        file = shop.parent / "search.py"
        file.write_text(code, encoding="utf-8")
        done = run_script([file, *words], shop.parent)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["matches"][0]["id"] == 2
        assert "a library speaks" in done.stderr

    def test_a_region_and_explanations(self, shop, photos, capsys, tmp_path):
        canvas = np.zeros((60, 100, 3), np.uint8)
        canvas[10:50, 30:78] = pixels(100)
        Image.fromarray(canvas).save(tmp_path / "canvas.png")
        words = [
            "search",
            shop,
            "canvas.png",
            "--region",
            "30,10,48,40",
            "--k",
            2,
            "--explain",
            "--out",
            "out",
            "--group",
        ]
        assert "    1  1.0000        4  b  b/0.png" in printed(capsys, *words)
        assert sorted(file.name[:11] for file in (tmp_path / "out").glob("e*")) == ["explanation"] * 2
        assert size_of(tmp_path / "out" / "explanation_001.png")[0] > 300
        # A stored photo is explained too.
        printed(capsys, "search", shop, "#3", "--k", 1, "--explain", "--out", "out")
        assert len(list((tmp_path / "out").glob("explanation_*"))) == 1

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["shop"], "search needs a photo"),
            (["shop", "nowhere.png"], "nowhere.png is neither a file nor the path or the id"),
            (["shop", "99"], "no photo with the id 99"),
            (["shop", "1", "--region", "1,2"], "--region 1,2 is not x,y,width,height"),
            (["shop", "1", "--where", "price"], "has no ="),
            (["shop", "1", "--rate", "x"], "--rate"),
            (["shop", "1", "--json", "--explain"], "give it too"),
            (["photos", "1"], "photos is not a collection"),
            (["shopp", "1"], "shopp is not a collection"),
        ],
    )
    def test_wrong_words_are_one_sentence(self, shop, capsys, words, sentence):
        error = printed(capsys, "search", *words, status=2)
        assert sentence in error
        assert error.count("\n") == 1

    def test_a_filter_that_nothing_fits(self, shop, capsys):
        assert "no photo of the collection fits the filter" in printed(
            capsys, "search", shop, "1", "--where", "label=x"
        )


class TestVerbs:
    def test_help_and_misspelt_verbs(self, capsys):
        for words in ([], ["--help"]):
            text = printed(capsys, "collection", *words)
            assert all(f"  {verb} " in text for verb in VERBS)
        error = printed(capsys, "collection", "chek", "shop", status=2)
        assert "pairlens collection has no verb chek; did you mean check?" in error
        assert "--near" in printed(capsys, "collection", "duplicates", "--help")
        assert "pairlens collection list" in printed(capsys, "collection", "list", "shop", "--limt", "3", status=2)

    def test_info(self, shop, capsys):
        text = printed(capsys, "collection", "info", shop)
        assert "most frequent  a 3, b 3" in text
        assert "model  tiny run 1" in text
        about = json.loads(printed(capsys, "collection", "info", shop, "--json"))
        assert (about["photos"], about["labels"], about["without_label"]) == (6, 2, 0)

    def test_check(self, shop, capsys):
        assert "6 photos, all of them as they should be" in printed(capsys, "collection", "check", shop)
        with Collection.open(shop) as collection:
            name = next(name for name in collection.store.documents() if name.endswith("safetensors"))
            collection.store.remove_document(name)
        assert "damaged   the model" in printed(capsys, "collection", "check", shop, status=1)

    def test_list(self, shop, capsys):
        text = printed(capsys, "collection", "list", shop, "--limit", 2)
        assert "a/1.png" in text
        assert "2 of 6 photos; more with --after 2" in text
        listed = json.loads(printed(capsys, "collection", "list", shop, "--where", "label=b", "--json"))
        assert [item["path"] for item in listed] == ["b/0.png", "b/1.png", "b/2.png"]

    def test_remove(self, shop, capsys):
        assert "removed 2 photos" in printed(capsys, "collection", "remove", shop, 1, 2)
        assert "3 photos would be removed" in printed(capsys, "collection", "remove", shop, "--where", "label=b")
        assert "has 1" in printed(capsys, "collection", "remove", shop, "--where", "label=b", "--yes")
        assert "x is not the id of a photo" in printed(capsys, "collection", "remove", shop, "x", status=2)
        for words in ([], ["1", "--where", "label=a"]):
            assert "either ids or --where" in printed(capsys, "collection", "remove", shop, *words, status=2)

    def test_relabel(self, shop, capsys):
        assert "2 photos have the label dress now" in printed(
            capsys, "collection", "relabel", shop, 1, 2, "--label", "dress"
        )
        assert "1 photos have no label now" in printed(capsys, "collection", "relabel", shop, 1)
        assert "needs ids" in printed(capsys, "collection", "relabel", shop, status=2)
        assert "control characters" in printed(capsys, "collection", "relabel", shop, 1, "--label", "\x1b", status=2)

    def test_duplicates(self, shop, photos, capsys):
        write_photo(photos / "b" / "9.png", 0)
        printed(capsys, "index", photos, "--to", shop)
        text = printed(capsys, "collection", "duplicates", shop)
        assert "the same photo: 1 groups\n  1 a/0.png  7 b/9.png" in text
        assert "near is a cosine of at least" in text
        found = json.loads(printed(capsys, "collection", "duplicates", shop, "--near", 1, "--json"))
        assert (found["the same photo"], found["threshold"]) == ([[1, 7]], 1)
        assert "between -1 and 1" in printed(capsys, "collection", "duplicates", shop, "--near", 2, status=2)

    def test_suspects(self, tmp_path, capsys):
        vectors, classes = clustered(3, 12, seed=1)
        labels = [f"class {number}" for number in classes]
        labels[5] = "class 2"
        file = tmp_path / "v.parquet"
        parquet.write_table(
            pa.table({"path": [f"{n}.jpg" for n in range(36)], "label": labels, "vector": list(vectors)}), file
        )
        printed(capsys, "collection", "import", tmp_path / "c", file)
        text = printed(capsys, "collection", "suspects", tmp_path / "c")
        assert "class 2 -> class 0  5.jpg" in text
        assert "1 of 36 labels are suspected (score of at least 0.5)" in text
        found = json.loads(printed(capsys, "collection", "suspects", tmp_path / "c", "--json"))
        assert [one["id"] for one in found["suspects"]] == [6]
        assert "at most 1" in printed(capsys, "collection", "suspects", tmp_path / "c", "--threshold", 2, status=2)

    def test_reindex_and_snapshot(self, shop, capsys, tmp_path):
        assert "MB before" in printed(capsys, "collection", "reindex", shop)
        assert f"copy is a copy of {shop}" in printed(capsys, "collection", "snapshot", shop, "copy")
        assert "6 photos, all" in printed(capsys, "collection", "check", "copy")
        assert "never overwritten" in printed(capsys, "collection", "snapshot", shop, "copy", status=2)

    def test_calibrate_says_what_it_does_not_know(self, tmp_path, capsys):
        vectors, classes = clustered(24, 8, spread=0.9)
        table = {"path": [f"{n}.jpg" for n in range(192)], "label": [f"c{n}" for n in classes], "vector": list(vectors)}
        parquet.write_table(pa.table(table), tmp_path / "v.parquet")
        printed(capsys, "collection", "import", tmp_path / "c", tmp_path / "v.parquet", "--model", "clip")
        text = printed(capsys, "collection", "calibrate", tmp_path / "c", "--rates", "0.1", "0.001")
        assert "calibrated on 192 photos of 24 classes" in text
        assert "false accept rate 0.1: measured" in text
        assert "false accept rate 0.001: not supported, it needs at least 5,000 photos" in text
        assert "it is not known on which classes the model was trained" in text
        assert "on 24 classes" in printed(capsys, "collection", "info", tmp_path / "c")
        text = printed(capsys, "search", tmp_path / "c", "1", "--out", tmp_path / "out")
        assert re.search(
            r"verdict  (The collection shows this|No photo is a sure match), at a false accept rate of 1 in 10", text
        )

    def test_calibrate_needs_more(self, shop, capsys):
        assert "at least 20 classes with 4 photos, these are 0" in printed(
            capsys, "collection", "calibrate", shop, status=2
        )

    def test_export_and_import(self, shop, capsys):
        assert "v.parquet: 6 photos" in printed(capsys, "collection", "export", shop, "v.parquet")
        assert "6 photos added, 6 in all" in printed(capsys, "collection", "import", "other", "v.parquet")
        assert "0 photos added, 6 in all" in printed(capsys, "collection", "import", "other", "v.parquet")
        assert "no model, so it cannot embed" in printed(capsys, "search", "other", "photos/a/0.png", status=2)
        assert "not of clip" in printed(
            capsys, "collection", "import", "more", "v.parquet", "--model", "clip", status=2
        )

    @pytest.mark.parametrize("command", [["collection", "migrate"], ["migrate"]])
    def test_migrate_and_back(self, shop, capsys, command, tmp_path):
        save_model(tmp_path / "model")
        text = printed(capsys, *command, shop, "model", "--out", "changes")
        assert "Embedded 6 photos with" in text
        assert f"no verdicts yet: the collection is not calibrated; run pairlens collection calibrate {shop}" in text
        assert "the photos that changed most: changes/changes.png" in text
        assert size_of(tmp_path / "changes" / "changes.png")[1] > 200
        assert printed(capsys, *command, shop, "--back").endswith(" again\n")
        with Collection.open(shop) as collection:
            collection.store.start_model("begun", 8)
        assert "the unfinished migration of" in printed(capsys, *command, shop, "--back")
        for words in ([], ["model", "--back"]):
            assert "either a model or --back" in printed(capsys, *command, shop, *words, status=2)
        assert "neither the folder of a run nor an ONNX file" in printed(capsys, *command, shop, "no/where", status=2)

    @pytest.mark.parametrize("verb", sorted(VERBS))
    def test_a_folder_that_is_no_collection(self, tmp_path, capsys, verb):
        words = {"snapshot": ["copy"], "export": ["v.parquet"], "migrate": ["model"], "remove": ["1"], "relabel": ["1"]}
        words["import"] = ["v.parquet"]
        (tmp_path / "no").mkdir()
        (tmp_path / "no" / "file").write_text("", encoding="utf-8")
        error = printed(capsys, "collection", verb, tmp_path / "no", *words.get(verb, []), status=2)
        assert error.count("\n") == 1


class TestTraining:
    def test_the_whole_story(self, tmp_path, capsys, monkeypatch):
        """Photos, index, train, migrate, calibrate with the classes that the run has held out."""
        monkeypatch.chdir(tmp_path)
        classes = [f"{number:02}" for number in range(40)]
        for place, name in enumerate(classes):
            for shot in range(5):
                write_photo(tmp_path / "photos" / name / f"{shot}.png", 10 * place + shot)
        new_collection(tmp_path / "shop").close()
        printed(capsys, "index", "photos", "--to", "shop")
        with Collection.open("shop") as shop:
            shop.add([pixels(9000), pixels(9001)], labels=["00", "39"])
            shop.add([pixels(9002)])
        (tmp_path / "photos" / "01" / "0.png").unlink()
        quick = [*QUICK, "--data_name", "collection", "--data_path", "data", "--runs", "runs", "--name", "r"]
        text = printed(capsys, "train", "circle", *quick, "--source", "shop")
        assert "shop: 201 labelled photos; left out are 1 without a label and 1 without a file" in text
        assert "train: 20 classes, 100 photos" in text
        assert "move the collection to it: pairlens collection migrate shop runs/r" in text
        with monkeypatch.context() as patch:
            patch.setattr(train_command, "lack_of_gain", lambda run_folder: "it is worse")
            text = printed(capsys, "train", "circle", *quick[:-1], "again", "--seed", 5, "--source", "shop")
        assert "is prepared already, from the same photos" in text
        assert "it is worse; train on more photos, or with another --learning_rate" in text
        assert "move the collection to it" not in text
        text = printed(capsys, "collection", "migrate", "shop", "runs/r")
        assert "Embedded 203 photos" in text
        text = printed(capsys, "collection", "calibrate", "shop", "--run", "runs/r", "--rates", "0.1")
        assert "calibrated on 101 photos of 20 classes" in text
        # Labels that the model was trained on are left out, so that the other half are as many.
        text = printed(capsys, "collection", "calibrate", "shop", "--rates", "0.1")
        assert "calibrated on 101 photos of 20 classes" in text
        result = json.loads(printed(capsys, "search", "shop", "photos/30/1.png", "--json"))
        assert result["verdict"] in ("match", "no match")
        assert result["false_accept_rate"] == 0.1
        assert "has no false accept rate 0.5" in printed(capsys, "search", "shop", "1", "--rate", "0.5", status=2)
        assert "has the fingerprint" in printed(
            capsys, "collection", "calibrate", "shop", "--run", "runs/again", "--rates", "0.1", status=2
        )
        text = printed(capsys, "collection", "migrate", "shop", "--back")
        assert "its calibration was for the other model and is removed, so make a new one" in text
        outcome = json.loads((tmp_path / "runs/r/outcome.json").read_text(encoding="utf-8"))
        (of_backbone,) = [m for m in outcome["baseline"]["report"]["metrics"] if m["name"] == "MAP@R"]
        of_backbone["value"] = 0.999
        (tmp_path / "runs/r/outcome.json").write_text(json.dumps(outcome), encoding="utf-8")
        text = printed(capsys, "collection", "migrate", "shop", "runs/r")
        assert "Training with circle does not improve on the random backbone: MAP@R on its test classes is" in text
        assert "%, random backbone 99.9 %" in text

    def test_regions_are_cropped(self, tmp_path, capsys):
        photos = tmp_path / "photos"
        lines = ["path,label,x_1,y_1,x_2,y_2"]
        for number in range(8):
            write_photo(photos / f"{number}.png", number)
            lines += [
                f"{number}.png,{'abcd'[number % 4]},0,0,24,40",
                f"{number}.png,{'abcd'[(number + 1) % 4]},24,0,48,40",
            ]
        (photos / "t.csv").write_text("\n".join(lines), encoding="utf-8")
        with new_collection(tmp_path / "shop") as shop:
            shop.add(photos / "t.csv")
        words = [
            *QUICK,
            "--num_epochs",
            0,
            "--data_name",
            "collection",
            "--data_path",
            tmp_path / "data",
            "--batch_size",
            6,
        ]
        text = printed(capsys, "train", *words, "--runs", tmp_path / "runs", "--source", tmp_path / "shop")
        assert "16 labelled photos" in text
        assert (tmp_path / "data" / "collection" / "cropped.arrow").is_file()

    def test_wrong_sources(self, shop, capsys, tmp_path):
        words = [*QUICK, "--data_path", tmp_path / "data", "--runs", tmp_path / "runs"]
        assert "--source is for --data_name collection" in printed(
            capsys, "train", *words, "--source", "shop", status=2
        )
        words += ["--data_name", "collection"]
        assert "not a collection" in printed(capsys, "train", *words, "--source", "nowhere", status=2)
        with Collection.open(shop) as collection:
            collection.relabel(collection.store.ids(), None)
        assert "none of its photos has a label" in printed(capsys, "train", *words, "--source", "shop", status=2)
        error = printed(capsys, "train", "--resume", tmp_path / "runs" / "x", "--source", "shop", status=2)
        assert "give no others beside it" in error
