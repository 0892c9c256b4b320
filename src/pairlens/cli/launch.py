"""Commands, also on the processes that torchrun starts: these work together, speak with one voice, and end together."""

import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import NoReturn

import torch
from torch import distributed as dist
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from pairlens.core.untrusted import strip_control_characters

# A rank that dies is noticed at once, by its closed connection. This is for one that hangs; nobody works alone for so long.
PATIENCE = timedelta(minutes=10)
# For another rank to finish its sentence, before torchrun ends all.
MOMENT = timedelta(seconds=5)
WRONG_INPUT, INTERRUPTED = 2, 130
NO_ROOM = "there is not enough memory; lower --batch_size, --image_size or --memory_size, or give --micro_batch"
LOST = "another rank has ended, so this one ends too; what that one says is the reason"


@dataclass(frozen=True, eq=False)
class ExitReporter:
    """How a process says why it ends.

    Attributes:
        store: what the ranks share; None for a process that works alone.
        rank: the number of this process.
    """

    store: Store | None = None
    rank: int = 0

    def end(self, sentence: str, status: int) -> NoReturn:
        """Print one sentence on stderr and end with a status; ranks that say the same say it once."""
        if self.store is None:
            print(f"pairlens: {sentence}", file=sys.stderr)  # noqa: T201
            sys.exit(status)
        key = hashlib.sha256(sentence.encode()).hexdigest()
        if self._is_first(key):
            _leave_word(f"rank {self.rank}: {sentence}")
            print(f"pairlens: rank {self.rank}: {sentence}", file=sys.stderr, flush=True)  # noqa: T201
            self._let_others_go(key)
        sys.stdout.flush()
        # At once: to end in good order would wait for ranks that wait for this one.
        os._exit(status)

    def _is_first(self, key: str) -> bool:
        with suppress(RuntimeError):
            if self.store is not None and self.store.add(key, 1) > 1:
                # torchrun ends all ranks when the first ends, and that must not be before the sentence is out.
                self.store.wait([f"{key} said"], MOMENT)
                return False
        return True

    def _let_others_go(self, key: str) -> None:
        with suppress(RuntimeError):
            if self.store is not None:
                self.store.set(f"{key} said", "")


@contextmanager
def together() -> Iterator[ExitReporter]:
    """Work together with the other processes that torchrun started, if it did; only rank 0 writes to standard output.

    Each rank takes the GPU of its number on its machine; ranks speak NCCL about what is on GPUs and gloo about the rest.
    """
    if not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield ExitReporter()
        return
    Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    store, rank, world = next(rendezvous("env://", timeout=PATIENCE))
    with ExitStack() as stack:
        if rank:
            stack.enter_context(redirect_stdout(stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))))
            stack.enter_context(warnings.catch_warnings(action="ignore"))
        # It is about the strides of axes of length one, which are none.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        dist.init_process_group(_backend(), store=store, rank=rank, world_size=world, timeout=PATIENCE)
        yield ExitReporter(store, rank)
        dist.destroy_process_group()


def _leave_with(launcher: int) -> None:
    """End this rank when torchrun itself is killed: it would wait for the others, and hold the folder of the run."""
    while os.getppid() == launcher:
        time.sleep(1)
    os._exit(WRONG_INPUT)


def guard(command: Callable[[], object]) -> None:
    """Run a command and turn what is wrong with its input into one sentence and exit status 2.

    Under torchrun all its processes run it together.
    """
    with together() as voice:
        try:
            command()
        except BrokenPipeError:
            # Whoever read our output, such as head, has seen enough. What is still buffered must not be tried again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (torch.OutOfMemoryError, MemoryError):
            voice.end(NO_ROOM, WRONG_INPUT)
        except (ValueError, OSError, FloatingPointError) as error:
            voice.end(_sentence(error), WRONG_INPUT)
        except RuntimeError as error:
            if "can't allocate memory" in str(error):
                voice.end(NO_ROOM, WRONG_INPUT)
            if not _is_loss(error):
                raise
            voice.end(LOST, WRONG_INPUT)
        except KeyboardInterrupt:
            voice.end("interrupted", INTERRUPTED)


def _sentence(error: Exception) -> str:
    """Return what an error says, without the traceback that a loading process puts before it."""
    text = str(error).strip()
    if "Original Traceback" in text:
        text = text.splitlines()[-1].partition(": ")[2]
    return strip_control_characters(" ".join(text.split()))


def _is_loss(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _backend() -> str:
    if not torch.cuda.is_available():
        return "gloo"
    gpu = int(os.environ["LOCAL_RANK"])
    if gpu < torch.cuda.device_count():
        torch.cuda.set_device(gpu)
    return "cpu:gloo,cuda:nccl"


def _leave_word(sentence: str) -> None:
    """Write the reason where torchrun looks for it, so that its last words name it."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file and not sentence.endswith(LOST):
        with suppress(OSError):
            Path(file).write_text(json.dumps({"message": sentence, "timestamp": int(time.time())}), encoding="utf-8")
