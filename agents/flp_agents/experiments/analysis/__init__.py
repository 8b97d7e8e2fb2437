"""What meta-trained learners do within a lifetime, as arrays: the analyses of Lindsey & Litwin-Kumar (2020), section 7.

Letters are those of the paper's figure 2; see docs/analysis.md.

- A, initial features: :func:`readout_scores`
- B, interference: :func:`change_on_earlier_tasks`
- C and D, direction and size of updates: :func:`updates_over_lifetime`
- E, query loss over the lifetime (appendix C): :func:`predictions_over_lifetime`, :func:`query_loss_over_lifetime`
- F, plasticity enabled in more layers (section 7.1): :func:`continue_with_more_plasticity`
- A to E together: :func:`analyse`
"""

from flp_agents.experiments.analysis.continued import Continued, continue_with_more_plasticity
from flp_agents.experiments.analysis.more_plasticity import with_more_plasticity
from flp_agents.experiments.analysis.over_lifetime import (
    change_on_earlier_tasks,
    moments_of,
    predictions_over_lifetime,
    query_loss_over_lifetime,
    query_score_over_lifetime,
)
from flp_agents.experiments.analysis.readout import fit_readout, initial_features, readout_scores, with_constant
from flp_agents.experiments.analysis.together import Analysis, NoPlasticLayers, analyse
from flp_agents.experiments.analysis.updates import Updates, updates_over_lifetime

__all__ = [
    "Analysis",
    "Continued",
    "NoPlasticLayers",
    "Updates",
    "analyse",
    "change_on_earlier_tasks",
    "continue_with_more_plasticity",
    "fit_readout",
    "initial_features",
    "moments_of",
    "predictions_over_lifetime",
    "query_loss_over_lifetime",
    "query_score_over_lifetime",
    "readout_scores",
    "updates_over_lifetime",
    "with_constant",
    "with_more_plasticity",
]
