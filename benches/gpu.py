"""Measurements and tests of Pairlens that need a GPU, in one run of at most eight minutes, and two more.

    python benches/gpu.py --data_path DATA --out OUT      # on the GPU machine; DATA holds the prepared CUB-200-2011
    python benches/gpu.py --out OUT --parts kernels --minutes 5
    python benches/gpu.py --data_path DATA --out OUT --parts backbones --minutes 60 --work WORK
    python benches/gpu.py --dry_run                       # every part in small on the CPU, about two minutes
    python benches/gpu.py --write_docs --out OUT          # fill the tables of docs/performance.md from OUT/gpu.json

The parts run in this order, the most valuable first, each in a process of its own:

    tests        the tests marked `cuda`
    step         the training step of a ResNet-50 CGD beside the plain training loop
    losses       the losses, eager and compiled, beside pytorch-metric-learning and the bare matrix products
    evaluation   every retrieval metric beside FAISS on the CPU of the same machine, with the same values
    cub          triplet and circle loss on CUB-200-2011, beside the model before training

and two that run only if they are named with --parts, because they take minutes each:

    kernels      Triton kernels that write no matrix over pairs, beside our losses, and whether they are worth keeping
    backbones    EfficientNet-Lite2, and a ResNet-50 from scratch, on CUB-200-2011, for as long as the minutes carry

Every part prints and stores its rows as it measures them, so the run can be interrupted at any time. A part that fails
or takes longer than its share of the time is stopped, its status says so, and the next part starts. Time that a part
does not use is given to the parts after it. A part that was cut off goes on in the next run into the same --out, if machine
and commit are the same: rows that are stored are not measured again, and with --work a training resumes. `docs/gpu.md`
describes how to prepare a machine without a network.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import tyro
from gpu_parts.docs_tables import write_tables
from gpu_parts.results import SKIPPED, Results

if TYPE_CHECKING:
    from gpu_parts.context import PartContext

PartName: TypeAlias = Literal["tests", "step", "losses", "evaluation", "cub", "kernels", "backbones"]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benches" / "results"
DOCUMENT = ROOT / "docs" / "performance.md"
FAILED, WRONG_INPUT, PART_SKIPPED = 1, 2, 3

# Shares of the total time. A part is stopped when its own share and the shares of the parts before it are used up.
SHARE: dict[PartName, float] = {
    "tests": 0.17,
    "step": 0.22,
    "losses": 0.15,
    "evaluation": 0.17,
    "cub": 0.29,
    "kernels": 0.5,
    "backbones": 0.5,
}
# They would take the minutes from the other parts.
ONLY_IF_NAMED: tuple[PartName, ...] = ("kernels", "backbones")
SHORT_RUN: tuple[PartName, ...] = tuple(name for name in get_args(PartName) if name not in ONLY_IF_NAMED)
NEED_PHOTOS: tuple[PartName, ...] = ("cub", "backbones")


@dataclass(frozen=True)
class Options:
    """What to run, and where its results go.

    Attributes:
        out: folder of gpu.json; by default benches/results, and a folder of its own under it for a dry run.
        data_path: folder of the prepared data sets, of which `cub` is trained on.
        minutes: how long all parts together may take.
        parts: which parts to run; by default all but `kernels` and `backbones`, and in a dry run all.
        work: folder in which the trainings of `backbones` are kept, so that a later call resumes them.
        add: run nothing, and take over the parts of this gpu.json into that of --out.
        dry_run: go through every part in small on the CPU; its figures say nothing.
        write_docs: run nothing, and fill the tables of docs/performance.md from gpu.json.
        run_part: run this part in this process (used by the script itself).
        deadline: when that part has to be finished, in seconds since 1970 (used by the script itself).
    """

    out: Path | None = None
    data_path: Path | None = None
    minutes: float = 8.0
    parts: tuple[PartName, ...] = ()
    work: Path | None = None
    add: Path | None = None
    dry_run: bool = False
    write_docs: bool = False
    run_part: PartName | None = None
    deadline: float = 0.0

    def check(self) -> None:
        """Raise ValueError for impossible options, before anything is started."""
        if self.minutes <= 0:
            raise ValueError(f"--minutes {self.minutes} leaves no time; give a number above 0")
        if self.data_path is not None and not self.data_path.is_dir():
            raise ValueError(f"--data_path {self.data_path} is not a folder; give the folder of the prepared data sets")
        runs_parts = not (self.dry_run or self.write_docs or self.add)
        for name in NEED_PHOTOS if runs_parts and self.data_path is None else ():
            if name in self.named_parts:
                raise ValueError(
                    f"the part {name} needs --data_path with the prepared cub/cropped.arrow; give it, or other --parts"
                )

    @property
    def named_parts(self) -> tuple[PartName, ...]:
        """The parts to run."""
        return self.parts or (get_args(PartName) if self.dry_run else SHORT_RUN)

    @property
    def folder(self) -> Path:
        """The folder of gpu.json."""
        return self.out or (RESULTS / "gpu_dry_run" if self.dry_run else RESULTS)


def run_parts(options: Options) -> bool:
    """Run the parts one after another; returns whether all of them were finished without a failure.

    Raises:
        ValueError: if a part says that there is no GPU, or that its input is wrong; no other part is started then.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    results = Results(options.folder / "gpu.json")
    results.open_for(options.dry_run)
    end = time.time()
    total_share = sum(SHARE[name] for name in options.named_parts)
    for name in options.named_parts:
        end += 60 * options.minutes * SHARE[name] / total_share
        print(f"=== {name}: at most {end - time.time():.0f} s", flush=True)
        start = time.time()
        status = _run_in_process(name, options, end)
        results.finish(name, status, time.time() - start)
        print(f"=== {name}: {status} after {time.time() - start:.0f} s", flush=True)
    print(f"results: {results.file}", flush=True)
    return results.finished(options.named_parts)


