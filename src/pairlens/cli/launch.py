"""Running a command in one process or in all processes of torchrun, and ending it with one sentence on an error."""

import hashlib
import json
import os
import sys
import time
import warnings
from _thread import start_new_thread
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pairlens.cli import interruption
from pairlens.cli.interruption import InterruptedWorkError, was_interrupted, watch_for_interruption
from pairlens.cli.output import steady_output
from pairlens.core.memory import is_out_of_memory
from pairlens.core.untrusted import strip_control_characters

# PyTorch is imported where it is used, because `pairlens --help` and a misspelt command do not need it.
if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

# The other ranks notice a rank that dies immediately, because its connection closes. This limit is for a rank that hangs;
# no step of a run takes so long without communication.
COLLECTIVE_TIMEOUT = timedelta(minutes=10)
# How long a rank waits for another rank to print the same sentence, before torchrun ends both.
REPORT_TIMEOUT = timedelta(seconds=5)
WRONG_INPUT, INTERRUPTED = 2, 130
OUT_OF_MEMORY = "there is not enough memory; lower --batch_size, --image_size or --memory_size, or give --micro_batch"
OUT_OF_MEMORY_LINE = f"pairlens: {OUT_OF_MEMORY}\n".encode()
LOST_CONNECTION = "this rank ends because another rank has ended; the message of that rank says why"


@dataclass(frozen=True, eq=False)
class ExitReporter:
    """Prints why a process ends, once for all ranks that end for the same reason.

    Attributes:
        store: the key-value store that the ranks share; None for a single process.
        rank: the number of this process.
    """

    store: "Store | None" = None
    rank: int = 0

    def end(self, sentence: str, status: int) -> NoReturn:
        """Print one sentence on stderr and end the process with an exit status."""
        if self.store is None:
            print(f"pairlens: {sentence}", file=sys.stderr)  # noqa: T201
            sys.exit(status)
        key = hashlib.sha256(sentence.encode()).hexdigest()
        if self._is_first(key):
            _write_error_file(f"rank {self.rank}: {sentence}")
            print(f"pairlens: rank {self.rank}: {sentence}", file=sys.stderr, flush=True)  # noqa: T201
            self._mark_as_printed(key)
        sys.stdout.flush()
        # A regular exit would wait for ranks that wait for this one.
        os._exit(status)

    def _is_first(self, key: str) -> bool:
        """Return whether this rank is the first with a sentence; another rank waits until the sentence is printed."""
        # The store is gone when rank 0, which holds it, has ended; then the sentence is printed once more.
        with suppress(RuntimeError):
            if self.store is not None and self.store.add(key, 1) > 1:
                # torchrun ends all ranks when the first one ends, which must not happen before the sentence is printed.
                self.store.wait([f"{key} printed"], REPORT_TIMEOUT)
                return False
        return True

    def _mark_as_printed(self, key: str) -> None:
        with suppress(RuntimeError):
            if self.store is not None:
                self.store.set(f"{key} printed", "")


@contextmanager
def process_group() -> Iterator[ExitReporter]:
    """Join the processes that torchrun started, if it did; only rank 0 writes to standard output.

    Each rank takes the GPU of its number on its machine. Ranks communicate by NCCL about tensors on GPUs and by gloo about
    all others.
    """
    # torchrun sets these variables; `torch.distributed.is_torchelastic_launched` reads the first one, too.
    if "TORCHELASTIC_RUN_ID" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield ExitReporter()
        return
    from torch import distributed as dist
    from torch.distributed.rendezvous import rendezvous

    # Not `Thread.start`, which waits forever for a thread that ends for want of memory before its first line.
    start_new_thread(_end_with_launcher, (os.getppid(),))
    store, rank, world_size = next(rendezvous("env://", timeout=COLLECTIVE_TIMEOUT))
    with ExitStack() as stack:
        if rank:
            nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(warnings.catch_warnings(action="ignore"))
        # DDP warns about the strides of dimensions of size 1; such strides have no meaning.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        dist.init_process_group(_backend(), store=store, rank=rank, world_size=world_size, timeout=COLLECTIVE_TIMEOUT)
        yield ExitReporter(store, rank)
        dist.destroy_process_group()


