"""An environment streams lifetimes: ten functions in a row, each pair seen once, then a query on all of them.

Here a meta-trained learner runs through one of them, and then through sixteen at once.
"""

import gymnasium as gym
import torch

import flp_envs
from flp_agents import GymAgent, load_bundled

torch.set_num_threads(1)  # the products are small: several threads would wait for each other
env = gym.make("FLPSine-Continual-v0", split="meta-test")
agent = GymAgent(load_bundled("flp-2-sine-continual"), env)
observation, info = env.reset(seed=0)
state, score, done = None, 0.0, False
while not done:
    action, state = agent.predict(observation, state)  # learns from the last target, then answers
    observation, reward, done, truncated, info = env.step(action)
    score += reward
print(f"mean squared error on all ten functions: {-score:.4f}")

envs = gym.make_vec("FLPSine-Continual-v0", num_envs=16, split="meta-test")
observation, info = envs.reset(seed=0)  # the first of them is the lifetime above
state, scores, done = None, 0.0, [False]
while not any(done):
    action, state = agent.predict(observation, state)
    observation, rewards, done, truncated, info = envs.step(action)
    scores += rewards
print(f"of sixteen lifetimes at once, from {-scores.max():.4f} to {-scores.min():.4f}; the first: {-scores[0]:.4f}")
