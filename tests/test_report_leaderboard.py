"""Who is compared with whom, on what, and who comes first."""

from dataclasses import replace

import pytest
from synthetic_results import made_up_benchmark, made_up_result

from flp_agents.benchmark.report.comparison import compare_with_best, verdict_of
from flp_agents.benchmark.report.leaderboard import make_leaderboards, overall_order
from flp_agents.evaluation.lifetime_metrics.metric import METRICS
from flp_agents.evaluation.uncertainty import compare, summarize

ENV = "FLPSine-Continual-v0"


def leaderboard_of(results):
    (leaderboard,) = make_leaderboards(results)
    return leaderboard


def with_scores(result, scores):
    return replace(result, scores={**result.scores, "query_score": scores})


def test_learners_stand_in_the_order_of_their_query_score():
    leaderboard = leaderboard_of([made_up_result(name) for name in ("sgd", "flp", "ridge")])
    assert [entry.name for entry in leaderboard.rows] == ["flp", "ridge", "sgd"]
    assert [entry.label for entry in leaderboard.rows] == ["FLP (2)", "ridge", "sgd"]
    assert leaderboard.best is leaderboard.rows[0]
    assert leaderboard.unit == "mean squared error"


def test_episodes_of_one_network_are_put_together_and_networks_are_kept_apart():
    flp = leaderboard_of([made_up_result("flp", seed=seed) for seed in range(3)]).rows[0]
    scores = [made_up_result("flp", seed=seed).scores["query_score"] for seed in range(3)]
    assert str(flp.summaries["query_score"]) == str(summarize({"one": [*scores[0], *scores[1], *scores[2]]}))
    ridge = leaderboard_of([made_up_result("ridge", seed=seed) for seed in range(3)]).rows[0]
    assert ridge.summaries["query_score"].replicates == 3
    assert (flp.replicates, ridge.replicates) == ("1 network", "3 seeds")
    assert ridge.summaries["query_score"].episodes == 24


def test_other_options_splits_and_numbers_of_episodes_are_other_settings():
    result = made_up_result()
    others = [{"env_options": {"num_functions": 4}}, {"split": "meta-val"}, {"episodes": 8, "env": "FLPGlyph-IID-v0"}]
    leaderboards = make_leaderboards(
        [result, *(replace(result, cell=replace(result.cell, **other)) for other in others)]
    )
    assert len(leaderboards) == 4
    assert len(make_leaderboards([result, made_up_result(episodes=9)])) == 2


def test_failures_are_kept_and_come_last():
    results = [
        made_up_result("sgd"),
        made_up_result("mine", failure="hung"),
        made_up_result("sgd", seed=1, failure="x"),
    ]
    sgd, mine = leaderboard_of(results).rows
    assert (sgd.seeds, [result.failure for result in sgd.failures]) == ((0,), ["x"])
    assert (mine.name, mine.summaries, mine.score) == ("mine", {}, float("inf"))


def test_only_failures():
    leaderboard = leaderboard_of([made_up_result("mine", failure="hung")])
    assert (leaderboard.ranked, leaderboard.best, leaderboard.metric, leaderboard.metrics) == ((), None, "", ())
    assert compare_with_best(leaderboard) == []


def test_the_best_one_has_come_off_under_every_seed():
    lucky = with_scores(made_up_result("ridge"), [0.0] * 8)
    failed = made_up_result("ridge", seed=1, failure="hung")
    leaderboard = leaderboard_of([lucky, failed, *(made_up_result("flp", seed=seed) for seed in range(2))])
    assert leaderboard.rows[0].name == "ridge"
    assert leaderboard.best.name == "flp"


