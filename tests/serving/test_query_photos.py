"""Photos that were searched with are kept for a while, within their room, and shared by the processes of a server."""

import pytest

from pairlens.serving import query_photos
from pairlens.serving.query_photos import QueryPhotos


def test_another_process_reads_what_one_has_kept(tmp_path):
    first, second = QueryPhotos(tmp_path, 1000, 60), QueryPhotos(tmp_path, 1000, 60)
    digest = first.keep(b"photo")
    assert first.read(digest) == b"photo"
    first.close()
    assert second.read(digest) == b"photo"


def test_the_oldest_go_when_there_is_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(query_photos, "RECENT_BYTES", 300)
    kept = QueryPhotos(tmp_path, 250, 60)
    digests = [kept.keep(bytes([number]) * 100) for number in range(7)]
    kept.close()
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(FileNotFoundError, match="not kept any more"):
        QueryPhotos(tmp_path, 250, 60).read(digests[0])
    assert len(kept._recent) == 3


def test_they_are_gone_after_their_time(tmp_path):
    clock = [0.0]
    kept = QueryPhotos(tmp_path, 1000, 60)
    digest = kept.keep(b"photo")
    kept.close()
    written = (tmp_path / digest).stat().st_mtime
    later = QueryPhotos(tmp_path, 1000, 60, now=lambda: written + clock[0])
    clock[0] = 59
    assert later.read(digest) == b"photo"
    clock[0] = 61
    with pytest.raises(FileNotFoundError, match=r"for 0\.0166667 hours"):
        later.read(digest)


@pytest.mark.parametrize("digest", ["", "x", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64])
def test_a_digest_names_no_file(tmp_path, digest):
    with pytest.raises(FileNotFoundError):
        QueryPhotos(tmp_path, 1000, 60).read(digest)
