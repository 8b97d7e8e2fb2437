"""The rows that a benchmark ends with, and the tables for a paper."""

import json

import pytest
from synthetic_results import made_up_benchmark, made_up_result

from flp_agents.benchmark.report.formats import UNKNOWN, Entry, latex, markdown
from flp_agents.benchmark.report.leaderboard import make_leaderboards
from flp_agents.benchmark.report.tables import (
    failures_of,
    seconds_of,
    seeds_in_words,
    state_bytes_of,
    summary_rows,
    tables_of,
)
from flp_agents.evaluation.lifetime_metrics.metric import METRICS
from flp_agents.evaluation.uncertainty import summarize


def test_a_row_for_every_environment_learner_and_metric():
    results = made_up_benchmark(("flp", "ridge"), seeds=2)
    rows = summary_rows(results)
    mixed = [name for name, metric in METRICS.items() if not metric.of_sub_tasks]
    assert len(rows) == 2 * len(METRICS) + 2 * len(mixed)
    scores = {f"seed {seed}": made_up_result("ridge", seed=seed).scores["forgetting"] for seed in range(2)}
    expected = summarize(scores)
    (row,) = [
        r for r in rows if (r["env"], r["learner"], r["metric"]) == ("FLPSine-Continual-v0", "ridge", "forgetting")
    ]
    assert row == {
        "env": "FLPSine-Continual-v0",
        "split": "meta-test",
        "env_options": "{}",
        "learner": "ridge",
        "title": "ridge",
        "metric": "forgetting",
        "unit": "mse",
        "higher_is_better": False,
        "mean": expected.mean,
        "replicate": "seed",
        "replicates": 2,
        "means": list(expected.means),
        "episodes": 16,
        "standard_error_over_replicates": expected.standard_error_over_replicates,
        "interval_over_replicates_low": None,
        "interval_over_replicates_high": None,
        "deviation_between_replicates": expected.deviation_between_replicates,
        "deviation_between_episodes": expected.deviation_between_episodes,
        "standard_error_over_episodes": expected.standard_error_over_episodes,
        "interval_over_episodes_low": expected.interval_over_episodes[0],
        "interval_over_episodes_high": expected.interval_over_episodes[1],
    }


def test_rows_are_json_even_where_little_is_known():
    rows = summary_rows([made_up_result(), made_up_result("mine", failure="hung")])
    json.dumps(rows, allow_nan=False)
    assert {row["learner"] for row in rows} == {"flp"}
    assert rows[0]["standard_error_over_replicates"] is None


def test_only_failures_make_no_rows():
    assert summary_rows([made_up_result(failure="hung")]) == []


def test_failures_in_words():
    results = [made_up_result("sgd", seed=seed, failure="hung" if seed else "NaN") for seed in range(3)]
    (entry,) = make_leaderboards(results)[0].rows
    assert failures_of(entry) == ["seed 0 failed: NaN", "seeds 1, 2 failed: hung"]
    assert seeds_in_words([4]) == "seed 4"


def test_costs_are_the_mean_time_and_the_largest_state():
    (entry,) = make_leaderboards([made_up_result(seed=seed) for seed in range(2)])[0].rows
    assert seconds_of(entry) == pytest.approx(4e-5)
    assert state_bytes_of(entry) == 12000


def tables():
    results = made_up_benchmark(("flp", "ridge", "joint-training"), seeds=2)
    results.append(made_up_result("mine", failure="died of <b>, 50% & more"))
    return tables_of(make_leaderboards(results)[0])


def test_the_tables_of_a_board():
    scores, replicates, metrics, pairs = tables()
    assert [row[0].text for row in scores.rows] == ["FLP (2)", "joint-training", "ridge", "mine"]
    assert scores.rows[0][1].best
    assert not scores.rows[1][1].best
    assert scores.notes == ("mine: seed 0 failed: died of <b>, 50% & more.",)
    assert len(metrics.headings) == len(METRICS)
    assert metrics.rows[1][1 + list(METRICS).index("forgetting") - 1] == Entry(UNKNOWN)
    assert [row[0].text for row in pairs.rows] == ["joint-training", "ridge"]
    assert "minus that of FLP (2)" in pairs.caption
    assert {row[-1].text.split(" in ")[-1] for row in pairs.rows} == {"these runs"}
    assert [row[1].text for row in replicates.rows] == ["1 network", "2 seeds", "2 seeds"]
    assert [row[2].text.count(";") for row in replicates.rows] == [0, 1, 1]
    for table in (scores, replicates, metrics, pairs):
        assert all(len(row) == len(table.headings) for row in table.rows)


def test_only_failures_make_one_table():
    (table,) = tables_of(make_leaderboards([made_up_result("mine", failure="hung")])[0])
    assert table.notes == ("mine: seed 0 failed: hung.",)


def test_every_table_can_be_written():
    for table in tables():
        assert latex(table).count(r" \\") == len(table.rows) + 1
        assert sum(line.startswith("|") for line in markdown(table).splitlines()) == len(table.rows) + 2
    assert r"died of \textless{}b\textgreater{}, 50\% \& more" in latex(tables()[0])
