"""A benchmark: learners x environments x seeds, in parallel processes, and a page of the results.

It can be interrupted at any time: called again, it goes on where it was. From the command line:

    flp benchmark --learners sgd ridge flp --envs FLPSine-Continual-v0 --seeds 2 --episodes 10 --output compared
    flp report compared
"""

from pathlib import Path

from flp_agents import BenchmarkPlan, run_benchmark, write_report

FOLDER = Path("compared")

if __name__ == "__main__":  # each process imports this file
    plan = BenchmarkPlan(learners=("sgd", "ridge", "flp"), envs=("FLPSine-Continual-v0",), seeds=2, episodes=10)
    for result in run_benchmark(plan, FOLDER, jobs=2):
        scores = result.scores["query_score"]
        print(f"{result.title}, seed {result.cell.seed}: mean squared error {sum(scores) / len(scores):.2g}")
    print(f"a page of it: {write_report(FOLDER)}")
