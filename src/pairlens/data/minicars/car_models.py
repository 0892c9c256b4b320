"""The invented car models: proportions, details and names, each determined by the model number."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

Body = Literal[
    "city", "hatchback", "saloon", "estate", "coupe", "roadster", "suv", "pickup", "van", "beetle", "limousine", "wedge"
]
Rim = Literal["spokes", "split", "disc", "star", "turbine", "cap"]
Lamp = Literal["round", "slit", "almond", "block", "wedge"]
Tail = Literal["tall", "block", "strip", "round", "hook"]
Grille = Literal["slats", "bar", "mouth", "none"]
Bumper = Literal["painted", "dark", "chrome"]
Handle = Literal["bar", "flap", "chrome"]
Pillar = Literal["painted", "black"]
Rear = Literal["none", "lip", "wing", "roof"]

BODIES: tuple[Body, ...] = get_args(Body)
CLASSES: int = 96
_SEED = 20240607
_MAKERS = (
    "Orla", "Venn", "Tamsin", "Norrby", "Halden", "Mirelle", "Zephra", "Ilmar",
    "Bexen", "Ostra", "Lunaro", "Quillon", "Solenne", "Tarn", "Vireo", "Pellic",
)  # fmt: skip
_WORDS = """
Brisel Fenn Odel Mistra Calla Runo Sorrel Jura Tavi Peony Kelda Arno Ombra Lisse Dovre Nalu Ember Pico Savanne Grove
Hexel Ripple Turva Moor Cirro Banyan Wren Aster Falla Isola Quarz Lumen Nettle Orbit Primrose Reva Sabrel Tinto
Umbra Vale Willow Xeno Yarrow Zinnia Althea Birk Cove Dune Elder Fjell Gale Heron Iris Juno Kite Linden Maris Novel
Olive Pebble Quince Rowan Sedge Thyme Ursa Verve Wisp Yola Zephyrel Amber Bramble Clover Drift Eider Flint Ginkgo
Hazel Indra Jasper Koral Lorrel Mallow Nimba Onyx Pine Rill Sirrel Tansy Ulmo Velo Wharf Alder Basil Cedar Dellow
Ebbe
"""


class _Form(NamedTuple):
    """Typical proportions of a body type: lengths and heights in metres, positions along the car as shares of its length.

    The names are those of `CarModel`.
    """

    length: float
    height: float
    wheelbase: float
    front: float
    clearance: float
    tyre: float
    nose: float
    cowl_x: float
    cowl_y: float
    screen_x: float
    roof_x: float
    deck_x: float
    deck_y: float
    tail_y: float
    roof_drop: float
    glass_end: float


_FORMS: dict[Body, _Form] = {
    "city": _Form(3.35, 1.48, 2.28, 0.55, 0.20, 0.31, 0.80, 0.22, 1.00, 0.41, 0.87, 0.970, 0.98, 0.93, 0.07, 0.20),
    "hatchback": _Form(4.00, 1.47, 2.52, 0.76, 0.20, 0.34, 0.78, 0.28, 1.00, 0.45, 0.82, 0.955, 1.02, 0.96, 0.08, 0.30),
    "saloon": _Form(4.50, 1.45, 2.72, 0.82, 0.20, 0.34, 0.76, 0.28, 0.99, 0.43, 0.68, 0.835, 1.04, 0.98, 0.05, 0.58),
    "estate": _Form(4.50, 1.48, 2.72, 0.82, 0.20, 0.34, 0.77, 0.28, 1.00, 0.43, 0.89, 0.965, 1.03, 0.95, 0.07, 0.12),
    "coupe": _Form(4.30, 1.33, 2.58, 0.82, 0.17, 0.35, 0.70, 0.33, 0.92, 0.49, 0.66, 0.905, 0.97, 0.92, 0.05, 0.50),
    "roadster": _Form(3.85, 1.24, 2.36, 0.74, 0.17, 0.34, 0.70, 0.37, 0.88, 0.47, 0.60, 0.760, 0.91, 0.86, 0.05, 0.30),
    "suv": _Form(4.40, 1.72, 2.66, 0.80, 0.30, 0.39, 1.00, 0.27, 1.18, 0.41, 0.86, 0.960, 1.20, 1.10, 0.06, 0.22),
    "pickup": _Form(4.95, 1.76, 3.02, 0.84, 0.31, 0.40, 1.02, 0.26, 1.18, 0.38, 0.58, 0.625, 1.15, 1.13, 0.04, 0.10),
    "van": _Form(4.60, 1.94, 2.85, 0.78, 0.22, 0.34, 0.98, 0.15, 1.20, 0.29, 0.94, 0.985, 1.20, 1.05, 0.05, 0.10),
    "beetle": _Form(3.85, 1.50, 2.35, 0.74, 0.21, 0.34, 0.66, 0.30, 1.00, 0.41, 0.62, 0.880, 0.86, 0.60, 0.06, 0.42),
    "limousine": _Form(5.50, 1.47, 3.55, 0.86, 0.20, 0.35, 0.80, 0.26, 1.01, 0.37, 0.74, 0.860, 1.05, 1.00, 0.04, 0.55),
    "wedge": _Form(4.25, 1.14, 2.50, 0.88, 0.14, 0.35, 0.50, 0.27, 0.76, 0.47, 0.60, 0.880, 0.87, 0.83, 0.04, 0.36),
}
# The largest relative deviation of each proportion from the typical one.
_SPREAD = _Form(0.08, 0.06, 0.04, 0.1, 0.2, 0.1, 0.08, 0.1, 0.03, 0.06, 0.05, 0.012, 0.03, 0.05, 0.6, 0.4)


@dataclass(frozen=True)
class CarModel:
    """The shape of one car model: lengths and heights in metres, positions along the car as shares of its length.

    The cowl is the lower end of the windscreen, the screen its upper end, the deck the lower end of the rear window, the
    belt the lower edge of the side windows.
    """

    body: Body
    length: float
    height: float
    wheelbase: float
    front: float  # overhang before the front axle
    clearance: float
    tyre: float
    nose: float
    cowl_x: float
    cowl_y: float
    screen_x: float
    roof_x: float
    deck_x: float
    deck_y: float
    tail_y: float
    roof_drop: float
    glass_end: float  # end of the side windows, as a share of the way from the end of the roof to the deck
    softness: float
    bonnet_bow: float
    belt_rise: float
    roof_rail: float  # height of the painted metal above the side windows
    kink: float
    crease: float
    crease_rise: float
    sill: float
    cladding: float
    pillar_width: float
    pillar_lean: float
    rim_size: float
    spoke_width: float
    lamp_size: float
    tail_size: float
    spokes: int
    doors: int
    rim: Rim
    lamp: Lamp
    tail: Tail
    grille: Grille
    bumper: Bumper
    handle: Handle
    pillar: Pillar
    rear: Rear
    chrome: bool
    rails: bool
    vent: bool
    strip: bool
    fuel_cap: bool
    mast: bool


@cache
def model_of(index: int) -> CarModel:
    """Return the car model of a class number.

    Models whose numbers differ by a multiple of twelve have the same body type and different proportions, so classes
    must be told apart by their shape in detail.

    Raises:
        ValueError: if there is no such class.

    >>> model_of(2).body
    'saloon'
    """
    _check(index)
    # The order of the random numbers defines the models, so no call may be added, removed or moved.
    rng = np.random.default_rng([_SEED, index])
    body = BODIES[index % len(BODIES)]
    typical = np.array(_FORMS[body])
    form = typical * (1 + np.array(_SPREAD) * rng.uniform(-1, 1, len(typical)))
    proportions = {name: round(float(value), 4) for name, value in zip(_Form._fields, form, strict=True)}
    fields: dict[str, Any] = {"body": body, **proportions, **_lines(rng, body), **_details(rng, body)}
    return CarModel(**fields)


def class_name(index: int) -> str:
    """Return the name of a class: an invented maker, an invented model name and the body type.

    Raises:
        ValueError: if there is no such class.

    >>> class_name(0)
    'Orla Brisel City'
    """
    _check(index)
    word = _WORDS.split()[index]
    # A stride of 5 gives neighbouring models different makers; the second term shifts each round of 16 makers.
    maker = _MAKERS[(index * 5 + index // 16) % len(_MAKERS)]
    body = BODIES[index % len(BODIES)]
    return f"{maker} {word} {'SUV' if body == 'suv' else body.title()}"


def _check(index: int) -> None:
    if not 0 <= index < CLASSES:
        raise ValueError(f"there is no car model {index}; choose one from 0 to {CLASSES - 1}")


def _lines(rng: np.random.Generator, body: Body) -> dict[str, float]:
    """Return the random numbers that every body type has."""
    rugged = body in ("suv", "pickup")
    ranges = {
        "softness": (0.55, 1.0) if body != "wedge" else (0.2, 0.5),
        "bonnet_bow": (0.0, 0.07),
        "belt_rise": (-0.01, 0.09),
        "roof_rail": (0.07, 0.13),
        "kink": (0.0, 0.16),
        "crease": (0.35, 0.8),
        "crease_rise": (-0.03, 0.12),
        "sill": (0.05, 0.14) if not rugged else (0.10, 0.2),
        "cladding": (-0.06, 0.05) if not rugged else (0.02, 0.1),
        "pillar_width": (0.05, 0.15),
        "pillar_lean": (-0.02, 0.12),
        "rim_size": (0.60, 0.76),
        "spoke_width": (0.5, 1.0),
        "lamp_size": (0.75, 1.3),
        "tail_size": (0.75, 1.35),
    }
    return {name: round(float(rng.uniform(*span)), 4) for name, span in ranges.items()}


def _details(rng: np.random.Generator, body: Body) -> dict[str, object]:
    """Return a random kind of each part, of those that suit the body type."""

    def choose(kinds: tuple[str, ...]) -> str:
        return str(rng.choice(kinds))

    classic = body == "beetle"
    two_doors = body in ("coupe", "roadster", "beetle", "wedge") or (body in ("city", "pickup") and rng.random() < 0.5)
    return {
        "spokes": int(rng.integers(4, 11)),
        "doors": 2 if two_doors else 4,
        "rim": choose(("cap", "disc", "spokes") if classic else get_args(Rim)),
        "lamp": "round" if classic else choose(get_args(Lamp)),
        "tail": choose(("round", "tall") if classic else get_args(Tail)),
        "grille": "none" if classic else choose(get_args(Grille)),
        "bumper": "chrome" if classic else choose(get_args(Bumper)),
        "handle": choose(get_args(Handle)),
        "pillar": choose(get_args(Pillar)),
        "rear": _rear(rng, body),
        "chrome": bool(rng.random() < 0.4),
        "rails": body in ("estate", "suv", "van") and bool(rng.random() < 0.55),
        "vent": body in ("coupe", "wedge", "roadster", "suv") and bool(rng.random() < 0.6),
        "strip": bool(rng.random() < 0.3),
        "fuel_cap": bool(rng.random() < 0.6),
        "mast": body != "roadster" and bool(rng.random() < 0.3),
    }


def _rear(rng: np.random.Generator, body: Body) -> str:
    """Return a random spoiler that suits the body type."""
    match body:
        # "roof" twice: two of three have one.
        case "city" | "hatchback" | "estate" | "suv":
            return str(rng.choice(["none", "roof", "roof"]))
        case "coupe" | "wedge":
            return str(rng.choice(["none", "lip", "wing"]))
        case "saloon" | "roadster":
            return str(rng.choice(["none", "lip"]))
        case _:
            return "none"
