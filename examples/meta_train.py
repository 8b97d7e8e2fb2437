"""Meta-training by hand: a learner, an environment, and Adam on its initial state.

Short lifetimes on few functions, so that a minute is enough to see the query loss fall.
"""

import gymnasium as gym

import flp_envs
from flp_agents import FLP, Feedback, MetaTrainer, Network, evaluate

SHORT = {"num_functions": 3, "steps_per_function": 8}

train = gym.make("FLPSine-Continual-v0", split="meta-train", **SHORT)
test = gym.make("FLPSine-Continual-v0", split="meta-test", **SHORT)
learner = FLP(
    Network((4, 64, 64, 64, 64, 1), input_scale=(1, 1, 1, 0.2)),  # three one-hot indices, then x in [-5, 5]
    plastic_layers=2,
    feedback=Feedback(rectified=False, positive_output=True),
    initial_coefficient=1.0,
    coefficient_unit=3e-5,
)
rates = {"weights": 2e-3, "feedback": 2e-3, "strengths": 2e-3, "coefficients": 0.08}
trainer = MetaTrainer(learner, train, rates=rates, meta_batch=8, warm_up=50)
print(f"initial: {evaluate(learner, test).mean:.3f}")
for step in range(1, 601):
    trainer.step()
    if step % 200 == 0:
        print(f"after {step} outer steps: {evaluate(learner, test).mean:.3f}")
