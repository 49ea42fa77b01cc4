"""Who is trained on and who is tested on: split policies and balancing.

Everything is drawn from keyed randomness over sorted ids, so the same seed gives the same subsets whatever the order of
the manifest's rows.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.randomness import key

SUBSETS = ("train", "validation", "test")
UNUSED = "unused"
POLICIES = ("paper_frames", "video", "identity", "official")
DISJOINT = ("videos", "identities", "near_duplicates")


@dataclass(frozen=True)
class SplitPolicy:
    """How a corpus is divided into training, validation and test set.

    Attributes:
        policy: what stays together.
            "paper_frames": nothing. Frames are split at random, as in the paper: a video's frames, and a face, stand
                on all subsets, which flatters every score.
            "video": the frames of a video.
            "identity": all videos of a person, and with them both persons of a fake; see `split_manifest`.
            "official": the corpus's own lists. If they name all three subsets (FaceForensics++), that is the split, and
                videos that they do not name are unused. If they name the test set only (Celeb-DF), the rest is
                divided by identity.
        fractions: of training, validation and test; of faces for "paper_frames", else of videos. With "official" only
            the ratio of the first two counts, and nothing if the corpus lists all three subsets.
        seed: keys the draw.
        require_disjoint: any of "videos", "identities", "near_duplicates": what may not stand on two subsets; see
            `deepfake_ms.data.audit.check_split`.

    Raises:
        UserError: an unknown policy or requirement, or fractions that are not positive or do not sum to 1.
    """

    policy: str = "identity"
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
    seed: int = 0
    require_disjoint: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise UserError(f"split: there is no policy {self.policy!r}; choose one of {', '.join(POLICIES)}.")
        if len(self.fractions) != 3 or min(self.fractions) <= 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise UserError(f"split: fractions {tuple(self.fractions)} must be three positive numbers that sum to 1.")
        if unknown := set(self.require_disjoint) - set(DISJOINT):
            raise UserError(f"split: require_disjoint knows {', '.join(DISJOINT)}, not {', '.join(sorted(unknown))}.")


def split_manifest(manifest: pd.DataFrame, policy: SplitPolicy) -> pd.Series:
    """The subset of every face: "train", "validation", "test" or "unused", aligned with the manifest's rows.

    Unlabelled faces are unused. "paper_frames" and "video" are stratified by label. "identity" keeps groups of persons
    who were swapped with each other together, if every subset then gets at least half of its fraction of either class.
    Otherwise it deals out the persons one by one and leaves the fakes that would join two subsets unused: more than half
    of them if everyone was swapped with everyone (`deepfake_ms.data.audit` counts them). A video of unknown identity
    counts as a person of its own.

    What comes out may still leak or lack a class on a subset: `deepfake_ms.data.audit` counts and checks that.

    Raises:
        UserError: policy "official", and the corpus has no test list, or its lists name the test and one other subset.
    """
    labelled = manifest[manifest["label"].isin(CLASS_NAMES)].sort_values("sample_id")
    videos = labelled.drop_duplicates("video_id").set_index("video_id").sort_index()
    generator = np.random.default_rng(key("split", policy.policy, policy.seed))
    if policy.policy == "paper_frames":
        subset_of_face = _deal_items(labelled.set_index("sample_id")["label"], policy.fractions, generator)
    else:
        if policy.policy == "video":
            subset_of_video = _deal_items(videos["label"], policy.fractions, generator)
        elif policy.policy == "identity":
            subset_of_video = _deal_persons(videos, policy.fractions, generator)
        else:
            subset_of_video = _official(videos, policy.fractions, generator)
        subset_of_face = labelled.set_index("sample_id")["video_id"].map(subset_of_video)
    return manifest["sample_id"].map(subset_of_face).fillna(UNUSED).rename("subset").astype(object)


def listed_subsets(faces: pd.DataFrame) -> tuple[str, ...]:
    """The subsets that the corpus's own lists give to labelled ones of these faces or videos, in the order of `SUBSETS`."""
    named = set(faces.loc[faces["label"].isin(CLASS_NAMES), "official_subset"])
    return tuple(subset for subset in SUBSETS if subset in named)