def test_learners_are_compared_on_the_episodes_that_both_lived_through():
    results = [made_up_result("flp", seed=seed) for seed in range(3)] + [
        made_up_result("sgd", seed=seed) for seed in (2, 0)
    ]
    (found,) = compare_with_best(leaderboard_of(results))
    entry, pair = found.entry, found.over_episodes
    by_cell = {(r.cell.learner, r.cell.seed): r.scores["query_score"] for r in results}
    expected = compare(*(by_cell[name, 0] + by_cell[name, 2] for name in ("sgd", "flp")))
    assert entry.name == "sgd"
    assert pair == expected
    assert pair.mean_difference > 0


def test_a_metric_that_is_not_known_in_every_episode_is_not_summarised():
    result = made_up_result()
    scores = {**result.scores, "forgetting": [None, *result.scores["forgetting"][1:]]}
    entry = leaderboard_of([replace(result, scores=scores)]).rows[0]
    assert entry.incomplete == ("forgetting",)
    assert set(entry.summaries) == set(METRICS) - {"forgetting"}


def test_metrics_of_sub_tasks_are_missing_where_these_are_mixed():
    leaderboard = leaderboard_of([made_up_result(env="FLPSine-IID-v0")])
    assert leaderboard.metrics == tuple(name for name, metric in METRICS.items() if not metric.of_sub_tasks)
    assert {"query_score", "prequential_score", "prequential_area", "learning_area"} <= set(leaderboard.metrics)


def test_one_title_of_several_learners_gets_their_names():
    results = [made_up_result("flp"), made_up_result("runs/a/best", title="FLP (2)", checkpoint="ab" * 32)]
    assert {s.label for s in leaderboard_of(results).rows} == {"FLP (2) · flp", "FLP (2) · best"}


def test_checkpoints_of_one_name_are_told_apart_by_their_weights():
    results = [
        made_up_result(name, title="FLP (2)", checkpoint=digest * 64)
        for name, digest in (("runs/a/best", "a"), ("runs/b/best", "b"))
    ]
    assert {s.name for s in leaderboard_of(results).rows} == {"best · aaaaaaaa", "best · bbbbbbbb"}


def test_weights_that_were_replaced_are_a_learner_of_their_own():
    """Else the same episodes would count twice."""
    results = [made_up_result("runs/a", checkpoint=digest * 64) for digest in "ab"]
    leaderboard = leaderboard_of(results)
    assert [entry.summaries["query_score"].episodes for entry in leaderboard.rows] == [8, 8]
    assert len({entry.label for entry in leaderboard.rows}) == 2


def test_networks_that_take_turns_are_one_learner():
    results = [
        made_up_result("flp", seed=seed, network=digest * 64, checkpoint=digest * 64)
        for seed, digest in enumerate("ab")
    ]
    (entry,) = leaderboard_of(results).rows
    assert entry.summaries["query_score"].replicates == 2
    assert entry.replicates == "2 networks"


def test_an_invented_name_is_not_taken_twice():
    names = ["x", "y", "x · 2"]
    results = [made_up_result(f"{i}", title=name) for i, name in enumerate([*names, "x"])]
    labels = [entry.label for entry in leaderboard_of(results).rows]
    assert len(set(labels)) == 4


def test_the_overall_order_is_by_place_and_leaves_nobody_out():
    results = made_up_benchmark(("sgd", "flp", "ridge"), seeds=1)
    results.append(made_up_result("mine", failure="hung"))
    assert overall_order(make_leaderboards(results)) == ["flp", "ridge", "sgd", "mine"]


def test_the_order_of_results_does_not_matter():
    results = made_up_benchmark(("sgd", "flp"), seeds=2)
    forwards, backwards = ([str(b.best.summaries) for b in make_leaderboards(r)] for r in (results, results[::-1]))
    assert forwards == backwards


def test_no_mean_stands_out_where_all_are_alike():
    leaderboard = leaderboard_of([made_up_result("flp"), made_up_result("sgd")])
    assert leaderboard.best_mean("forward_transfer") != leaderboard.best_mean("forward_transfer")
    assert leaderboard.best_mean("query_score") == leaderboard.best.score
    assert leaderboard.best_mean("backward_transfer") == max(
        s.summaries["backward_transfer"].mean for s in leaderboard.rows
    )


