"""The command line."""

from pairlens.cli.main import main

__all__ = ["main"]
