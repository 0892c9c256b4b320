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


def test_the_folder_is_not_looked_through_for_every_photo(tmp_path, monkeypatch):
    kept = QueryPhotos(tmp_path, 1 << 30, 60)
    looks = []
    look = kept._without_old
    monkeypatch.setattr(kept, "_without_old", lambda needed: looks.append(needed) or look(needed))
    for number in range(600):
        kept.keep(number.to_bytes(2, "big"))
    kept.close()
    assert len(list(tmp_path.iterdir())) == 600
    assert len(looks) == 3


def test_a_full_folder_is_not_looked_through_for_every_photo(tmp_path, monkeypatch):
    kept = QueryPhotos(tmp_path, 10_000, 60)
    looks = []
    look = kept._without_old
    monkeypatch.setattr(kept, "_without_old", lambda needed: looks.append(needed) or look(needed))
    for number in range(400):
        kept.keep(number.to_bytes(2, "big") * 50)
    kept.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 10_000
    # Each look makes room for ten photos.
    assert len(looks) < 40


def test_photos_of_another_process_are_counted_after_a_while(tmp_path):
    clock = [1e9]
    first, second = (QueryPhotos(tmp_path, 1000, 1e12, now=lambda: clock[0]) for _ in range(2))
    for number in range(4):
        first.keep(bytes([number]) * 150)
    first.close()
    second.keep(bytes([9]) * 150)
    clock[0] += 61
    second.keep(bytes([10]) * 300)
    second.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 1000
    assert len(list(tmp_path.iterdir())) == 5


def test_the_same_photo_again_takes_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(query_photos, "RECENT_BYTES", 300)
    kept = QueryPhotos(tmp_path, 10_000, 60)
    for _ in range(9):
        kept.keep(b"a" * 100)
        kept.keep(b"b" * 100)
    assert len(kept._recent) == 2
    for number in range(9):
        kept.keep(bytes([number]) * 100)
    kept.close()
    assert len(kept._recent) == 3
    assert kept._recent_bytes == sum(map(len, kept._recent.values())) == 300


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