def against(best_networks, networks, seeds):
    """Two meta-trained learners, whose networks take turns, the second a little worse on every episode."""
    results = []
    for seed in range(seeds):
        for name, number, worse in (("flp", best_networks, 0.0), ("gradient-based", networks, 0.01)):
            result = made_up_result(name, seed=seed, network=f"{name} {seed % number}")
            base = made_up_result("flp", seed=seed).scores["query_score"]
            results.append(with_scores(result, [score + worse * (1 + seed / 10) for score in base]))
    (pair,) = compare_with_best(leaderboard_of(results))
    return pair


@pytest.mark.parametrize(
    ("best_networks", "networks", "seeds", "independent"),
    [(1, 1, 3, 1), (1, 6, 6, 1), (6, 6, 6, 6), (5, 5, 10, 5), (3, 6, 6, 3), (2, 3, 6, 1), (4, 4, 4, 4)],
)
def test_differences_that_share_a_network_are_not_independent(best_networks, networks, seeds, independent):
    pair = against(best_networks, networks, seeds)
    assert len(pair.differences) == independent
    known = pair.over_replicates[0] == pair.over_replicates[0]
    assert known == (independent >= 5)
    assert pair.verdict == ("worse" if known else "worse in these runs")


def test_many_episodes_of_few_seeds_say_nothing_of_learners():
    """One seed is lucky for the one, one for the other: over episodes they differ, over seeds they do not."""
    results = []
    for seed in range(6):
        for name, level in (("ridge", 1.0), ("sgd", 0.9 if seed % 2 else 1.2)):
            result = made_up_result(name, seed=seed, episodes=40)
            results.append(with_scores(result, [level + 0.01 * (i % 5) for i in range(40)]))
    (pair,) = compare_with_best(leaderboard_of(results))
    assert verdict_of(pair.over_episodes.interval) == "worse"
    assert pair.verdict == "no clear difference"


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.1, 0.2), "worse"),
        ((-0.2, -0.1), "better"),
        ((-0.1, 0.1), "no clear difference"),
        ((float("nan"),) * 2, "not known"),
    ],
)
def test_verdicts(interval, verdict):
    assert verdict_of(interval) == verdict


def test_what_somebody_brought_is_shown_first_wherever_it_stands():
    results = made_up_benchmark(("flp", "ridge"), seeds=1)
    results += [
        made_up_result("mine"),
        made_up_result("runs/a", checkpoint="a" * 64),
        made_up_result("broken", failure="x"),
    ]
    leaderboards = make_leaderboards(results)
    assert [s.name for s in leaderboards[0].rows if s.own] == ["a", "mine", "broken"]
    assert [s.name for s in leaderboards[0].shown_first] == ["a", "mine", "flp", "ridge"]
    assert leaderboards[0].best.name == "flp"
    assert overall_order(leaderboards) == ["a", "mine", "flp", "ridge", "broken"]


def test_settings_that_were_chosen_elsewhere_are_named():
    def tuned(env, env_options=(), tuned_on="FLPSine-Continual"):
        result = made_up_result("ridge", env=env)
        cell = replace(result.cell, env_options=dict(env_options))
        return leaderboard_of([replace(result, cell=cell, stamp={**result.stamp, "tuned_on": tuned_on})]).rows[0]

    assert tuned(ENV).tuned_elsewhere == tuned(f"flp_envs:{ENV}").tuned_elsewhere == ""
    assert tuned(ENV, {"num_functions": 3}).tuned_elsewhere == "FLPSine-Continual as it is"
    assert tuned("Mine-v0").tuned_elsewhere == "FLPSine-Continual"
    assert tuned("Mine-v0", tuned_on="").tuned_elsewhere == ""
