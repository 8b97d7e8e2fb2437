"""Online and continual meta-learning as Gymnasium environments.

``import flp_envs`` registers the ids; then ``gym.make("FLPSine-Continual-v0")``. No torch is imported here.
"""

from flp_base.errors import FLPError, InvalidChoice, InvalidSize
from flp_envs.episode import Episode
from flp_envs.families.family import register_family
from flp_envs.few_shot import FewShotTask
from flp_envs.online_env import OnlineLearningEnv
from flp_envs.recording import ProtocolError, draw_episodes, record_episode, seed_env
from flp_envs.registration import ENV_IDS, known_ids, make
from flp_envs.scoring import InvalidAction
from flp_envs.sine import SineTask
from flp_envs.stream import Observation
from flp_envs.task import Task
from flp_envs.vector_env import OnlineLearningVectorEnv

__all__ = [
    "ENV_IDS",
    "Episode",
    "FLPError",
    "FewShotTask",
    "InvalidAction",
    "InvalidChoice",
    "InvalidSize",
    "Observation",
    "OnlineLearningEnv",
    "OnlineLearningVectorEnv",
    "ProtocolError",
    "SineTask",
    "Task",
    "draw_episodes",
    "known_ids",
    "make",
    "record_episode",
    "register_family",
    "seed_env",
]
