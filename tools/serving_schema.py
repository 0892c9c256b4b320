"""Asks a server whatever its OpenAPI text allows, and much that it forbids, with schemathesis.

    make peers
    python tools/serving_schema.py            # about a minute
    python tools/serving_schema.py --write    # keep the figures in benches/results/serving.json

A server of a small collection is started. It fails (exit status 1) if an answer has a status of 5xx, or a status, type,
header or body that the text does not describe. Two checks are left out. In a form every value is a text, so `{}` is a
label, which schemathesis takes for an object. And a value may have the right form and no meaning, as the id of no photo.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from support.served_collection import make_collection  # noqa: E402 (tests/ is on the path only now)
from support.server_process import server_process  # noqa: E402
from support.serving_results import write_figures  # noqa: E402

LEFT_OUT = "positive_data_acceptance,negative_data_rejection"


@dataclass(frozen=True)
class Options:
    """How much is asked.

    Attributes:
        schemathesis: the command.
        examples: most requests for one operation in one phase.
        seed: of the random requests.
        write: whether the figures are kept.
    """

    schemathesis: Path = ROOT / ".venv-peers" / "bin" / "schemathesis"
    examples: int = 100
    seed: int = 1
    write: bool = False


def main(options: Options) -> None:
    if not options.schemathesis.is_file():
        raise SystemExit(f"there is no {options.schemathesis}; run make peers, or give --schemathesis")
    with TemporaryDirectory() as name:
        make_collection(Path(name) / "shop", 20).close()
        with server_process(Path(name) / "shop") as server:
            command = [options.schemathesis, "run", f"{server.address}/openapi.json", "--exclude-checks", LEFT_OUT]
            numbers = ["--max-examples", str(options.examples), "--seed", str(options.seed)]
            # In a folder of its own, because it keeps what it has found beside it.
            done = subprocess.run([*command, *numbers], stdout=subprocess.PIPE, encoding="utf-8", check=False, cwd=name)
    print(done.stdout)
    operations, requests = (re.search(rf"{word}\D*(\d+)", done.stdout) for word in ("Tested:", "Test cases:"))
    if done.returncode or operations is None or requests is None:
        raise SystemExit(1)
    version = re.search(r"v([\d.]+)", done.stdout)
    figures = {
        "operations": int(operations[1]),
        "requests": int(requests[1]),
        "schemathesis": version[1] if version else "unknown",
    }
    if options.write:
        write_figures("schema", figures)


if __name__ == "__main__":
    main(tyro.cli(Options))
