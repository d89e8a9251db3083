from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from onnxslim.errors import InputError, SetupError
from onnxslim.evaluation.inner import LayerError
from onnxslim.report import node_data
from onnxslim.report.page.layering import LISTED
from onnxslim.report.page.parts import known, number, sheet
from onnxslim.report.page.regions import MOST, few, matched, regions_of
from onnxslim.report.page.terms import terms
from onnxslim.report.page.verdict import figures, sentence
from onnxslim.search import Figures
from tests.report.pages import NASTY, layers, report

pytest.importorskip("jinja2", reason="pages need the extra 'report'")
from onnxslim.report.page import page_of

VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """The elements of a page in their order, with their attributes, texts and the elements around them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], tuple[int, ...]]] = []
        self.texts: dict[int, str] = {}
        self._open: list[int] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), tuple(self._open)))
        if tag not in VOID:
            self._open.append(len(self.found) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), tuple(self._open)))

    def handle_endtag(self, tag: str) -> None:
        assert self.found[self._open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for place in self._open:
            self.texts[place] = self.texts.get(place, "") + data

    def all(self, *tags: str) -> Iterator[tuple[int, dict[str, str | None]]]:
        return ((place, attributes) for place, (tag, attributes, _) in enumerate(self.found) if tag in tags)

    def within(self, place: int, tag: str) -> list[int]:
        return [i for i, (each, _, around) in enumerate(self.found) if each == tag and place in around]


@functools.cache
def text() -> str:
    return page_of(report())


@functools.cache
def page() -> Page:
    return Page(text())


def test_headings_are_in_order_and_chapters_are_linked() -> None:
    levels = [int(tag[1]) for tag, _, _ in page().found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    sections = [attributes["id"] for _, attributes in page().all("section")]
    assert sections == [
        "warnings", "front", "latency", "layers", "outputs", "bytes", "graphs", "passes", "skipped", "notes", "origin"
    ]  # fmt: skip
    links = [attributes["href"] for place, attributes in page().all("a") if attributes["href"] != "#main"]
    assert links == [f"#{name}" for name in sections]
    ids = [attributes["id"] for _, attributes, _ in page().found if "id" in attributes]
    assert len(ids) == len(set(ids))
    titles = [page().texts[page().within(place, "h2")[0]] for place, _ in page().all("section")]
    regions = [attributes["aria-label"] for _, attributes, _ in page().found if attributes.get("role") == "region"]
    assert len({*titles, *regions}) == len(titles) + len(regions)
    assert [len(list(page().all(tag))) for tag in ("header", "nav", "main", "footer")] == [1, 1, 1, 1]


def test_every_drawing_has_a_title_and_a_table() -> None:
    outer = [
        place
        for place, (tag, _, around) in enumerate(page().found)
        if tag == "svg" and not any(page().found[i][0] == "svg" for i in around)
    ]
    assert len(outer) >= 12
    for place in outer:
        _, attributes, around = page().found[place]
        assert attributes["aria-label"]
        figure = next(i for i in reversed(around) if page().found[i][0] == "figure")
        assert len(page().texts[page().within(figure, "figcaption")[0]]) > 10
        card = next(i for i in reversed(around) if page().found[i][1].get("class") == "card")
        assert page().within(card, "table"), attributes["aria-label"]
    for place, attributes in page().all("g"):
        if "tabindex" in attributes:
            assert attributes["aria-label"] == attributes["data-tip"], place


def test_tables_have_captions_scopes_and_rows_as_long_as_their_heading() -> None:
    tables = [place for place, _ in page().all("table")]
    assert len(tables) >= 10
    for place in tables:
        assert page().texts[page().within(place, "caption")[0]]
        assert all("scope" in page().found[each][1] for each in page().within(place, "th"))
        columns = [each for each in page().within(place, "th") if page().found[each][1]["scope"] == "col"]
        for row in page().within(place, "tr"):
            assert len(page().within(row, "th")) + len(page().within(row, "td")) == len(columns)


def test_the_page_loads_nothing_and_runs_no_text() -> None:
    assert NASTY not in text()
    assert "<b>markup" not in text()
    for tag, attributes, _ in page().found:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,")), (tag, attributes)
    assert not re.search(
        r"url\(|@import|https?://|//cdn",
        re.sub(r'<script type="application/json".*?</script>', "", text(), flags=re.DOTALL),
    )
    assert len(text()) < 400_000


def test_the_data_is_inside() -> None:
    (place,) = (place for place, attributes in page().all("script") if attributes.get("type") == "application/json")
    data = json.loads(page().texts[place], parse_constant=pytest.fail)
    assert data["front"]["trials"][7]["kept"] is True
    assert len(data["layers"]["errors"]) == 40
    assert data["latency"]["spreads"][0]["a_ms"][2] == pytest.approx(10, rel=0.05)


def test_the_verdict_is_one_sentence_and_honest() -> None:
    assert sentence(report()) == (
        "The model is 4.74 times smaller (10.90 MB to 2.30 MB) and 2.22 times as fast (2.21 to 2.23 at 99 % "
        "confidence, 1 thread); its score (top1) falls to 0.957 from 0.962, measured on 150 held-out samples that "
        "chose nothing."
    )
    bare = report(scores={}, latency=None)
    assert sentence(bare).endswith(
        "; its outputs are off by 2.8 % in the worst part (SQNR 31.0 dB), on 64 held-out samples."
    )
    latency = report().latency
    assert latency is not None
    same = dataclasses.replace(latency, verdict="no difference", low=0.99, high=1.01)
    assert "as fast as before, within what can be measured" in sentence(report(latency=same))
    assert "too noisily" in sentence(report(latency=dataclasses.replace(same, high=1.4)))


def test_what_came_to_nothing_says_so_first_and_why() -> None:
    whole = report(latency=None, scores={}, decision="kept float", reason="no result of the search keeps 150 dB")
    nothing = dataclasses.replace(whole, output=whole.input, warnings=())
    said = sentence(nothing)
    assert said.startswith("The model was not compressed: it is as large as before (10.90 MB); its outputs are")
    shown = Page(page_of(nothing))
    header = next(place for place, _ in shown.all("header"))
    assert "No result of the search keeps 150 dB." in shown.texts[header]
    assert "warnings" not in [attributes["id"] for _, attributes in shown.all("section")]
    assert sentence(report(output=None, parity=None, latency=None, scores={}, decision="unchanged")) == (
        "The model was not compressed."
    )


def test_the_nearest_result_is_not_said_to_keep_the_limits() -> None:
    front = report().front
    assert front is not None
    trials = [dataclasses.replace(each, reason="too large" if each.kept else each.reason) for each in front.trials]
    nearest = report(front=dataclasses.replace(front, trials=trials), reason="it is the nearest to what was asked")
    assert sentence(nearest).endswith("samples that chose nothing; it breaks a limit of the search.")
    row = re.search(r'<td class="bad">kept: too large</td>', page_of(nearest))
    assert row is not None


def test_a_size_that_hardly_changed_is_the_same() -> None:
    whole = report(latency=None, scores={})
    small = report(output=dataclasses.replace(whole.input, bytes=10_899_000), latency=None, scores={})
    assert sentence(small).startswith("The model is as large as before (10.90 MB); its outputs are off by")
    assert figures(small)[0] == ("same", "size", "10.90 MB → 10.90 MB")
    large = report(output=dataclasses.replace(whole.input, bytes=21_800_000), latency=None, scores={})
    assert figures(large)[0][:2] == ("2.00x", "larger")


def test_what_did_not_change_is_the_same_and_no_infinite_number() -> None:
    whole = report()
    assert whole.front is not None
    assert whole.parity is not None
    same = Figures(10_890_000, 1.001, 1.003, math.inf)
    trials = [dataclasses.replace(whole.front.trials[0], predicted=same, measured=same), *whole.front.trials[1:]]
    parts = tuple(dataclasses.replace(each, sqnr_db=math.inf) for each in whole.parity.fidelity)
    inside = layers(4)
    shown = page_of(
        report(
            front=dataclasses.replace(whole.front, trials=trials),
            parity=dataclasses.replace(whole.parity, sqnr=math.inf, fidelity=parts),
            layers=dataclasses.replace(inside, errors=[LayerError(each.name, math.inf) for each in inside.errors]),
        )
    )
    seen = re.sub(r"<(script|style).*?</\1>", "", shown, flags=re.DOTALL).replace('data-order="inf"', "")
    assert not re.search(r"\b(inf|nan|infinity)\b", seen, re.IGNORECASE)
    assert "1.00x smaller, 1.00x as fast, same outputs" in seen
    assert "No value changed." in seen


def test_words_are_explained_where_they_occur() -> None:
    whole = report()
    words = [word for word, _ in terms(whole)]
    assert words == ["1.50x as fast", "99 % interval", "SQNR", "held-out samples", "score drop, drop at most", "int8",
                     "pruned"]  # fmt: skip
    assert all(word in text() for word in words)
    bare = report(front=None, layers=None, latency=None, parity=None, held_out=0)
    assert terms(bare) == []


def test_columns_without_values_are_left_out_and_numbers_stand_at_the_right() -> None:
    table = known(sheet("t", ("name", "a", "b"), [("x", "-", number(2.0)), ("y", "-", number(None))], ("all", "", "2")))
    assert table.columns == ("name", "b")
    assert table.numeric == (False, True)
    assert [[each.text for each in row] for row in (*table.rows, table.total)] == [
        ["x", "2.00"], ["y", "-"], ["all", "2"]
    ]  # fmt: skip


def test_the_candidate_that_was_kept_comes_first_and_the_original_is_drawn() -> None:
    place = next(place for place, attributes in page().all("section") if attributes["id"] == "front")
    rows = [page().texts[each] for each in page().within(page().within(place, "table")[0], "tr")]
    assert "options that choose it" in rows[0]
    assert "kept" in rows[1]
    assert "--max-size 2.3MB" in rows[1]
    assert "the bound 0.0144 exceeds 0.01" in rows[-1]
    dots = [attributes["class"] for at, attributes in page().all("g") if "data-tip" in attributes]
    assert dots.count("dot original") == 1


def test_the_table_of_the_graphs_says_what_was_pruned_and_skipped() -> None:
    place = next(place for place, attributes in page().all("section") if attributes["id"] == "graphs")
    row = page().texts[page().within(place, "tr")[4]]
    assert "/block.3/Conv" in row
    assert "64 → 40 channels" in row
    assert "quantize: no faster in int8: 3.5 us" in row
    drawn = [page().texts[each] for each in page().within(place, "text")]
    assert any(text.startswith("int8 · 64 → 40 channels · 0.03") and text.endswith(" ms") for text in drawn)
    assert not [text for text in drawn if "..." in text and "channels" in text]
    hints = [page().texts[each] for each in page().within(place, "title")]
    assert sum("skipped at /block.3/Conv: quantize: no faster in int8: 3.5 us" in hint for hint in hints) == 1


def test_what_was_not_measured_has_no_chapter() -> None:
    bare = page_of(
        report(front=None, layers=None, latency=None, parity=None, warnings=(), notes=(), steps=(), guilty=())
    )
    assert [attributes["id"] for _, attributes in Page(bare).all("section")] == ["origin"]
    assert "<svg" not in bare


def test_a_large_model_makes_a_small_page() -> None:
    large = page_of(report(layers=layers(3000)))
    assert len(large) < 900_000
    data = re.search(r'id="data">(.*?)</script>', large, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["left_out"] == ["layers"]


def test_a_long_table_of_layers_lists_those_that_cost_most() -> None:
    large = Page(page_of(report(layers=layers(300))))
    table = next(place for place, _ in large.all("table") if "Layers of both models" in large.texts[place])
    rows = [large.texts[place] for place in large.within(table, "tr")]
    assert len(rows) == LISTED + 2
    assert "/block.299/Conv" in rows[-2]
    assert "/block.0/Conv" not in "".join(rows)
    assert f"{300 - LISTED} more, which cost least" in rows[-1]


def test_regions_are_chains_with_one_contraction_and_find_their_twins() -> None:
    both = layers(30)
    before, after = regions_of(both.original), regions_of(both.result)
    assert [node.op_type for node in before[0].nodes] == ["Conv", "BatchNormalization", "Relu"]
    assert [node.op_type for node in after[0].nodes] == ["Conv", "Relu"]
    assert all(a is not None and b is not None and a.main.name == b.main.name for a, b in matched(before, after))
    assert [b for a, b in matched(before, after[:20])][20:] == [None] * (len(before) - 20)
    some = few(regions_of(layers(300).original))
    assert len(some) <= MOST
    assert all(each < place for place, region in enumerate(some) for each in region.before)


def test_node_data_is_what_model_explorer_reads() -> None:
    found = node_data(report())
    assert list(found) == ["main"]
    assert found["main"]["results"]["/block.3/Conv_output"] == {"value": 33.0}
    assert [each["stop"] for each in found["main"]["gradient"]] == [0, 1]
    errors = node_data(report(), "error")["main"]["results"]
    assert errors["/block.0/Relu_output"]["value"] == pytest.approx(100 * 10 ** (-48 / 20), rel=1e-3)
    with pytest.raises(InputError, match="no time by node"):
        node_data(report(layers=None))


def test_forms_by_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report().save(tmp_path / "r.HTML")
    assert (tmp_path / "r.HTML").read_text().startswith("<!DOCTYPE html>")
    report().save(tmp_path / "r.error.node_data.json")
    assert math.isfinite(
        json.loads((tmp_path / "r.error.node_data.json").read_text())["main"]["results"]["/block.9/Relu_output"][
            "value"
        ]
    )
    monkeypatch.setattr("onnxslim.report.report.find_spec", lambda _: None)
    with pytest.raises(SetupError, match=r"jinja2.*pip install 'onnxslim-compiler\[report\]'"):
        report().save(tmp_path / "other.html")
    assert not (tmp_path / "other.html").exists()


FAINT = """() => {
  const part = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const color = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (node) => {
    const box = node.closest("g.box, g:has(> .inside)")?.querySelector("rect");
    if (box) return color(getComputedStyle(box).fill);
    for (; ; node = node.parentElement) {
      const found = color(getComputedStyle(node).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
  };
  const written = (node) => [...node.childNodes].some((each) => each.nodeType === 3 && each.textContent.trim());
  const found = [];
  for (const node of document.querySelectorAll("body *:not(script, style, title)")) {
    if (!written(node)) continue;
    const style = getComputedStyle(node);
    const both = [color(node.ownerSVGElement ? style.fill : style.color), behind(node)].map(light);
    const ratio = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    if (ratio < 4.5) found.push(`${node.outerHTML.slice(0, 80)}: ${ratio}`);
  }
  return found;
}"""
"""Texts whose contrast to what is behind them is less than WCAG AA asks for."""


def browser() -> tuple[Any, str]:
    """What drives a browser, and the browser; skips where one of both is not installed."""
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no chromium: apt-get install chromium")
    return api, path


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_on_a_phone_and_sorts_by_keyboard(tmp_path: Path, scheme: str) -> None:
    api, path = browser()
    (tmp_path / "page.html").write_text(text())
    said: list[str] = []
    with api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        shown = opened.new_page(viewport={"width": 360, "height": 800}, color_scheme=scheme, offline=True)
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.on(
            "request",
            lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None,
        )
        shown.goto((tmp_path / "page.html").as_uri())
        for width in (360, 768, 1280):
            shown.set_viewport_size({"width": width, "height": 800})
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
        shown.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        shown.set_viewport_size({"width": 360, "height": 800})
        assert shown.evaluate("document.documentElement.scrollWidth") <= 360
        assert shown.evaluate(FAINT) == []
        heading = shown.locator("#outputs th[scope=col]").nth(1)
        heading.locator("button").focus()
        for order in ("descending", "ascending"):
            shown.keyboard.press("Enter")
            assert heading.get_attribute("aria-sort") == order
        assert shown.locator("#outputs tbody td.num").first.inner_text() == "31.0"
        shown.locator("#front g.kept").first.focus()
        assert "kept" in shown.locator("#tip").inner_text()
        opened.close()
    assert said == []
