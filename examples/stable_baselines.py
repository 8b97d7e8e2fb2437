"""stable-baselines3's policies run in these environments as they are, and its evaluation scores every learner here.

A recurrent policy, which learns in its activity, is trained by reward alone, for some seconds: far too few. What comes
of minutes: flp train-sb3, and the policies that are bundled.
"""

from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import flp_envs
from flp_agents import GymAgent, evaluate, load_bundled

ENV = "FLPSine-Continual-v0"
# Short lifetimes with a long query: answers to the query are what is rewarded. 10 steps of support, 100 of query.
SHORT = {"split": "meta-train", "steps_per_function": 1, "query_size": 320}

train = make_vec_env(ENV, n_envs=8, env_kwargs=SHORT, seed=0)
# No answer changes what comes later: each is scored by its own reward alone, gamma 0.
policy = RecurrentPPO(
    "MultiInputLstmPolicy",
    train,
    n_steps=110,
    batch_size=440,
    gamma=0.0,
    n_epochs=2,
    seed=0,
    policy_kwargs={"lstm_hidden_size": 32},
)
policy.learn(1760)

test = flp_envs.make(ENV, split="meta-test")
for name, agent in (("recurrent PPO", policy), ("FLP (2)", GymAgent(load_bundled("flp-2-sine-continual"), test))):
    flp_envs.seed_env(test, 0)
    score, _ = evaluate_policy(agent, test, n_eval_episodes=2, warn=False)
    print(f"{name}: mean squared error {-score:.4f}")

# And the other way round: a policy is a learner, which runs through the same episodes with the same answers.
result = evaluate(policy, test, episodes=2, seed=0)
print(f"recurrent PPO as a learner: mean squared error {result.mean:.4f}")
