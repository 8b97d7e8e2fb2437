"""The page as text; what it does in a browser is tested in test_report_browser.py."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from synthetic_results import made_up_benchmark, made_up_result

from flp_agents.benchmark.report.page import render_page, write_report
from flp_agents.benchmark.results import ResultsError, write_result
from flp_base.errors import FLPError

VOID = {"meta", "link", "br", "img", "hr"}


class Page(HTMLParser):
    """Elements of a page, their nesting checked."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" not in self.open and "style" not in self.open:
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def page():
    results = made_up_benchmark(("flp", "ridge", "joint-training", "sgd"), seeds=2)
    results.append(made_up_result("sgd", seed=2, failure="answered NaN in lifetime 3"))
    return Page(render_page(results))


def test_it_is_written_beside_the_results_or_where_it_is_wanted(tmp_path):
    write_result(tmp_path / "results", made_up_result("joint-training"))
    assert write_report(tmp_path / "results") == tmp_path / "results" / "report.html"
    elsewhere = tmp_path / "new" / "page.html"
    assert write_report(tmp_path / "results", elsewhere) == elsewhere
    assert elsewhere.read_bytes() == (tmp_path / "results" / "report.html").read_bytes()


@pytest.mark.slow
def test_the_same_results_make_the_same_page_in_any_order():
    results = [made_up_result(name, seed=seed, tasks=2) for name in ("flp", "sgd") for seed in range(2)]
    assert render_page(results) == render_page(results[::-1])


def test_wrong_folders_are_one_line(tmp_path):
    with pytest.raises(ResultsError, match="no results in"):
        write_report(tmp_path)
    write_result(tmp_path, made_up_result(failure="hung"))
    (tmp_path / "taken").mkdir()
    with pytest.raises(FLPError, match=r"cannot write .*taken: .*: choose another --output") as caught:
        write_report(tmp_path, tmp_path / "taken")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_said_on_the_page(tmp_path):
    write_result(tmp_path, made_up_result(failure="hung"))
    (tmp_path / "cells" / "broken.json").write_text("{", encoding="utf-8")
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Left out: cells/broken.json is truncated or not JSON" in Page(text).words
    assert str(tmp_path) not in text


def test_it_needs_nothing_else(page):
    assert not page.all("img") + page.all("iframe") + page.all("object") + page.all("base")
    assert all("src" not in attributes for attributes in page.all("script"))
    assert [attributes["href"] for attributes in page.all("link")] == ["data:,"]
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert name in ("xmlns", "xmlns:xlink") or "://" not in (value or ""), (name, value)
    (policy,) = (meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")


def test_every_id_is_there_once_and_every_reference_leads_to_one(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {attributes["href"][1:] for attributes in page.all("a")}
    wanted |= {a[key] for _, a in page.elements for key in ("aria-labelledby",) if key in a}
    assert wanted <= set(ids)


def test_it_can_be_heard(page):
    for svg in page.all("svg"):
        assert svg.get("aria-hidden") == "true" or len(svg["aria-label"]) > 20
    assert len([svg for svg in page.all("svg") if svg.get("role") == "img"]) == len(page.all("figure"))
    for cell in page.all("th"):
        assert cell["scope"] in ("row", "col")
    assert page.all("html")[0]["lang"] == "en"
    for region in page.all("div"):
        if region.get("class") == "wide":
            assert region["tabindex"] == "0"
            assert region.get("aria-label") or region.get("aria-labelledby")


def test_rows_are_as_long_as_their_headings():
    results = [made_up_result("flp", tasks=2), made_up_result("joint-training"), made_up_result("mine", failure="hung")]
    text = render_page(results)
    for table in re.findall(r"<table.*?</table>", text, flags=re.DOTALL):
        head, *rows = re.findall(r"<tr.*?</tr>", table, flags=re.DOTALL)
        columns = len(re.findall(r"<th\b", head))
        for row in rows:
            spans = [int(span) for span in re.findall(r'colspan="(\d+)"', row)]
            assert sum(spans) + len(re.findall(r"<t[hd]\b", row)) - len(spans) == columns


def test_what_it_says(page):
    for words in (
        "4 learners in 2 settings, seeds 0, 1, 2, 8 episodes each, 17 cells",
        "Best: FLP (2) ,",
        "1 of 3 failed",
        "seed 2 failed: answered NaN in lifetime 3",
        "FLPSine-IID-v0: its sub-tasks are mixed",
        "queried at the end only, so without a curve of it: joint-training",
        "flp benchmark --seeds 3",
        r"\begin{tabular}",
        "| FLP \\(2\\) |",
        "no clear difference" if "no clear difference" in page.words else "worse",
    ):
        assert words in page.words, words
    titles = [fig["id"] for fig in page.all("figure")]
    assert "flpsine-continual-v0-r-matrix-0" in titles
    assert "flpsine-iid-v0-forgetting" not in titles


def test_only_failures_are_shown_all_the_same():
    page = Page(render_page([made_up_result("mine", failure="hung: did not stop")]))
    assert "every cell failed, so there is nothing to show but the reasons" in page.words
    assert "seed 0 failed: hung: did not stop" in page.words
    assert page.all("figure") == []


def test_names_and_reasons_are_text_whatever_is_in_them():
    hostile = "<script>alert(1)</script>\"'&{{ 1 + 1 }}</style>"
    results = [made_up_result(hostile, title=hostile, env=f"FLPSine-Continual-v0{hostile}"), made_up_result("flp")]
    results.append(made_up_result("mine", failure=hostile))
    results = [replace(r, stamp={**r.stamp, "machine": hostile, "checkpoint": hostile}) for r in results]
    results.append(replace(results[1], cell=replace(results[1].cell, env_options={hostile: hostile})))
    page = Page(render_page(results))
    assert len(page.all("script")) == 1
    assert "<script>alert(1)</script>" in page.words
    assert "{{ 1 + 1 }}" in page.words


def test_settings_of_one_environment_have_addresses_of_their_own():
    result = made_up_result("joint-training")
    other = replace(result, cell=replace(result.cell, env_options={"num_functions": 4}))
    page = Page(render_page([result, other]))
    assert [s["id"] for s in page.all("section") if s.get("class") == "setting"] == [
        "flpsine-continual-v0",
        "flpsine-continual-v0--2",
    ]
    assert "num_functions = 4" in page.words
