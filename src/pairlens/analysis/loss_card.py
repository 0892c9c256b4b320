"""One row of the table of all losses: its cells, and how it is written in Markdown."""

from dataclasses import dataclass, fields

from pairlens.losses.protocols import possible_sources, weighs_pairs


@dataclass(frozen=True)
class LossCard:
    """One row of the table.

    Attributes:
        loss: the class of the loss.
        formula: the loss of one anchor, unless the formula says otherwise.
        pushes: which pairs it moves.
        cost: what its time grows with: B photos per batch, P positives per anchor, C classes, K centres per class.
        use: when to use it.
        axis: what the pair weights are a function of.
    """

    loss: type
    formula: str
    pushes: str
    cost: str
    use: str
    axis: str = "similarity of the pair"

    @property
    def name(self) -> str:
        """The name of the class."""
        return self.loss.__name__

    @property
    def parameters(self) -> str:
        """Its hyper-parameters with their defaults."""
        defaults = ((f.name, f.default) for f in fields(self.loss))
        return ", ".join(f"{name} {d:.4g}" if isinstance(d, float) else f"{name} {d}" for name, d in defaults) or "none"

    @property
    def references(self) -> str:
        """The sources of references that it can be used with."""
        return ", ".join(possible_sources(self.loss))

    @property
    def figure(self) -> str:
        """The file name of the figure with its weight curve; "" for a loss of embeddings whose pairs have no weights."""
        return f"{self.name.lower()}.svg" if weighs_pairs(self.loss()) else ""

    def markdown(self, figures: str) -> str:
        """Return its row of the table in docs/losses.md; `figures` is the folder of the weight curves."""
        cells = [f"`{self.name}`", self.formula, self.parameters, self.pushes, self.cost, self.use, self.references]
        # An upright stroke would end the cell of a Markdown table.
        picture = f"![weights of {self.name}]({figures}/{self.figure})" if self.figure else "none"
        return "| " + " | ".join([cell.replace("|", "\\|") for cell in cells] + [picture]) + " |"


COLUMNS = ("loss", "formula for one anchor", "parameters", "where it pushes", "cost", "when to use it", "references")
HEADER = f"| {' | '.join(COLUMNS)} | pair weights |\n|{'---|' * (len(COLUMNS) + 1)}"
