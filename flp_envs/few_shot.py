"""Few-shot streams of images: new classes, a few images of each, one image at a time.

Source: section 6 of Lindsey & Litwin-Kumar (2020), after Vinyals et al. (2016) and Javed & White (2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from flp_base.errors import InvalidSize, check_at_least, check_choice
from flp_base.machine_memory import check_fits
from flp_base.shown_options import ShowsOptions
from flp_datasets.classes import ImageClasses
from flp_envs.episode import Episode
from flp_envs.sampling import check_interleaving, choose_distinct, generators_of, mixed_order
from flp_envs.scoring import LabelError, Scoring
from flp_envs.task import Renderer

# Which drawings of an episode's classes the query asks for.
QUERY_FROM = ("unseen", "seen", "all")


class FewShotTask(ShowsOptions):
    """Draws episodes of few-shot classification.

    An episode holds ``num_classes`` classes, drawn without replacement; each is taught by ``shots`` images, one image a
    step, each seen once. Labels are assigned to the classes afresh in every episode, and tell nothing of the order in
    which they are taught.

    Args:
        classes: the images of one split.
        split: what that split is called.
        num_classes: classes in an episode.
        shots: support images of each class.
        query_shots: query images of each class.
        interleaving: 0 teaches class after class (continual), 1 mixes the images fully (i.i.d.); see
            :func:`flp_envs.sampling.mixed_order`.
        query_from: "unseen": images that are not in the support; "seen": support images once more; "all": any of the
            class, so that some are also in the support, as in the released code's meta-training.

    Raises:
        InvalidChoice: for an unknown ``query_from``.
        InvalidSize: for impossible sizes, such as more classes than the split has.
    """

    minibatches = False

    def __init__(
        self,
        classes: ImageClasses,
        split: str,
        *,
        num_classes: int = 5,
        shots: int = 5,
        query_shots: int = 5,
        interleaving: float = 0.0,
        query_from: str = "unseen",
    ) -> None:
        self.classes, self.split = classes, split
        self.num_classes = check_at_least("num_classes", num_classes, 2)
        self.shots = check_at_least("shots", shots, 1)
        self.query_shots = check_at_least("query_shots", query_shots, 1)
        self.query_from = check_choice("query_from", query_from, QUERY_FROM)
        self.interleaving = check_interleaving(interleaving)
        if self.num_classes > classes.num_classes:
            raise InvalidSize(
                f"num_classes must be at most {classes.num_classes}, the number of classes in {split}, "
                f"got {self.num_classes}"
            )
        if query_from == "seen" and self.query_shots > self.shots:
            raise InvalidSize(
                f'query_shots must be at most shots, {self.shots}, with query_from="seen", got {self.query_shots}'
            )
        self._check_drawings()
        pixels = math.prod(classes.image_shape)
        self._episode_bytes = (self.support_steps + self.query_steps) * (pixels + 4 * 8)
        check_fits(
            f"an episode of {self.support_steps} support and {self.query_steps} query images of {pixels} bytes",
            self._episode_bytes + 12 * pixels,  # the space's bounds
            "lower num_classes, shots, query_shots or image_size",
        )
        self.input_space: spaces.Space[Any] = spaces.Box(0, 255, classes.image_shape, np.uint8)
        self.target_space: spaces.Space[Any] = spaces.Discrete(self.num_classes)
        self.answer_space: spaces.Space[Any] = spaces.Discrete(self.num_classes)
        self.scoring: Scoring = LabelError(self.num_classes)

    @property
    def support_steps(self) -> int:
        """Support images in an episode, ``T``."""
        return self.num_classes * self.shots

    @property
    def query_steps(self) -> int:
        """Query images in an episode, ``Q``."""
        return self.num_classes * self.query_shots

    @property
    def data(self) -> dict[str, str]:
        """See :func:`flp_envs.task.data_of`."""
        return dict(getattr(self.classes, "data", {}))

    def sample(self, rng: np.random.Generator | Sequence[np.random.Generator], n: int = 1) -> Episode:
        """Draws ``n`` episodes one after another, so that ``sample(rng, 2)`` is two calls of ``sample(rng)``.

        Args:
            rng: where all randomness comes from; or several, of which each draws one episode.
            n: how many from a single ``rng``.

        Returns:
            The episodes, with ``B = 1``; an input is ``(C, H, W)`` uint8, a target a label, int64. Sub-tasks are
            numbered in the order in which a continual episode teaches them.
        """
        rngs = generators_of(rng, n, self._episode_bytes)
        support, total = self.support_steps, self.support_steps + self.query_steps
        # For every episode and step: which sub-task, which label, which image.
        task, label, classes, drawings = np.empty((4, len(rngs), total), np.int64)
        of_query = np.repeat(np.arange(self.num_classes), self.query_shots)
        of_support = np.repeat(np.arange(self.num_classes), self.shots)
        for i, generator in enumerate(rngs):
            chosen = choose_distinct(generator, self.num_classes, self.classes.num_classes)
            labels = choose_distinct(generator, self.num_classes, self.num_classes)
            taught, queried = zip(*(self._choose_drawings(generator, int(number)) for number in chosen), strict=True)
            order = mixed_order(generator, support, self.interleaving)
            task[i] = np.concatenate([of_support[order], of_query])
            label[i], classes[i] = labels[task[i]], chosen[task[i]]
            drawings[i] = np.concatenate([np.concatenate(taught)[order], *queried])
        images = self.classes.take(classes.reshape(-1), drawings.reshape(-1))
        images = images.reshape(len(rngs), total, 1, *self.classes.image_shape)
        return Episode(
            images[:, :support],
            label[:, :support, None],
            task[:, :support],
            images[:, support:],
            label[:, support:, None],
            task[:, support:],
        )

    def first_lifetimes(self, steps_per_task: int, num_classes: int) -> dict[str, Any]:
        """Options for lifetimes of more classes; see :func:`flp_envs.task.first_lifetimes_of`."""
        return {"num_classes": num_classes}

    def make_renderer(self) -> Renderer:
        """Draws the image queried, the classes, and the running accuracy; needs matplotlib."""
        from flp_envs.image_rendering import ImageRenderer

        return ImageRenderer(self.num_classes)

    def _choose_drawings(self, rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the support's and the query's images of one class."""
        among = self.classes.drawings
        count = int(among if isinstance(among, int) else among[number])
        if self.query_from == "unseen":
            both = choose_distinct(rng, self.shots + self.query_shots, count)
            return both[: self.shots], both[self.shots :]
        taught = choose_distinct(rng, self.shots, count)
        if self.query_from == "seen":
            return taught, taught[: self.query_shots]
        return taught, choose_distinct(rng, self.query_shots, count)

    def _check_drawings(self) -> None:
        """Raises :class:`InvalidSize` if a class has too few."""
        needed = self.shots + self.query_shots if self.query_from == "unseen" else max(self.shots, self.query_shots)
        among = self.classes.drawings
        fewest = int(np.min(among))
        if needed > fewest:
            number = 0 if isinstance(among, int) else int(np.argmin(among))
            which = "shots + query_shots" if self.query_from == "unseen" else "shots and query_shots"
            raise InvalidSize(
                f"{which} must be at most {fewest}, the number of images of {self.classes.name(number)} in "
                f"{self.split}, got {self.shots} and {self.query_shots}"
            )
