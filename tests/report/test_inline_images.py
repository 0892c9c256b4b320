import base64
import re

from matplotlib.figure import Figure

from pairlens.plotting.style import save
from pairlens.report.inline_images import inline_svg


def test_repeated_styles_are_classes_and_every_element_keeps_its_style(tmp_path):
    file = tmp_path / "dots.svg"
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.scatter(range(300), range(300), color=["#0072b2", "#d55e00"] * 150, alpha=0.5)
    save(figure, file)
    written = file.read_text(encoding="utf-8")
    _, _, encoded = inline_svg(file).uri.partition("base64,")
    inlined = base64.b64decode(encoded).decode()
    assert len(inlined) < 0.7 * len(written)
    rules = dict(re.findall(r"\.(s\d+)\{([^}]*)\}", inlined))
    back = re.sub(r' class="(s\d+)"', lambda found: f' style="{rules[found[1]]}"', inlined)
    assert re.sub(r"<defs><style>.*?</style>", "<defs>", back, count=1) == written


def test_a_name_that_looks_like_a_style_stays_a_name(tmp_path):
    name = ' style="fill: red" <g style="fill: red"/>'
    file = tmp_path / "names.svg"
    figure = Figure(figsize=(4, 3))
    figure.subplots().set(title=name, xlabel=name, ylabel=name)
    save(figure, file)
    inlined = base64.b64decode(inline_svg(file).uri.partition("base64,")[2]).decode()
    assert inlined.count(name.replace("<", "&lt;").replace(">", "&gt;")) == 3
    assert "fill: red}" not in inlined
