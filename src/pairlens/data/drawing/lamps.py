"""Headlamps and tail lamps of a car model, cut off by its outline."""

from pairlens.data.drawing.frame import Frame
from pairlens.data.drawing.shapes import Shape, box, circle, path, smooth


def headlamp(f: Frame) -> list[Shape]:
    """The front lamp, below the bonnet's edge."""
    size, y = f.model.lamp_size, f.model.nose - 0.12
    match f.model.lamp:
        case "round":
            x = 0.2 if f.model.body == "beetle" else 0.15 * size
            return [Shape("chrome", circle(x, y, 0.125 * size)), Shape("lamp", circle(x, y, 0.10 * size))]
        case "slit":
            slit = path((-0.2, y - 0.01), (0.5 * size, y + 0.06), (0.52 * size, y + 0.1), (-0.2, y + 0.06))
            return [Shape("lamp", slit)]
        case "almond":
            lower = (-0.2, y - 0.06, 0.1), (0.16, y - 0.08, 0.4), (0.52 * size, y + 0.1, 0.2)
            return [Shape("lamp", smooth(*lower, (0.1, y + 0.09, 0.4), (-0.2, y + 0.04, 0.1)))]
        case "block":
            low, edge = y - 0.1 * size, 0.2 * size
            signal = Shape("signal", box(edge, low, edge + 0.1, y + 0.07, soft=0.05))
            return [Shape("lamp", box(-0.2, low, edge, y + 0.07, soft=0.05)), signal]
        case "wedge":
            low = y - 0.12 * size
            return [Shape("lamp", path((-0.2, low), (0.1, low), (0.42 * size, y + 0.1), (-0.2, y + 0.06)))]


def tail_lamp(f: Frame) -> list[Shape]:
    """The rear lamp, below the tail's edge, or up the pillar of a car without a boot."""
    end, size, y = f.model.length, f.model.tail_size, f.model.tail_y - 0.12
    match f.model.tail:
        case "tall":
            high = f.belt(f.deck) + 0.25 if f.model.deck_x > 0.93 else y + 0.06
            return [Shape("tail", box(end - 0.16 * size, y - 0.22 * size, end + 0.2, high, soft=0.08))]
        case "block":
            edge, low = end - 0.28 * size, y - 0.08 * size
            lens = Shape("lens", box(edge, low, edge + 0.12 * size, y + 0.07, soft=0.05))
            return [Shape("tail", box(edge, low, end + 0.2, y + 0.07, soft=0.05)), lens]
        case "strip":
            edge = end - 0.5 * size
            strip = path((edge, y + 0.05), (end + 0.2, y - 0.02), (end + 0.2, y + 0.06), (edge, y + 0.08))
            return [Shape("tail", strip)]
        case "round":
            x = end - 0.11
            return [Shape("chrome", circle(x, y - 0.04, 0.1 * size)), Shape("tail", circle(x, y - 0.04, 0.08 * size))]
        case "hook":
            left = (end - 0.42 * size, y + 0.06, 0.1), (end - 0.14, y - 0.16 * size, 0.2)
            return [Shape("tail", smooth(*left, (end + 0.2, y - 0.18 * size, 0.1), (end + 0.2, y + 0.06, 0.1)))]
