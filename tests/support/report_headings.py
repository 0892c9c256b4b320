"""The headings that the page of a run and of a comparison must have."""

RUN_SECTIONS = [
    "Retrieval",
    "Training",
    "The shape of the space",
    "Where it goes wrong",
    "Worst queries",
    "Most confused classes",
    "Hub photos",
    "The loss by itself",
    "Configuration",
    "Commands",
    "Versions",
]
COMPARISON_SECTIONS = [
    "Losses compared",
    "Paired differences",
    "Learning curves",
    "Accuracy against cost",
    "Worst queries",
    "Most confused classes",
    "Hub photos",
    "The losses by themselves",
    "Configuration",
    "Commands",
    "Versions",
]
