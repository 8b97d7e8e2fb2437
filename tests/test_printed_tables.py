"""Tables on the screen: nothing of them is cut off, whatever their place."""

import pytest
from rich.table import Table
from rich.text import Text

from flp_agents.support.printed_tables import print_table

HEADINGS = ("query score", "prequential score", "forgetting", "backward transfer", "forward transfer")
TITLE = "a title that is longer than its table, " + "as that of few columns " * 9
LEARNERS = ("ridge", "direct-feedback-alignment", "Gradient-based (3), as released")


def lines_of(capsys):
    table = Table(title=Text(TITLE), box=None, padding=(0, 2, 0, 0), title_justify="left")
    table.add_column("learner", overflow="fold")
    for heading in ("replicates", *HEADINGS):
        table.add_column(heading, justify="right")
    for learner in LEARNERS:
        table.add_row(Text(learner), "1 network", *(f"-2.77e-0{i} (3.7e-08)" for i in range(len(HEADINGS))))
    print_table(table)
    return capsys.readouterr().out.splitlines()


def test_in_a_pipe_each_row_is_one_line(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    title, headings, *rows = (line.split() for line in lines_of(capsys))
    assert title == TITLE.split()
    assert headings == " ".join(("learner", "replicates", *HEADINGS)).split()
    assert [" ".join(row).startswith(learner) for row, learner in zip(rows, LEARNERS, strict=True)] == [True] * 3


@pytest.mark.parametrize("columns", [40, 80, 100, 200])
def test_on_a_terminal_figures_and_headings_are_broken_between_words_only(monkeypatch, capsys, columns):
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": str(columns)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("rich.style.Style.render", lambda self, text, **_: text)
    title, *lines = lines_of(capsys)
    assert title == TITLE
    words = " ".join(lines).split()
    for heading in ("learner", *HEADINGS):
        assert set(heading.split()) <= set(words)
    for i in range(len(HEADINGS)):
        assert words.count(f"-2.77e-0{i}") == len(LEARNERS)
    assert columns < 80 or max(map(len, lines)) <= columns
    first = "".join(line[:12].strip() for line in lines)
    assert columns > 40 or all(learner.replace(" ", "") in first.replace(" ", "") for learner in LEARNERS)
