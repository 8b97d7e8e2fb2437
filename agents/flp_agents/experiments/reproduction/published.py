"""What the paper found: tables 1 and 2 of Lindsey & Litwin-Kumar (2020), as numbers."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """One figure of a table, in the table's unit.

    Attributes:
        mean: over meta-trained networks.
        standard_error: of that mean, over networks; none where the paper gives none.
    """

    mean: float
    standard_error: float | None = None


# Table, method and column, as :mod:`flp_agents.experiments.reproduction.tables` names them.
PUBLISHED: dict[str, dict[str, dict[str, Published]]] = {
    "table1": {
        "Feature Reuse (1)": {"iid": Published(0.050, 7e-3), "continual": Published(0.035, 3e-3)},
        "FLP (2)": {"iid": Published(0.00093, 3e-5), "continual": Published(0.0016, 6e-5)},
        "FLP (3)": {"iid": Published(0.00051, 8e-5), "continual": Published(0.0068, 2e-3)},
        "Gradient-based (3)": {"iid": Published(0.00057, 2e-5), "continual": Published(0.069, 0.02)},
        "Original OML (3)": {"iid": Published(0.072), "continual": Published(0.40)},
    },
    "table2": {
        "Feature Reuse (1)": {
            "omniglot": Published(4.6, 0.1),
            "omniglot_continual": Published(5.0, 0.1),
            "mini_imagenet": Published(48.2, 0.1),
        },
        "FLP (2)": {
            "omniglot": Published(3.0, 0.1),
            "omniglot_continual": Published(2.7, 0.1),
            "mini_imagenet": Published(42.5, 0.6),
        },
        "Gradient-based (2)": {
            "omniglot": Published(3.2, 0.1),
            "omniglot_continual": Published(3.4, 0.1),
            "mini_imagenet": Published(42.5, 0.3),
        },
        "Original OML (2)": {
            "omniglot": Published(3.5),
            "omniglot_continual": Published(7.0),
            "mini_imagenet": Published(52.0),
        },
    },
}
