"""What `pairlens serve` refuses before it starts, in one sentence."""

import pytest

from pairlens.cli.main import main


def refused(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["serve", *map(str, words)])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_it_does_not_let_strangers_in_by_mistake(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("PAIRLENS_TOKEN", raising=False)
    assert "callers need a token" in refused(capsys, tmp_path, "--host", "0.0.0.0")
    assert "callers need a token" in refused(capsys, tmp_path, "--names", "photos.example")
    sentence = refused(capsys, tmp_path, "--host", "0.0.0.0", "--token", "secret")
    assert "at least 16" in sentence
    assert "secret" not in sentence.replace("secrets.token_urlsafe", "").replace("import secrets", "")
    # Too short in the environment as well.
    monkeypatch.setenv("PAIRLENS_TOKEN", "hidden")
    assert "hidden" not in refused(capsys, tmp_path, "--host", "0.0.0.0")


def test_wrong_words_are_one_sentence(capsys, tmp_path):
    assert "is not a collection" in refused(capsys, tmp_path / "nothing")
    assert "no port" in refused(capsys, tmp_path, "--port", "70000")
    assert "workers" in refused(capsys, tmp_path, "--workers", "0")
