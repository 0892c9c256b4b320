"""The examples of docs/python.md run as they are written, one after the other."""

import re
from pathlib import Path

import pytest

from conftest import drawn
from pairlens.experiments.run import run
from support.experiments import changed

PAGE = Path(__file__).parent.parent / "docs" / "python.md"


@pytest.mark.usefixtures("without_rendering")
def test_the_examples_of_the_page_run(tiny, tmp_path, monkeypatch):
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 6
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(drawn(0, 0, 48))
    experiment = changed(tiny, num_epochs=1, batch_size=6, backbone="test_resnet")
    run(experiment, "runs/mine")
    names = {"experiment": experiment}
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), names)
    assert names["vector"].shape == (16,)
    assert names["vectors"].shape == (2, 16)
    assert (tmp_path / "explain" / "explain.svg").is_file()
    assert len(names["results"].fields[0].losses) == 2
