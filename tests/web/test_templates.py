import hashlib
import re
from pathlib import Path

import pytest

from ecluse.application import folders
from ecluse.web import templating

CORE = sorted((templating.HERE / "templates").glob("*.html"))
TEMPLATES = CORE + sorted(path for folder in folders("templates").values() for path in folder.glob("*.html"))


def name_of(template: Path) -> str:
    """The name by which pages ask for a template."""
    return template.name if template in CORE else f"{template.parents[1].name}/{template.name}"


STATIC = templating.HERE / "static"
SOURCE = templating.HERE.parent


@pytest.mark.parametrize("template", TEMPLATES, ids=name_of)
def test_every_template_compiles(template: Path) -> None:
    templating.environment().get_template(name_of(template))


@pytest.mark.parametrize("template", TEMPLATES, ids=name_of)
def test_templates_carry_nothing_the_content_policy_refuses(template: Path) -> None:
    source = template.read_text()
    assert not re.search(
        r"\sstyle=|<style|\son\w+=|href=\"javascript:|https?://(?!www\.w3\.org/2000/svg)", source
    )
    for tag in re.findall(r"<script[^>]*>", source):
        assert 'src="{{ static(' in tag or 'type="application/json"' in tag


def test_no_template_breaks_a_line_where_that_would_be_seen() -> None:
    """`web/whitespace.py` takes indentation out everywhere, within these elements too."""
    for template in SOURCE.rglob("*.html"):
        for text in re.findall(r"<(?:pre|textarea)[^>]*>(.*?)</", template.read_text(), re.DOTALL):
            assert "\n" not in re.sub(r"{{.*?}}", "", text, flags=re.DOTALL), template.name


def test_a_page_has_line_breaks_and_values_but_no_indentation() -> None:
    source = """
      <ul
        class="files  plain"
        {% if open %}data-open{% endif %}
        {% if not open %}hidden{% endif %}
      >
        {% for name in names %}
          <li title="{{ name }}">{{ name }}  <b>one</b>
            two\N{NO-BREAK SPACE} !</li>
        {% endfor %}
      </ul>"""
    page = templating.environment().from_string(source).render(open=True, names=["a  b\n c"])
    assert page.split("\n", 1)[1] == (
        '<ul class="files  plain" data-open>\n <li title="a  b\n c">a  b\n c <b>one</b>\ntwo\N{NO-BREAK SPACE} !</li>\n </ul>'
    )


def test_vendored_files_are_what_their_list_says() -> None:
    listed = dict(
        re.findall(r"^\| `([^`]+)` .*`([0-9a-f]{64})` \|$", (STATIC / "VENDORED.md").read_text(), re.M)
    )
    kept = {path.name for path in (STATIC / "vendor").iterdir() if path.suffix in (".js", ".mjs", ".css")}
    assert listed.keys() == kept
    for name, digest in listed.items():
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == digest


def test_every_static_file_a_page_names_exists() -> None:
    named = {name for path in TEMPLATES for name in re.findall(r'static\("([^"]+)"\)', path.read_text())}
    assert "app.css" in named
    for name in named:
        assert templating.static_url(name).startswith(f"/static/{name}?v=")


def test_every_static_file_is_asked_for_by_its_digest() -> None:
    for template in TEMPLATES:
        assert "/static/" not in template.read_text(), template.name
    for stylesheet in STATIC.glob("*.css"):
        for address in re.findall(r'url\("?([^")]+)', stylesheet.read_text()):
            assert f"/static/{address}" == templating.static_url(address.partition("?")[0])


def test_every_icon_a_page_draws_is_in_the_sheet() -> None:
    sheet = templating.environment().get_template("_icons.html").render()
    drawn = {name for path in TEMPLATES for name in re.findall(r'icon\("(\w+)"\)', path.read_text())}
    assert {name for name in drawn if f'id="i-{name}"' not in sheet} == set()


def test_text_meets_the_contrast_it_needs_in_both_themes() -> None:
    for theme in (0, 1):
        colours = tokens(theme)
        for ink, grounds, least in CONTRASTS:
            for ground in grounds:
                ratio = contrast(colours[ink], colours[ground])
                assert ratio >= least, (ink, ground, theme, ratio)


CONTRASTS: list[tuple[str, tuple[str, ...], float]] = [
    ("ink", ("paper", "sheet", "sunk"), 7),
    ("ink-2", ("paper", "sheet", "sunk"), 4.5),
    ("eau", ("paper", "sheet", "sunk", "eau-wash"), 4.5),
    ("on-eau", ("eau", "eau-hover"), 4.5),
    ("ok", ("ok-wash", "sheet"), 4.5),
    ("warn", ("warn-wash", "sheet"), 4.5),
    ("bad", ("bad-wash", "sheet"), 4.5),
    ("edge", ("paper", "sheet"), 3),
    ("c1", ("sheet",), 3),
    ("c3", ("sheet",), 3),
    ("c6", ("sheet",), 3),
    ("t-fluide", ("sheet",), 3),
    ("t-pre", ("sheet",), 3),
    ("t-sature", ("sheet",), 3),
    ("t-bloque", ("sheet",), 3),
    ("t-inconnu", ("sheet",), 3),
    ("r-low", ("sheet",), 3),
    ("r-medium", ("sheet",), 3),
    ("r-high", ("sheet",), 3),
]


def tokens(theme: int) -> dict[str, tuple[float, float, float]]:
    """The colours of one theme (0 light, 1 dark) as linear sRGB."""
    found = re.findall(
        r"--([\w-]+): light-dark\((oklch\([^)]*\)), (oklch\([^)]*\))\)", (STATIC / "app.css").read_text()
    )
    return {name: linear((light, dark)[theme]) for name, light, dark in found}


def linear(oklch: str) -> tuple[float, float, float]:
    """An oklch() colour as linear sRGB (Ottosson, 2020)."""
    import math

    lightness, chroma, hue = (float(x) for x in re.findall(r"[\d.]+", oklch)[:3])
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """The contrast ratio of WCAG 2.2."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: tuple[float, float, float]) -> float:
    return sum(w * min(1, max(0, part)) for w, part in zip((0.2126, 0.7152, 0.0722), colour, strict=True))