def balance(manifest: pd.DataFrame, rows: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """As many real as fake faces, chosen at random from `rows`: the paper's 4,000 of each for training.

    Args:
        manifest: as `read_manifest` gives it.
        rows: manifest positions to choose from.
        per_class: at most this many of each class; the smaller class sets the number if it has fewer.
        seed: keys the choice.

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
            f"training needs real and fake faces, but there are {found} (and at most {per_class} per class are asked "
            "for): prepare videos of the missing class, or choose another split."
        )
    generator = np.random.default_rng(key("balance", seed))
    chosen = [generator.choice(of_class, count, replace=False) for of_class in candidates.values()]
    return np.sort(np.concatenate(chosen))


def _deal_items(labels: pd.Series, fractions: tuple[float, ...], generator: np.random.Generator) -> pd.Series:
    """A subset for each item (index: id, sorted; values: label), in the given fractions of each label."""
    subsets = pd.Series(UNUSED, index=labels.index, dtype=object)
    for name in CLASS_NAMES:
        items = generator.permutation(labels.index[labels == name].to_numpy(dtype=object))
        ends = np.rint(np.cumsum(fractions) * len(items)).astype(int)
        for subset, part in zip(SUBSETS, np.split(items, ends[:-1]), strict=True):
            subsets[part] = subset
    return subsets


def _deal_persons(videos: pd.DataFrame, fractions: tuple[float, ...], generator: np.random.Generator) -> pd.Series:
    """A subset for each video, such that no person stands on two; `fractions` may be of fewer subsets than three."""
    casts = [
        [str(identity) for identity in identities] or [f"video {video}"]
        for video, identities in videos["identities"].items()
    ]
    video = np.repeat(np.arange(len(casts)), [len(cast) for cast in casts])
    person = np.unique([name for cast in casts for name in cast], return_inverse=True)[1]
    is_class = np.stack([videos["label"] == name for name in CLASS_NAMES], axis=1)
    persons = person.max() + 1
    edges = coo_array((np.ones(len(person)), (person, persons + video)), shape=(persons + len(casts),) * 2)
    group = connected_components(edges, directed=False)[1][:persons]

    subset, coverage = _best_deal(group, person, video, is_class, fractions, generator)
    if coverage < 0.5:
        subset, _ = _best_deal(np.arange(persons), person, video, is_class, fractions, generator)
    return pd.Series(
        [SUBSETS[number] if number >= 0 else UNUSED for number in subset], index=videos.index, dtype=object
    )


def _best_deal(
    unit: np.ndarray,
    person: np.ndarray,
    video: np.ndarray,
    is_class: np.ndarray,
    fractions: tuple[float, ...],
    generator: np.random.Generator,
    tries: int = 50,
) -> tuple[np.ndarray, float]:
    """The best of some random deals of persons to subsets.

    Args:
        unit: what is dealt as a whole; int [persons], the number of each person's unit.
        person, video: who appears in which video; int [appearances], all appearances in a video in a row.
        is_class: bool [videos, classes].
        fractions: wanted, per subset.

    Returns:
        The subset of each video (-1: its persons are on different subsets), and the coverage: the smallest ratio, over
        subsets and classes, of a subset's share of the videos of a class to its fraction. 1 is perfect, 0 an empty subset.
    """
    wanted = np.asarray(fractions)[:, None]
    per_video = is_class / np.maximum(is_class.sum(axis=0), 1)
    load = np.zeros((unit.max() + 1, is_class.shape[1]))
    np.add.at(load, unit[person], per_video[video] / np.bincount(video)[video, None])
    starts = np.flatnonzero(np.diff(video, prepend=-1))

    best = (np.full(len(is_class), -1), -1.0)
    for _ in range(tries):
        subset_of_unit = np.zeros(len(load), dtype=int)
        missing = np.ones((len(fractions), is_class.shape[1]))  # of each subset's part of each class
        for number in generator.permutation(len(load)):
            subset_of_unit[number] = np.argmax(missing @ load[number])
            missing[subset_of_unit[number]] -= load[number] / fractions[subset_of_unit[number]]
        appearance = subset_of_unit[unit[person]]
        first, last = np.minimum.reduceat(appearance, starts), np.maximum.reduceat(appearance, starts)
        subset = np.where(first == last, first, -1)
        share = np.stack([per_video[subset == number].sum(axis=0) for number in range(len(fractions))])
        coverage = float((share / wanted).min())
        if coverage > best[1]:
            best = (subset, coverage)
        if coverage > 0.95:
            break
    return best


def _official(videos: pd.DataFrame, fractions: tuple[float, ...], generator: np.random.Generator) -> pd.Series:
    """The corpus's lists; if they name the test set only, training and validation from the rest by identity."""
    listed = videos["official_subset"].astype(object)
    named = listed_subsets(videos)
    if named == SUBSETS:
        return listed.where(listed.notna(), UNUSED)
    if named != ("test",):
        found = f"only {' and '.join(named)}" if named else "no video"
        raise UserError(
            f"split official: the corpus's lists name {found}, but must name the test set alone or all three: "
            "choose another split policy."
        )
    tested = listed == "test"
    if tested.all():
        raise UserError("split official: every video is in the corpus's test list; prepare the others too.")
    training, validation, _ = fractions
    rest = _deal_persons(
        videos[~tested], (training / (training + validation), validation / (training + validation)), generator
    )
    return pd.concat([listed[tested], rest])