def _run_in_process(name: PartName, options: Options, end: float) -> str:
    """Run one part in a process of its own until `end`; returns its status in words."""
    command = [sys.executable, __file__, "--run_part", name, "--parts", name, "--deadline", str(end)]
    command += ["--out", str(options.folder)]
    command += ["--data_path", str(options.data_path)] if options.data_path else []
    command += ["--work", str(options.work)] if options.work else []
    command += ["--dry_run"] if options.dry_run else []
    # In a session of its own, so that the processes that the part starts (workers, compilers) are stopped with it.
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            code = process.wait(timeout=max(1.0, end - time.time()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return "stopped: its time was used up"
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if code == WRONG_INPUT:
        raise ValueError(f"the part {name} could not start; the reason is printed above")
    if code == PART_SKIPPED:
        return f"{SKIPPED}; the reason is printed above"
    return "finished" if code == 0 else f"failed with exit status {code}"


def run_one_part(options: Options) -> None:
    """Run one part in this process; its rows are stored as they are measured, its error with them."""
    # Imported here, because the process that only starts the parts needs neither PyTorch nor the seconds it takes to load.
    from gpu_parts.context import PartSkippedError, open_context

    name = options.run_part
    assert name is not None
    context = open_context(
        Results(options.folder / "gpu.json"),
        name,
        options.deadline,
        options.dry_run,
        options.data_path,
        options.work,
    )
    try:
        _find_measure(name)(context)
    except PartSkippedError as reason:
        context.save("skipped", str(reason))
        sys.exit(PART_SKIPPED)
    except Exception as error:
        context.save("error", f"{type(error).__name__}: {str(error)[:500]}")
        raise


def _find_measure(name: PartName) -> Callable[["PartContext"], None]:
    """Return the function of a part, importing that part alone."""
    match name:
        case "tests":
            from gpu_parts import cuda_tests as part
        case "step":
            from gpu_parts import training_step as part
        case "losses":
            from gpu_parts import loss_speed as part
        case "kernels":
            from gpu_parts import kernel_speed as part
        case "evaluation":
            from gpu_parts import search as part
        case "cub":
            from gpu_parts import cub200 as part
        case "backbones":
            from gpu_parts import cub_backbones as part
    return part.measure


def main(options: Options) -> None:
    """Run the parts, or write the tables of the documents."""
    options.check()
    if options.run_part is not None:
        run_one_part(options)
    elif options.add is not None:
        taken = Results(options.folder / "gpu.json").add(Results(options.add))
        print(f"{options.folder / 'gpu.json'}: took over {', '.join(taken) or 'nothing'} from {options.add}")
    elif options.write_docs:
        write_tables(Results(options.folder / "gpu.json"), DOCUMENT)
        print(f"{DOCUMENT.relative_to(ROOT)}: tables written from {options.folder / 'gpu.json'}")
    elif not run_parts(options):
        sys.exit(FAILED)


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__, use_underscores=True))
    except ValueError as wrong_input:
        print(f"gpu.py: {wrong_input}", file=sys.stderr)
        sys.exit(WRONG_INPUT)
