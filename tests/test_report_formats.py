"""Numbers, and text that means something to HTML, LaTeX or Markdown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flp_agents.benchmark.report.formats import (
    MINUS,
    TIMES,
    UNKNOWN,
    Entry,
    TextTable,
    as_html,
    as_latex,
    escape_latex,
    escape_markdown,
    latex,
    markdown,
    one_line,
    plain,
    significant,
)


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (0.000487, 3, "0.000487"),
        (0.0000487, 2, "4.9e-05"),
        (-0.0000487, 2, "-4.9e-05"),
        (1.159, 3, "1.16"),
        (80.0, 3, "80.0"),
        (123456.0, 3, "123456"),
        (3.2e7, 3, "3.20e+07"),
        (0, 3, "0"),
        (math.nan, 3, UNKNOWN),
        (math.inf, 3, UNKNOWN),
    ],
)
def test_plain_numbers(value, digits, shown):
    assert plain(value, digits) == shown


def test_numbers_of_each_format():
    assert as_latex(-4.87e-5, 2) == r"$-4.9\times10^{-5}$"
    assert as_latex(0.5) == "$0.500$"
    assert as_latex(math.nan) == "--"
    assert as_html(-4.87e-5, 2) == f"{MINUS}4.9{TIMES}10<sup>{MINUS}5</sup>"
    assert as_html(math.nan) == UNKNOWN


@given(st.floats(-1e300, 1e300), st.integers(2, 5))
def test_what_is_shown_is_near_what_is(value, digits):
    mantissa, exponent = significant(value, digits)
    assert float(f"{mantissa}e{exponent or 0}") == pytest.approx(value, rel=10.0 ** (1 - digits))


HOSTILE = "a_b & 50% {x} $y$ #1 ~ ^ \\input{/etc/passwd} <b> | `c` [d](e)\n\u202enext\x00"


def test_latex_shows_text_as_it_is():
    text = escape_latex(HOSTILE)
    assert r"a\_b \& 50\% \{x\} \$y\$ \#1 \textasciitilde{} \textasciicircum{} \textbackslash{}input\{" in text
    assert "\n" not in text
    assert "\u202e" not in text
    assert "\x00" not in text


def test_a_row_is_not_taken_for_the_end_of_the_last_one():
    r"""In LaTeX, a line that ends with ``\\`` may go on with ``[`` or ``*`` on the next."""
    assert escape_latex("[x] *") == "{[}x{]} {*}"


def test_markdown_shows_text_as_it_is():
    text = escape_markdown(HOSTILE)
    assert r"a\_b \& 50% \{x\} \$y\$ \#1 \~ ^ \\input\{/etc/passwd\} \<b\> \| \`c\` \[d\]\(e\)" in text
    assert "\n" not in text


@given(st.text())
def test_any_text_becomes_one_printable_line(text):
    line = one_line(text)
    assert line.isprintable()
    assert len(line.splitlines()) <= 1


@given(st.text())
def test_a_cell_stays_a_cell(text):
    table = TextTable("caption", ("learner", "score"), ((Entry(text), Entry(value=1.0)),))
    row = markdown(table).splitlines()[4]
    assert row.replace("\\\\", "").replace("\\|", "").count("|") == 3
    row = latex(table).splitlines()[7]
    assert row.replace(r"\&", "").count("&") == 1
    assert row.endswith(r"& $1.00$ \\")


TABLE = TextTable(
    "A caption",
    ("learner", "score (s.e.)", "95 %"),
    (
        (Entry("FLP (2)"), Entry(value=4.87e-4, error=1.1e-5, best=True), Entry(interval=(4.6e-4, 5.1e-4))),
        (Entry("b_c"), Entry(value=1.16), Entry(interval=(math.nan, math.nan))),
    ),
    ("A note.",),
)


def test_latex_table():
    assert latex(TABLE) == "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            r"\caption{A caption}",
            r"\begin{tabular}{lrr}",
            r"\toprule",
            r"learner & score (s.e.) & 95 \% \\",
            r"\midrule",
            r"FLP (2) & \textbf{$0.000487$} ($1.1\times10^{-5}$) & [$0.000460$, $0.000510$] \\",
            r"b\_c & $1.16$ & -- \\",
            r"\bottomrule",
            r"\end{tabular}",
            r"\\[2pt]{\footnotesize A note.}",
            r"\end{table}",
        ]
    )


def test_markdown_table():
    assert markdown(TABLE) == "\n".join(
        [
            "A caption",
            "",
            r"| learner | score \(s.e.\) | 95 % |",
            "| --- | ---: | ---: |",
            r"| FLP \(2\) | **0.000487** (1.1e-05) | [0.000460, 0.000510] |",
            rf"| b\_c | 1.16 | {UNKNOWN} |",
            "",
            "A note.",
        ]
    )
