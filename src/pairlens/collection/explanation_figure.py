"""The figure of why two photos match: what each place of both contributes to their similarity, in one colour scale."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from pairlens.collection.match_explanation import MatchExplanation
from pairlens.plotting.contact_sheet import FADED, INK, PAPER
from pairlens.plotting.lettering import Lettering
from pairlens.plotting.style import PULL, PUSH

# In pixels: the figure, its margins, a photo with its map, the small photo above it, and the colour bar.
WIDTH, HEIGHT, MARGIN, GAP = 900, 616, 24, 20
SIDE, THUMBNAIL, BAR = 368, 84, 18
THUMBNAIL_TOP = 76
PHOTO_TOP = THUMBNAIL_TOP + THUMBNAIL + 12
BAR_LEFT = MARGIN + 2 * (SIDE + GAP)
TITLE, TEXT, SMALL = Lettering(24), Lettering(15), Lettering(13)
# Places that raise the similarity are orange and places that lower it blue; the largest contribution is nearly opaque.
RAISES, LOWERS, OPACITY = PUSH, PULL, 0.85
# How dark the photo below the colours may be. It is grey, so that no colour of its own is taken for a contribution.
DARKNESS = 0.6
NAMES = {"S": "mean", "M": "max", "G": "generalised mean"}


def draw_explanation(explanation: MatchExplanation, names: Sequence[str]) -> Image.Image:
    """Return a picture, 900 pixels wide, of both photos and of what each of their places contributes to the similarity.

    Args:
        explanation: what `explain_match` returns.
        names: of the first and of the second photo, in any script; a long one is cut.

    Raises:
        ValueError: if there are not two names.

    >>> photo = np.zeros((64, 64, 3), dtype=np.uint8)
    >>> map_of_four = np.array([[0.5, 0.25], [0.25, -0.25]], dtype=np.float32)
    >>> draw_explanation(MatchExplanation(photo, photo, (map_of_four, map_of_four), {}, 0.75, True), ("a.jpg", "b.jpg")).size
    (900, 616)
    """
    if isinstance(names, str) or len(names) != 2:
        raise ValueError(f"an explanation shows two photos; give two names, not {names!r}")
    sheet = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    _draw_title(sheet, explanation)
    limit = max(float(np.abs(one).max()) for one in explanation.maps)
    photos = (explanation.first, explanation.second)
    for column, (photo, contributions, name) in enumerate(zip(photos, explanation.maps, names, strict=True)):
        left = MARGIN + column * (SIDE + GAP)
        _draw_heading(sheet, left, photo, name, _sums(contributions) if explanation.is_exact else ())
        sheet.paste(_overlay(photo, contributions, limit), (left, PHOTO_TOP))
    _draw_bar(sheet, limit, explanation.is_exact)
    for line, (text, color) in enumerate(zip(_footer(explanation), (INK, FADED), strict=True)):
        TEXT.draw(ImageDraw.Draw(sheet), (MARGIN, PHOTO_TOP + SIDE + 16 + 24 * line), text, color)
    return sheet


def _draw_title(sheet: Image.Image, explanation: MatchExplanation) -> None:
    canvas = ImageDraw.Draw(sheet)
    title = f"Cosine similarity {_number(explanation.score)}"
    how = (
        "the parts of each map add up to the score" if explanation.is_exact else "gradient × input: not an exact split"
    )
    TITLE.draw(canvas, (MARGIN, 18), title, INK)
    TEXT.draw(canvas, (MARGIN + TITLE.width(title) + GAP, 25), how, FADED)


def _sums(contributions: np.ndarray) -> tuple[str, ...]:
    """Return what the places of a photo add to the score, and what they take away from it."""
    positive, negative = contributions[contributions > 0].sum(), contributions[contributions < 0].sum()
    return f"raise the cosine: {_number(positive, '+')}", f"lower the cosine: {_number(negative, '+')}"


def _draw_heading(sheet: Image.Image, left: int, photo: np.ndarray, name: str, lines: Sequence[str]) -> None:
    """Draw a photo in its own colours, and beside it its name and the sums of its map."""
    small = Image.fromarray(photo).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    sheet.paste(small, (left, THUMBNAIL_TOP))
    canvas = ImageDraw.Draw(sheet)
    beside = left + THUMBNAIL + 12
    TEXT.draw(canvas, (beside, THUMBNAIL_TOP + 6), TEXT.shortened(name, SIDE - THUMBNAIL - 12), INK)
    for number, (line, color) in enumerate(zip(lines, (RAISES, LOWERS), strict=False)):
        top = THUMBNAIL_TOP + 34 + 24 * number
        canvas.rectangle((beside, top + 3, beside + 11, top + 14), fill=color)
        TEXT.draw(canvas, (beside + 18, top), line, FADED)


def _overlay(photo: np.ndarray, contributions: np.ndarray, limit: float) -> Image.Image:
    """Return a grey photo at display size with the colours of its map, which is made smooth."""
    grey = ImageOps.autocontrast(Image.fromarray(photo).convert("L"))
    enlarged = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS), dtype=np.float32)
    light = 255 - DARKNESS * (255 - enlarged)
    # As floats, so that small contributions do not disappear before they are coloured.
    smooth = Image.fromarray(contributions.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return Image.fromarray(_coloured(light, np.asarray(smooth), limit))


def _coloured(paper: np.ndarray, values: np.ndarray, limit: float) -> np.ndarray:
    """Return a (height, width) grey picture under the colours of values, the more opaque the farther from zero."""
    # Smoothing may exceed the largest value a little.
    strength = np.clip(np.abs(values) / (limit or 1.0), 0, 1)[..., None] * OPACITY
    colors = np.where(values[..., None] > 0, _rgb(RAISES), _rgb(LOWERS))
    return ((1 - strength) * paper[..., None] + strength * colors).round().astype(np.uint8)


def _rgb(color: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(color[1:]), dtype=np.uint8).astype(np.float32)


def _draw_bar(sheet: Image.Image, limit: float, is_exact: bool) -> None:
    """Draw the colour scale of both maps, with numbers where the maps are exact."""
    canvas = ImageDraw.Draw(sheet)
    values = np.linspace(limit, -limit, SIDE, dtype=np.float32)[:, None].repeat(BAR, axis=1)
    sheet.paste(Image.fromarray(_coloured(np.full(values.shape, 255.0), values, limit)), (BAR_LEFT, PHOTO_TOP))
    canvas.rectangle((BAR_LEFT, PHOTO_TOP, BAR_LEFT + BAR - 1, PHOTO_TOP + SIDE - 1), outline=FADED)
    for step in range(5):
        share = 1 - step / 2
        y = PHOTO_TOP + 7 + (SIDE - 15) * step / 4
        # The scale of a map that is not exact has no unit.
        text = _number(share * limit, "+", digits=4) if is_exact else _number(share, "+", digits=1)
        SMALL.draw(canvas, (BAR_LEFT + BAR + 6, y), text, INK, anchor="lm")
    for line, text in enumerate(("cosine", "per place") if is_exact else ("relative", "scale")):
        SMALL.draw(canvas, (BAR_LEFT, PHOTO_TOP - 40 + 18 * line), text, FADED)


def _number(value: float, sign: str = "", digits: int = 3) -> str:
    """Return a number with a proper minus sign, and with a plus sign if `sign` is "+"; 0 for what is rounded to zero."""
    text = f"{value:{sign}.{digits}f}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def _footer(explanation: MatchExplanation) -> tuple[str, str]:
    """Return two lines: the share of each descriptor, and what the colours mean."""
    rows, columns = explanation.maps[0].shape
    scale = f"{rows} × {columns} places in each photo, one colour scale for both"
    if not explanation.is_exact:
        return (
            "The colours show where a change would act on the similarity; they are no parts of the score.",
            f"{scale}.",
        )
    parts = explanation.by_descriptor.items()
    shares = " + ".join(f"{letter} ({NAMES[letter]}) {_number(part.share)}" for letter, part in parts)
    descriptors = f"By descriptor: {shares} = {_number(explanation.score)}"
    return descriptors, f"{scale}: orange raises the similarity, blue lowers it."
