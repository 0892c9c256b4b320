import errno

import pytest
from matplotlib.figure import Figure

from pairlens.core.files import UnwritableError
from pairlens.plotting.style import save


def test_a_figure_on_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    def full(self, part, **_settings):
        part.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(UnwritableError, match=r"plane\.svg cannot be written \(No space left on device\)"):
        save(Figure(), tmp_path / "plane.svg")
    assert list(tmp_path.iterdir()) == []
