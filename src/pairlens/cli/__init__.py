"""The command line: one module per group of commands."""

from pairlens.cli.main import main

__all__ = ["main"]
