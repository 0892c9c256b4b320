"""The command line: one module per group of commands."""

from pairlens.core.waiting_threads import let_waiting_threads_sleep

# Here, because the modules of some commands import PyTorch, which reads the setting once.
let_waiting_threads_sleep()
