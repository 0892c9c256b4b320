"""The construction lines of a car model."""

import numpy as np

from pairlens.data.drawing.models import CarModel
from pairlens.data.drawing.shapes import Knot, smooth


class Frame:
    """The construction lines of a car model, in metres, from which its parts are placed."""

    def __init__(self, model: CarModel) -> None:
        """Work out the outline, the roof line and the belt line."""
        m, span = model, model.length
        self.model = m
        self.cowl, self.screen = m.cowl_x * span, m.screen_x * span
        self.roof, self.deck = m.roof_x * span, m.deck_x * span
        self.axles = (m.front, m.front + m.wheelbase)
        self.roof_y = m.height - m.roof_drop
        self.belt_y = m.cowl_y + 0.01
        self.crown = (0.5 * (self.screen + self.roof), m.height + 0.02)
        self.outline = smooth(*self._knots())
        self._skyline = self._upper(self.outline)

    def belt(self, x: float) -> float:
        """Give the height of the windows' lower edge at x."""
        return self.belt_y + self.model.belt_rise * (x - self.cowl) / (self.deck - self.cowl)

    def top(self, x: float) -> float:
        """Give the height of the outline at x."""
        return float(np.interp(x, self._skyline[:, 0], self._skyline[:, 1]))

    def _knots(self) -> list[Knot]:
        m, soft = self.model, self.model.softness
        nose = [
            (0.10, m.clearance, 0.25),
            (0.0, m.clearance + 0.12, 0.4 * soft),
            (-0.01, 0.6 * m.nose, 0.4),
            (0.05, m.nose - 0.06, 0.45 * soft),
            (0.22, m.nose + 0.01, 0.45 * soft),
            (0.55 * self.cowl + 0.1, 0.45 * m.nose + 0.55 * m.cowl_y + m.bonnet_bow, 0.45),
        ]
        tail = [
            (m.length - 0.03, m.tail_y, 0.4 * soft),
            (m.length + 0.01, 0.62 * m.tail_y, 0.35),
            (m.length - 0.01, m.clearance + 0.16, 0.4 * soft),
            (m.length - 0.12, m.clearance + 0.02, 0.25),
        ]
        return nose + self._cabin() + tail

    def _cabin(self) -> list[Knot]:
        m = self.model
        if m.body == "roadster":
            dip = m.cowl_y - 0.03
            return [(self.cowl, m.cowl_y, 0.3), (self.screen, dip, 0.4), (self.deck, m.deck_y + 0.02, 0.45)]
        roof = [
            (self.cowl, m.cowl_y, 0.16),
            (self.screen, m.height - 0.6 * m.roof_drop, 0.36),
            (*self.crown, 0.5),
            (self.roof, self.roof_y, 0.38),
        ]
        return [*roof, (self.deck, m.deck_y, 0.08 if m.body == "pickup" else 0.25)]

    def _upper(self, outline: np.ndarray) -> np.ndarray:
        """Keep the outline's upper edge as a function of x."""
        upper = outline[outline[:, 1] > 0.62 * self.model.nose]
        return upper[np.argsort(upper[:, 0], kind="stable")]
