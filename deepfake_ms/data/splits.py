"""Split policies, which assign faces to training, validation and test sets, and balancing of the training set.

All random draws are keyed and made over sorted ids, so the same seed gives the same subsets regardless of the order of
the manifest's rows.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES, FAKE
from deepfake_ms.randomness import key

SUBSETS = ("train", "validation", "test")
UNUSED = "unused"
POLICIES = ("paper_frames", "video", "identity", "official")
DISJOINT = ("videos", "identities", "near_duplicates")


@dataclass(frozen=True)
class SplitPolicy:
    """How a corpus is split into training, validation and test set.

    Attributes:
        policy: what is kept within one subset.

            - "paper_frames": nothing. Frames are split at random, as in the paper. Frames of the same video and faces
              of the same person occur in all subsets, which inflates every score.
            - "video": the frames of a video.
            - "identity": all videos of a person, and hence both people of a fake; see `split_manifest`.
            - "official": the corpus's own lists. If they name all three subsets (FaceForensics++), they are the split,
              and unlisted videos are unused. If they name only the test set (Celeb-DF), the remaining videos are
              split by identity.
        fractions: fractions of the training, validation and test set, counted in faces for "paper_frames" and in videos
            otherwise. "official" uses only the ratio of the first two, and none if the corpus lists all three subsets.
        seed: seed of the random assignment.
        held_out_methods: fakes by these methods are unused unless they are in the test set, to test whether a detector
            finds forgeries of a kind that it has not seen.
        require_disjoint: any of "videos", "identities", "near_duplicates": what two subsets must not share; see
            `deepfake_ms.data.audit.check_split`.

    Raises:
        UserError: the policy or a requirement is unknown, or the fractions are not positive or do not sum to 1.
    """

    policy: str = "identity"
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
    seed: int = 0
    held_out_methods: tuple[str, ...] = ()
    require_disjoint: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise UserError(f"split.policy={self.policy} is unknown: choose one of {', '.join(POLICIES)}.")
        if len(self.fractions) != 3 or min(self.fractions) <= 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise UserError(f"split.fractions={list(self.fractions)} must be three positive numbers that sum to 1.")
        if unknown := set(self.require_disjoint) - set(DISJOINT):
            raise UserError(
                f"split.require_disjoint contains unknown values {', '.join(sorted(unknown))}: "
                f"choose from {', '.join(DISJOINT)}."
            )


def split_manifest(manifest: pd.DataFrame, policy: SplitPolicy) -> pd.Series:
    """Assign every face to a subset: "train", "validation", "test" or "unused", aligned with the manifest's rows.

    Unlabelled faces are unused. "paper_frames" and "video" are stratified by label. "identity" keeps groups of people
    who were swapped with each other together, provided every subset then gets at least half of its fraction of each
    class. Otherwise it assigns people one by one and leaves fakes that show people from two subsets unused; if everyone
    was swapped with everyone, these are more than half of the fakes (`deepfake_ms.data.audit` counts them). A video of
    unknown identity counts as a separate person.

    The result may still leak, or lack a class in a subset: `deepfake_ms.data.audit` counts and checks both.

    Raises:
        UserError: no fake is made by a method that is held out; with policy "official", the corpus has no test list,
            its lists name the test set and only one other subset, or every video is in the test set.
    """
    labelled = manifest[manifest["label"].isin(CLASS_NAMES)].sort_values("sample_id")
    videos = labelled.drop_duplicates("video_id").set_index("video_id").sort_index()
    generator = np.random.default_rng(key("split", policy.policy, policy.seed))
    if policy.policy == "paper_frames":
        subset_of_face = _assign_stratified(labelled.set_index("sample_id")["label"], policy.fractions, generator)
    else:
        if policy.policy == "video":
            subset_of_video = _assign_stratified(videos["label"], policy.fractions, generator)
        elif policy.policy == "identity":
            subset_of_video = _assign_people(videos, policy.fractions, generator)
        else:
            subset_of_video = _official(videos, policy.fractions, generator)
        subset_of_face = labelled.set_index("sample_id")["video_id"].map(subset_of_video)
    subsets = manifest["sample_id"].map(subset_of_face).astype(object).fillna(UNUSED).rename("subset")
    if policy.held_out_methods:
        subsets = subsets.where(~is_held_out(manifest, policy) | (subsets == "test"), UNUSED)
    return subsets


def listed_subsets(faces: pd.DataFrame) -> tuple[str, ...]:
    """The subsets that occur in the corpus's own lists of these labelled faces or videos, in the order of `SUBSETS`."""
    named = set(faces.loc[faces["label"].isin(CLASS_NAMES), "official_subset"])
    return tuple(subset for subset in SUBSETS if subset in named)


