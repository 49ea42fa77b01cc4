"""Who is trained on and who is tested on: split policies, balancing and the leakage audit.

Everything is drawn from keyed randomness over sorted ids, so the same seed gives the same sides whatever the order of
the manifest's rows.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES
from deepfake_ms.randomness import key

SIDES = ("train", "validation", "test")
UNUSED = "unused"
POLICIES = ("paper_frames", "video", "identity", "official")
DISJOINT = ("videos", "identities")


@dataclass(frozen=True)
class SplitPolicy:
    """How a corpus is divided into training, validation and test side.

    Attributes:
        policy: what stays together.
            "paper_frames": nothing. Frames are split at random, as in the paper: a video's frames, and a face, stand
                on all sides, which flatters every score.
            "video": the frames of a video.
            "identity": all videos of a person, and with them both persons of a fake; see `split_manifest`.
            "official": the corpus's own test list is the test side; the rest is divided by identity.
        fractions: of training, validation and test; of faces for "paper_frames", else of videos. With "official" only
            the ratio of the first two counts.
        seed: keys the draw.
        require_disjoint: "videos" and/or "identities" that may not stand on two sides; refused if they do.

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
            raise UserError(f"split: require_disjoint knows {' and '.join(DISJOINT)}, not {', '.join(unknown)}.")


def split_manifest(manifest: pd.DataFrame, policy: SplitPolicy) -> pd.Series:
    """The side of every face: "train", "validation", "test" or "unused", aligned with the manifest's rows.

    Unlabelled faces are unused. "paper_frames" and "video" are stratified by label. "identity" keeps groups of persons
    who were swapped with each other together, if every side then gets at least half of its fraction of either class.
    Otherwise it deals out the persons one by one and leaves the fakes that would join two sides unused: more than half
    of them if everyone was swapped with everyone (`audit` counts them). A video of unknown identity counts as a person
    of its own.

    Raises:
        UserError: a side has no real or no fake face, or `policy.require_disjoint` is violated.
    """
    labelled = manifest[manifest["label"].isin(CLASS_NAMES)].sort_values("sample_id")
    videos = labelled.drop_duplicates("video_id").set_index("video_id").sort_index()
    generator = np.random.default_rng(key("split", policy.policy, policy.seed))
    if policy.policy == "paper_frames":
        side_of_face = _deal_items(labelled.set_index("sample_id")["label"], policy.fractions, generator)
    else:
        if policy.policy == "video":
            side_of_video = _deal_items(videos["label"], policy.fractions, generator)
        elif policy.policy == "identity":
            side_of_video = _deal_persons(videos, policy.fractions, generator)
        else:
            side_of_video = _official(videos, policy.fractions, generator)
        side_of_face = labelled.set_index("sample_id")["video_id"].map(side_of_video)
    sides = manifest["sample_id"].map(side_of_face).fillna(UNUSED).rename("side").astype(object)
    _check(manifest, sides, policy)
    return sides


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


def audit(manifest: pd.DataFrame, sides: pd.Series) -> pd.DataFrame:
    """What each side holds and what each pair of sides shares: the table to print before training.

    Returns:
        One row per side ("train", "validation", "test", "unused") and per pair of the first three ("train & test").
        Columns, all counts: `real` and `fake` faces (of a pair: faces of the first side whose crop stands, byte for
        byte, on the second too), `videos`, and `identities` (known ones).
    """
    of_side = {side: manifest[sides == side] for side in (*SIDES, UNUSED)}
    table = {side: _counts(faces, _identities(faces)) for side, faces in of_side.items()}
    for one, other in combinations(SIDES, 2):
        first, second = of_side[one], of_side[other]
        twins = first[first["sha256"].isin(second["sha256"])]
        table[f"{one} & {other}"] = {
            **_counts(twins, _identities(first) & _identities(second)),
            "videos": len(set(first["video_id"]) & set(second["video_id"])),
        }
    return pd.DataFrame.from_dict(table, orient="index")


def _counts(faces: pd.DataFrame, identities: set[str]) -> dict[str, int]:
    return {
        **{name: int((faces["label"] == name).sum()) for name in CLASS_NAMES},
        "videos": faces["video_id"].nunique(),
        "identities": len(identities),
    }


def _identities(faces: pd.DataFrame) -> set[str]:
    return {identity for identities in faces["identities"] for identity in identities}