def _end_with_launcher(launcher: int) -> None:
    """End this rank when torchrun is killed; otherwise it would wait for the other ranks and keep the run folder locked."""
    # The process has another parent when its own parent has ended.
    while os.getppid() == launcher:
        time.sleep(1)
    os._exit(WRONG_INPUT)


def guard(command: Callable[[], object]) -> None:
    """Run a command; wrong input ends with one sentence on stderr and exit status 2.

    Output that cannot be written does not end the command. If somebody still waited for it, as for a file on a full disk,
    the exit status is 2 once the command is done; a reader that has closed its pipe has had enough, and the status is 0.
    Under torchrun, all its processes run the command together.
    """
    with process_group() as reporter, steady_output() as output, watch_for_interruption():
        try:
            command()
        except Exception as error:
            if not _end(error, reporter):
                raise
        except KeyboardInterrupt:
            reporter.end(interruption.SENTENCE, INTERRUPTED)
        output.flush()
        lost = output.lost()
        if lost is not None:
            reason = lost.strerror or str(lost)
            reporter.end(f"the work is done, but its output could not be written ({reason})", WRONG_INPUT)


def _end(error: Exception, reporter: ExitReporter) -> bool:
    """End the process with the sentence of an error; returns False for a fault of Pairlens, which needs a traceback."""
    try:
        status, sentence = _explain(error)
        if sentence:
            # The frames of the traceback hold the arrays that were too much.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            reporter.end(sentence, status)
    except MemoryError:
        # Not even the sentence fits; this one is made already.
        os.write(2, OUT_OF_MEMORY_LINE)
        os._exit(WRONG_INPUT)
    return False


def _explain(error: Exception) -> tuple[int, str]:
    """Return the exit status and the sentence of an error; no sentence for a fault of Pairlens."""
    if isinstance(error, InterruptedWorkError):
        return INTERRUPTED, _sentence(error)
    if was_interrupted(error):
        return INTERRUPTED, interruption.SENTENCE
    if isinstance(error, ValueError) and any(map(is_out_of_memory, _causes(error))):
        # A damaged file can ask for any amount of memory, too; only the reader of the sentence knows.
        return WRONG_INPUT, f"{_sentence(error)}; if that is not the reason, {OUT_OF_MEMORY}"
    if any(map(is_out_of_memory, (error, *_causes(error)))):
        return WRONG_INPUT, OUT_OF_MEMORY
    if isinstance(error, ValueError | OSError | FloatingPointError):
        return WRONG_INPUT, _sentence(error)
    if isinstance(error, RuntimeError) and _is_lost_connection(error):
        return WRONG_INPUT, LOST_CONNECTION
    return WRONG_INPUT, ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions that an exception was raised from, or while handling."""
    cause = error.__cause__ or error.__context__
    if cause is not None:
        yield cause
        yield from _causes(cause)


def _sentence(error: Exception) -> str:
    """Return the message of an error, without the traceback that a data-loading process puts before it."""
    text = str(error).strip()
    if "Original Traceback" in text:
        text = text.splitlines()[-1].partition(": ")[2]
    return strip_control_characters(" ".join(text.split()))


def _is_lost_connection(error: RuntimeError) -> bool:
    from torch import distributed as dist

    # gloo raises plain RuntimeErrors, which only their text tells apart.
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _backend() -> str:
    import torch

    if not torch.cuda.is_available():
        return "gloo"
    gpu = int(os.environ["LOCAL_RANK"])
    if gpu < torch.cuda.device_count():
        torch.cuda.set_device(gpu)
    return "cpu:gloo,cuda:nccl"


def _write_error_file(sentence: str) -> None:
    """Write the reason to the file from which torchrun prints its summary of the failure."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    # A lost connection is only the consequence of another rank's failure, which is the reason to report.
    if file and not sentence.endswith(LOST_CONNECTION):
        # Imported here, because it imports PyTorch.
        from pairlens.core.files import write_text

        with suppress(OSError):
            text = json.dumps({"message": sentence, "timestamp": int(time.time())})
            write_text(Path(file), text)
