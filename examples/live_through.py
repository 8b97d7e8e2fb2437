"""A meta-trained learner lives through one episode: ten functions in a row, each pair seen once."""

import gymnasium as gym

import flp_envs
from flp_agents import GymAgent, load_bundled

env = gym.make("FLPSine-Continual-v0", split="meta-test")
agent = GymAgent(load_bundled("flp-2-sine-continual"), env)
observation, info = env.reset(seed=0)
state, score, done = None, 0.0, False
while not done:
    action, state = agent.predict(observation, state)  # learns from the last target, then answers
    observation, reward, done, truncated, info = env.step(action)
    score += reward
print(f"mean squared error on all ten functions: {-score:.4f}")
