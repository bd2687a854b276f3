"""Are the pages whole in themselves, readable by other programs, the same each time, and safe with what users name?"""

from html.parser import HTMLParser

import jsonschema
import msgspec
import pytest
from markdown_it import MarkdownIt

from perfmodel import Scenario
from perfmodel.report.amounts import amount
from perfmodel.report.answer import Row, to_json
from perfmodel.report.build import make_report
from perfmodel.report.html import to_html
from perfmodel.report.markdown import escape, to_markdown
from perfmodel.schemas import load_schema

HOSTILE = "<script>alert(1)</script> | `x` [a](http://b) *c* _d_ &amp; \\ ~e~\nf"


class Elements(HTMLParser):
    """Collects tags with their attributes, and the text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def page(written):
    return (written.folder / "report.html").read_text()


def test_the_page_loads_nothing(page, written):
    tags = Elements(page).tags
    assert {tag for tag, _ in tags} <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "strong", "ul", "li", "table", "thead",
        "tbody", "tr", "th", "td", "img", "pre", "code", "hr",
    }  # fmt: skip
    for tag, attributes in tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("href", "srcset")]
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        assert tag != "meta" or "http-equiv" not in attributes
    assert sum(tag == "img" for tag, _ in tags) == len(written.answered.figures) > 11
    assert "url(" not in page
    assert "@import" not in page


def test_every_answer_has_number_interval_assumption_figure_and_command(written):
    text = (written.folder / "report.md").read_text()
    for answer in written.report.answers:
        assert answer.reason is None
        assert answer.headline
        assert any(row.low is not None for group in answer.groups for row in group.rows)
        assert answer.command.splitlines()[-1].startswith("perfmodel ")
        assert answer.hangs_on
        assert answer.figures
        for stem in answer.figures:
            assert (written.folder / "figures" / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
            assert f"(figures/{stem}.png)" in text
        for one in answer.hangs_on:
            assert one.share > 0
            assert one.source
            assert one.confidence


def test_markdown_parses_to_what_the_report_says(written):
    report = written.report
    tokens = MarkdownIt("commonmark").enable("table").parse(to_markdown(report))
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert len(headings) == 1 + len(report.answers)
    tables = sum(token.type == "table_open" for token in tokens)
    assert tables == sum(bool(group.rows) for answer in report.answers for group in answer.groups)
    cells = sum(token.type == "td_open" for token in tokens)
    labels = {(a.number, g.title, r.label) for a in report.answers for g in a.groups for r in g.rows}
    assert cells >= len(labels) * 2
    assert [token.content for token in tokens if token.type == "fence"] == [f"{a.command}\n" for a in report.answers]


def test_json_is_as_the_schema_says(document):
    jsonschema.Draft202012Validator(load_schema("report-1")).validate(document)
    assert [answer["number"] for answer in document["answers"]] == list(range(1, 12))


def test_the_same_again(written, few):
    again = make_report(Scenario(memory="3GiB", shattered=0.34), threads=1)
    assert to_json(again.report) == to_json(written.report)
    assert to_markdown(again.report) == (written.folder / "report.md").read_text()
    assert "model_seconds" not in to_json(again.report).decode()


def test_what_users_name_is_text(written):
    parameters = msgspec.structs.replace(written.report.parameters, name=HOSTILE)
    answer = msgspec.structs.replace(written.report.answers[0], headline=HOSTILE, notes=[HOSTILE], reason=None)
    reasoned = msgspec.structs.replace(answer, reason=HOSTILE)
    report = msgspec.structs.replace(
        written.report, parameters=parameters, headline=HOSTILE, answers=[answer, reasoned]
    )
    page = to_html(to_markdown(report), {}, HOSTILE)
    parsed = Elements(page)
    assert {"script", "a", "em", "s"}.isdisjoint(tag for tag, _ in parsed.tags)
    assert "img" not in [tag for tag, _ in parsed.tags]  # no such figure: its description stands for it
    assert HOSTILE.replace("\n", " ") in "".join(parsed.texts)


@pytest.mark.parametrize("text", [HOSTILE, "seam_transition", "a_b_c_", "# x", "1. x", "**", "a\\", "![x](y)", "<b>"])
def test_escaped_text_reads_as_it_was(text):
    parsed = Elements(MarkdownIt("commonmark", {"html": False}).enable("table").render("x " + escape(text)))
    assert "".join(parsed.texts).strip() == "x " + " ".join(text.split())
    assert {tag for tag, _ in parsed.tags} == {"p"}


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (("s", 1.5, 1.2, 2.0), "1.50 (1.20 to 2.00) s"),
        (("s", 2e-6, 1e-6, 2e-3), "2.00 (1.00 to 2,000) µs"),
        (("s", -0.5, -1.0, 0.25), "\u2212500 (\u22121,000 to 250) ms"),
        (("s", 0.0, 0.0, 0.0), "0 (0 to 0) s"),
        (("bytes", 3 << 30, None, None), "3.00 GiB"),
        (("", 1234567, None, None), "1,234,567"),
        (("%", 10.0, 5.0, 20.0), "10.0 (5.00 to 20.0) %"),
        (("times", 1.0, None, None), "1.00 times"),
    ],
)
def test_amounts(row, text):
    unit, value, low, high = row
    assert amount(Row("", "", value, low, high, unit)) == text