def balance(manifest: pd.DataFrame, rows: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Choose equally many real and fake faces from `rows` at random; the paper trains on 4,000 of each.

    Args:
        manifest: from `read_manifest`.
        rows: manifest positions to choose from.
        per_class: maximum number per class; fewer if the smaller class has fewer faces.
        seed: seed of the random choice.

    Returns:
        Chosen manifest positions, sorted.

    Raises:
        UserError: one class is missing.
    """
    faces = manifest.iloc[rows][["sample_id", "label"]].assign(row=rows).sort_values("sample_id")
    candidates = {name: faces.loc[faces["label"] == name, "row"].to_numpy() for name in CLASS_NAMES}
    count = min(per_class, *map(len, candidates.values()))
    if count == 0:
        found = ", ".join(f"{len(of_class)} {name}" for name, of_class in candidates.items())
        raise UserError(
            f"The training set needs real and fake faces, but has {found} (per_class={per_class}): prepare videos of "
            "the missing class, or choose another split.policy."
        )
    generator = np.random.default_rng(key("balance", seed))
    chosen = [generator.choice(of_class, count, replace=False) for of_class in candidates.values()]
    return np.sort(np.concatenate(chosen))


def is_held_out(manifest: pd.DataFrame, policy: SplitPolicy) -> pd.Series:
    """Whether each face is a fake by a method that is held out: bool, aligned with the manifest's rows.

    Raises:
        UserError: no fake is made by one of the methods.
    """
    fakes = manifest["label"] == CLASS_NAMES[FAKE]
    methods = sorted(manifest["method"][fakes].unique())
    if unknown := sorted(set(policy.held_out_methods).difference(methods)):
        raise UserError(
            f"split.held_out_methods: no fake is made by {', '.join(unknown)}; choose from {', '.join(methods)}."
        )
    return fakes & manifest["method"].isin(policy.held_out_methods)


def _assign_stratified(labels: pd.Series, fractions: tuple[float, ...], generator: np.random.Generator) -> pd.Series:
    """Assign each item (index: sorted ids; values: labels) to a subset, in the given fractions of each label."""
    subsets = pd.Series(UNUSED, index=labels.index, dtype=object)
    for name in CLASS_NAMES:
        items = generator.permutation(labels.index[labels == name].to_numpy(dtype=object))
        ends = np.rint(np.cumsum(fractions) * len(items)).astype(int)
        for subset, part in zip(SUBSETS, np.split(items, ends[:-1]), strict=True):
            subsets[part] = subset
    return subsets


def _assign_people(videos: pd.DataFrame, fractions: tuple[float, ...], generator: np.random.Generator) -> pd.Series:
    """Assign each video to a subset such that no person is in two; `fractions` may cover fewer than three subsets."""
    if videos.empty:
        return pd.Series(dtype=object)
    casts = [
        [str(identity) for identity in identities] or [f"video {video}"]
        for video, identities in videos["identities"].items()
    ]
    video = np.repeat(np.arange(len(casts)), [len(cast) for cast in casts])
    person = np.unique([name for cast in casts for name in cast], return_inverse=True)[1]
    is_class = np.stack([videos["label"] == name for name in CLASS_NAMES], axis=1)
    people = person.max() + 1
    edges = coo_array((np.ones(len(person)), (person, people + video)), shape=(people + len(casts),) * 2)
    group = connected_components(edges, directed=False)[1][:people]

    subset, coverage = _best_assignment(group, person, video, is_class, fractions, generator)
    if coverage < 0.5:
        subset, _ = _best_assignment(np.arange(people), person, video, is_class, fractions, generator)
    return pd.Series(
        [SUBSETS[number] if number >= 0 else UNUSED for number in subset], index=videos.index, dtype=object
    )


def _best_assignment(
    unit: np.ndarray,
    person: np.ndarray,
    video: np.ndarray,
    is_class: np.ndarray,
    fractions: tuple[float, ...],
    generator: np.random.Generator,
    tries: int = 50,
) -> tuple[np.ndarray, float]:
    """The best of several random assignments of people to subsets.

    Args:
        unit: int [people], the number of each person's unit; the people of a unit are assigned together.
        person, video: int [appearances], which person appears in which video; a video's appearances are consecutive.
        is_class: bool [videos, classes].
        fractions: target fraction of each subset.
        tries: maximum number of random assignments.

    Returns:
        The subset of each video (-1 if its people are in different subsets), and the coverage: the smallest ratio, over
        subsets and classes, of a subset's share of the videos of a class to its fraction. 1 is perfect; 0 means that a
        subset lacks a class.
    """
    target = np.asarray(fractions)[:, None]
    per_video = is_class / np.maximum(is_class.sum(axis=0), 1)
    load = np.zeros((unit.max() + 1, is_class.shape[1]))
    np.add.at(load, unit[person], per_video[video] / np.bincount(video)[video, None])
    starts = np.flatnonzero(np.diff(video, prepend=-1))

    best = (np.full(len(is_class), -1), -1.0)
    for _ in range(tries):
        subset_of_unit = np.zeros(len(load), dtype=int)
        missing = np.ones((len(fractions), is_class.shape[1]))  # unfilled part of each subset, per class
        for number in generator.permutation(len(load)):
            subset_of_unit[number] = np.argmax(missing @ load[number])
            missing[subset_of_unit[number]] -= load[number] / fractions[subset_of_unit[number]]
        appearance = subset_of_unit[unit[person]]
        first, last = np.minimum.reduceat(appearance, starts), np.maximum.reduceat(appearance, starts)
        subset = np.where(first == last, first, -1)
        share = np.stack([per_video[subset == number].sum(axis=0) for number in range(len(fractions))])
        coverage = float((share / target).min())
        if coverage > best[1]:
            best = (subset, coverage)
        if coverage > 0.95:
            break
    return best


def _official(videos: pd.DataFrame, fractions: tuple[float, ...], generator: np.random.Generator) -> pd.Series:
    """The corpus's lists; if they name only the test set, the remaining videos are split by identity."""
    listed = videos["official_subset"].astype(object)
    named = listed_subsets(videos)
    if named == SUBSETS:
        return listed.where(listed.notna(), UNUSED)
    if named != ("test",):
        found = f"only {' and '.join(named)}" if named else "no video"
        raise UserError(
            f"split.policy=official: the corpus's lists name {found}, but must name only the test set or all three "
            "subsets: choose another split.policy."
        )
    is_test = listed == "test"
    if is_test.all():
        raise UserError("split.policy=official: all videos are in the corpus's test list: prepare other videos too.")
    training, validation, _ = fractions
    rest = _assign_people(
        videos[~is_test], (training / (training + validation), validation / (training + validation)), generator
    )
    return pd.concat([listed[is_test], rest])