def _check(manifest: pd.DataFrame, sides: pd.Series, policy: SplitPolicy) -> None:
    table = audit(manifest, sides)
    counts = table.loc[list(SIDES), list(CLASS_NAMES)]
    if (counts == 0).any(axis=None):
        found = "; ".join(f"{side} {row['real']} real and {row['fake']} fake" for side, row in counts.iterrows())
        unused = table.loc[UNUSED, list(CLASS_NAMES)].sum()
        raise UserError(
            f"split {policy.policy}: every side needs real and fake faces, but there are: {found} ({unused} unused "
            "faces). Prepare more videos or identities of the missing class, or choose another split policy or seed."
        )
    for what in policy.require_disjoint:
        shared = table[what].filter(like=" & ")
        if shared.any():
            found = ", ".join(f"{count} in {pair}" for pair, count in shared.items() if count)
            remedy = "identity" if what == "identities" else "video"
            raise UserError(
                f"split {policy.policy}: {what} must be disjoint but are shared: {found}. "
                f"Choose policy {remedy}, or drop {what} from require_disjoint."
            )


def _deal_items(labels: pd.Series, fractions: tuple[float, ...], generator: np.random.Generator) -> pd.Series:
    """A side for each item (index: id, sorted; values: label), in the given fractions of each label."""
    sides = pd.Series(UNUSED, index=labels.index, dtype=object)
    for name in CLASS_NAMES:
        items = generator.permutation(labels.index[labels == name].to_numpy(dtype=object))
        ends = np.rint(np.cumsum(fractions) * len(items)).astype(int)
        for side, part in zip(SIDES, np.split(items, ends[:-1]), strict=True):
            sides[part] = side
    return sides


def _deal_persons(videos: pd.DataFrame, fractions: tuple[float, ...], generator: np.random.Generator) -> pd.Series:
    """A side for each video, such that no person stands on two; `fractions` may be of fewer sides than three."""
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

    side, coverage = _best_deal(group, person, video, is_class, fractions, generator)
    if coverage < 0.5:
        side, _ = _best_deal(np.arange(persons), person, video, is_class, fractions, generator)
    return pd.Series([SIDES[number] if number >= 0 else UNUSED for number in side], index=videos.index, dtype=object)


def _best_deal(
    unit: np.ndarray,
    person: np.ndarray,
    video: np.ndarray,
    is_class: np.ndarray,
    fractions: tuple[float, ...],
    generator: np.random.Generator,
    tries: int = 50,
) -> tuple[np.ndarray, float]:
    """The best of some random deals of persons to sides.

    Args:
        unit: what is dealt as a whole; int [persons], the number of each person's unit.
        person, video: who appears in which video; int [appearances], all appearances in a video in a row.
        is_class: bool [videos, classes].
        fractions: wanted, per side.

    Returns:
        The side of each video (-1: its persons are on different sides), and the coverage: the smallest ratio, over
        sides and classes, of a side's share of the videos of a class to its fraction. 1 is perfect, 0 an empty side.
    """
    wanted = np.asarray(fractions)[:, None]
    per_video = is_class / np.maximum(is_class.sum(axis=0), 1)
    load = np.zeros((unit.max() + 1, is_class.shape[1]))
    np.add.at(load, unit[person], per_video[video] / np.bincount(video)[video, None])
    starts = np.flatnonzero(np.diff(video, prepend=-1))

    best = (np.full(len(is_class), -1), -1.0)
    for _ in range(tries):
        side_of_unit = np.zeros(len(load), dtype=int)
        missing = np.ones((len(fractions), is_class.shape[1]))  # of each side's part of each class
        for number in generator.permutation(len(load)):
            side_of_unit[number] = np.argmax(missing @ load[number])
            missing[side_of_unit[number]] -= load[number] / fractions[side_of_unit[number]]
        appearance = side_of_unit[unit[person]]
        first, last = np.minimum.reduceat(appearance, starts), np.maximum.reduceat(appearance, starts)
        side = np.where(first == last, first, -1)
        share = np.stack([per_video[side == number].sum(axis=0) for number in range(len(fractions))])
        coverage = float((share / wanted).min())
        if coverage > best[1]:
            best = (side, coverage)
        if coverage > 0.95:
            break
    return best


def _official(videos: pd.DataFrame, fractions: tuple[float, ...], generator: np.random.Generator) -> pd.Series:
    """The corpus's test list, and training and validation from the rest by identity."""
    listed = videos["official_side"] == "test"
    if not listed.any():
        raise UserError("split official: no video is in the corpus's test list; choose another split policy.")
    if listed.all():
        raise UserError("split official: every video is in the corpus's test list; prepare the others too.")
    training, validation, _ = fractions
    rest = _deal_persons(
        videos[~listed], (training / (training + validation), validation / (training + validation)), generator
    )
    return pd.concat([pd.Series("test", index=videos.index[listed], dtype=object), rest])
