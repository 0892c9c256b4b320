"""Does any reader of untrusted files crash, hang or exhaust the memory?

Every target of `tests/fuzz/targets.py` gets a hundred thousand inputs: most from atheris, which is guided by the
coverage of the code of Pairlens (`pip install "pairlens[fuzz]"`), some from hypothesis, which damages valid files on
purpose. Each target has a process of its own. More than 5 seconds, more than 3 GB, or any error but the documented
refusal is a failure.

    python tools/fuzz.py                      # all targets
    python tools/fuzz.py --targets car study  # some
"""

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from datetime import date
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fuzz.targets import Target

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
RESULTS = HERE.parent / "benches" / "results" / "fuzz.json"
GUIDED, BROKEN = 97_000, 3_000
# In a file of a megabyte that consists of weights, atheris changes hardly anything but weights.
# Changes of a graph are four bytes each, whatever they are; guidance by coverage finds nothing in the runtime, which is C++.
# An input of a collection is a list of changes, after each of which two dozen readers and writers are called, which takes a
# tenth of a second.
SAMPLED = {"model": (0, 100_000), "onnx_graph": (0, 100_000), "collection": (0, 2_000)}
SECONDS, MEGABYTES = 5, 3072


def guided(name: str, folder: Path, runs: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["pairlens"]):
        from fuzz.mutate import WORDS
        from fuzz.targets import TARGETS
    target = TARGETS[name]
    seeds = folder / "seeds"
    seeds.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (seeds / str(number)).write_bytes(seed)
    words = folder / "words"
    escaped = ["".join(rf"\x{byte:02x}" for byte in word[:60]) for word in WORDS]
    words.write_text("".join(f'"{word}"\n' for word in escaped), encoding="utf-8")
    limits = ["-timeout=0", f"-rss_limit_mb={MEGABYTES}", "-max_len=16384", f"-runs={runs}", "-verbosity=1"]
    options = [f"-dict={words}", f"-artifact_prefix={folder}/", "-seed=1", "-print_final_stats=1", *limits]
    atheris.Setup([sys.argv[0], *options, str(seeds)], partial(watch, target, folder))
    atheris.Fuzz()


def watch(target: "Target", folder: Path, data: bytes) -> None:
    """Try one input, which stays in `last` if the process dies of it; an alarm ends a reader that hangs, also in C code."""
    (folder / "last").write_bytes(data)
    signal.alarm(SECONDS)
    target.run(data)
    signal.alarm(0)


def broken_on_purpose(name: str, folder: Path, runs: int) -> None:
    from hypothesis import HealthCheck, Phase, given, settings

    from fuzz.targets import TARGETS

    target = TARGETS[name]

    @settings(
        max_examples=runs,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(target.inputs())
    def run(data: bytes) -> None:
        watch(target, folder, data)
        run.count += 1

    run.count = 0
    run()
    print(f"hypothesis: {run.count} runs, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


def attempt(name: str, way: str, runs: int, keep: Path) -> dict:
    folder = keep / f"{name}-{way}"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "--child", way, name, str(folder), str(runs)]
    start = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    said = done.stdout + done.stderr
    (folder / "log").write_text(said, encoding="utf-8")
    counted = re.findall(r"Done (\d+) runs|hypothesis: (\d+) runs", said)
    memory = re.findall(r"peak_rss_mb:\s+(\d+)|runs, (\d+) MB", said)
    return {
        "runs": int("".join(counted[-1])) if counted else 0,
        "seconds": round(time.perf_counter() - start, 1),
        "peak_mb": int("".join(memory[-1])) if memory else None,
        "status": done.returncode,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="*")
    parser.add_argument("--child", nargs=4)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "pairlens-fuzz")
    given = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    if given.child:
        way, name, folder, runs = given.child
        {"atheris": guided, "hypothesis": broken_on_purpose}[way](name, Path(folder), int(runs))
        return
    from fuzz.targets import TARGETS

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, encoding="utf-8", cwd=HERE
    ).stdout.strip()
    known = json.loads(RESULTS.read_text(encoding="utf-8"))["targets"] if RESULTS.is_file() else {}
    for name in given.targets or TARGETS:
        wanted = zip(("atheris", "hypothesis"), SAMPLED.get(name, (GUIDED, BROKEN)), strict=True)
        found = {way: attempt(name, way, int(runs * given.scale), given.keep) for way, runs in wanted if runs}
        found["runs"], found["commit"] = sum(one["runs"] for one in found.values()), commit
        print(f"{name:14} {json.dumps(found)}", flush=True)
        known[name] = found
        versions = {
            p: metadata.version(p)
            for p in ("atheris", "hypothesis", "pillow", "pyarrow", "safetensors", "scipy", "torch")
        }
        told = {"date": date.today().isoformat(), "device": f"{os.cpu_count()} CPU cores, shared", "versions": versions}
        RESULTS.write_text(json.dumps({**told, "targets": known}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
