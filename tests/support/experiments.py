"""Experiments for tests, with settings by their option names."""

from pairlens.core.settings import with_settings
from pairlens.experiments.experiment import Experiment


def changed(experiment: Experiment, **settings) -> Experiment:
    """An experiment with other settings, by their option names."""
    return with_settings(experiment, settings)
