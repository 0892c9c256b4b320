"""A command run in this process, and options that make a run take a second."""

from pairlens.cli.main import main

QUICK = (
    "--data_name bars --backbone_type test_resnet --gd-config SM --feature_dim 16 --batch-size 12 --per_class 3 "
    "--num_epochs 1 --weights none --stride none --freeze_bn none --image_size 32 --device cpu --workers 0"
).split()


def run(*words):
    """Run a command; returns its exit status."""
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        return stop.code or 0
    return 0
