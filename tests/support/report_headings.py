"""The headings that the page of a run and of a comparison must have, in their order."""

RUN_SECTIONS = [
    "Typical queries",
    "Where it goes wrong",
    "Most confused classes",
    "Hub photos",
    "Map and shape of the embeddings",
    "Training",
    "The loss by itself",
    "Configuration",
    "Commands",
    "Versions",
]
# The headings about the model of one loss name that loss after a colon; they are listed without it.
COMPARISON_SECTIONS = [
    "Typical queries",
    "Where it goes wrong",
    "Most confused classes",
    "Hub photos",
    "Map and shape of the embeddings",
    "Losses compared",
    "Learning curves",
    "Accuracy against cost",
    "The losses by themselves",
    "The study as a whole",
    "Configuration",
    "Commands",
    "Versions",
]
