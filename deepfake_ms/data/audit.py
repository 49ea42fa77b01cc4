"""Audits a split before training: counts leaks and excluded videos, and rejects splits that break requirements."""

from dataclasses import asdict
from itertools import combinations
from typing import Any

import pandas as pd

from deepfake_ms.data.near_duplicates import THRESHOLD, find_near_duplicates
from deepfake_ms.data.splits import DISJOINT, SUBSETS, UNUSED, SplitPolicy, is_held_out, listed_subsets
from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES

PAIRS = {f"{one} and {other}": (one, other) for one, other in combinations(SUBSETS, 2)}

_EXAMPLES = 5

_REASONS = {
    "two_subsets": "show people from two different subsets",
    "unlisted": "are not in the corpus's lists",
    "unlabelled": "cannot be trained on or measured",
    "held_out": "are made by methods that are held out from training",
}

_REMEDIES = {
    "videos": "choose split.policy=video or identity",
    "identities": "choose split.policy=identity",
    "near_duplicates": "remove one face of each pair from the corpus, or choose another split.policy",
}


def audit_split(manifest: pd.DataFrame, subsets: pd.Series, policy: SplitPolicy) -> dict[str, Any]:
    """Count what each subset contains, what two subsets share, and what is excluded.

    Args:
        manifest: from `read_manifest`.
        subsets: the subset of every row, from `split_manifest`.
        policy: the policy that `subsets` was made with.

    Returns:
        Plain containers, ready for JSON:

        - ``split``: the policy's fields; ``near_duplicate_bits``: see `near_duplicates.THRESHOLD`.
        - ``subsets``: for each subset and "unused", the numbers of ``real`` and ``fake`` faces, ``videos`` and known
          ``identities``.
        - ``shared``: for each pair of subsets ("train and test"), the numbers of ``videos`` and ``identities`` in both,
          and of ``near_duplicates``: faces of the second subset that look like a face of the first.
          ``near_duplicate_examples`` lists a few pairs of sample ids: [face of the second subset, face of the first].
        - ``left_out``: why videos are unused, one ``{"why", "label", "videos", "of"}`` per label: ``videos`` out of
          ``of`` videos with that label. ``why`` is "two_subsets" (the video shows people from two subsets), "unlisted"
          (not in the corpus's lists), "unlabelled", or "held_out" (made by a method in `held_out_methods`).
        - ``unknown_identities``: number of used videos without known identities.
    """
    faces_of = {subset: manifest[subsets == subset] for subset in (*SUBSETS, UNUSED)}
    videos = {subset: faces.drop_duplicates("video_id") for subset, faces in faces_of.items()}
    people = {subset: _people(each) for subset, each in videos.items()}
    used = pd.concat([videos[subset] for subset in SUBSETS]).drop_duplicates("video_id")
    return {
        "split": asdict(policy)
        | {
            "fractions": list(policy.fractions),
            "held_out_methods": list(policy.held_out_methods),
            "require_disjoint": list(policy.require_disjoint),
        },
        "near_duplicate_bits": THRESHOLD,
        "subsets": {
            subset: {
                **{name: int((faces["label"] == name).sum()) for name in CLASS_NAMES},
                "videos": len(videos[subset]),
                "identities": len(people[subset]),
            }
            for subset, faces in faces_of.items()
        },
        "shared": {
            pair: {
                "videos": int(videos[other]["video_id"].isin(videos[one]["video_id"]).sum()),
                "identities": len(people[one] & people[other]),
                **_near_duplicates(faces_of[one], faces_of[other]),
            }
            for pair, (one, other) in PAIRS.items()
        },
        "left_out": _left_out(manifest, videos[UNUSED], policy),
        "unknown_identities": int((used["identities"].map(len) == 0).sum()),
    }


def check_split(audit: dict[str, Any]) -> None:
    """Reject a split that cannot be used for training and scoring, or whose subsets share what must be disjoint.

    Args:
        audit: from `audit_split`.

    Raises:
        UserError: a subset has no real or no fake faces; two subsets share something in
            `SplitPolicy.require_disjoint`; or identities must be disjoint but are unknown.
    """
    policy = audit["split"]["policy"]
    counts = {subset: audit["subsets"][subset] for subset in (*SUBSETS, UNUSED)}
    if any(counts[subset][name] == 0 for subset in SUBSETS for name in CLASS_NAMES):
        found = "; ".join(f"{subset} {each['real']} real and {each['fake']} fake" for subset, each in counts.items())
        raise UserError(
            f"split.policy={policy}: every subset needs real and fake faces, but the counts are {found}: "
            "prepare more videos or identities of the missing class, or choose another split.policy or split.seed."
        )
    for what in DISJOINT:
        if what not in audit["split"]["require_disjoint"]:
            continue
        if what == "identities" and not any(counts[subset][what] for subset in SUBSETS):
            raise UserError(
                f"split.policy={policy}: identities must be disjoint, but this corpus does not provide them: "
                "remove identities from split.require_disjoint."
            )
        if shared := {pair: audit["shared"][pair] for pair in PAIRS if audit["shared"][pair][what]}:
            found = ", ".join(f"{each[what]} in {pair}" for pair, each in shared.items())
            raise UserError(
                f"split.policy={policy}: {what.replace('_', '-')} must be disjoint, but are shared "
                f"({found}{_example(what, shared)}): {_REMEDIES[what]}, or remove {what} from split.require_disjoint."
            )


def audit_foreign(training: pd.DataFrame, tested: pd.DataFrame, same_people_same_name: bool) -> dict[str, Any]:
    """Count what the training faces share with the faces of another corpus.

    Args:
        training: rows of the manifest of the training corpus.
        tested: rows of the manifest of the other one.
        same_people_same_name: whether a person would have the same name in both; False for drawn corpora.

    Returns:
        ``near_duplicates`` and ``near_duplicate_examples``, pairs of sample ids as in `audit_split`: [tested face,
        training face]; ``identities``: number of people named alike in both, None if names cannot be compared; and
        ``identity_examples``.
    """
    named = [{person.rpartition(":")[2] for person in _people(faces)} for faces in (training, tested)]
    shared = sorted(named[0] & named[1]) if same_people_same_name else None  # a union puts a family before the name
    return {
        **_near_duplicates(training, tested),
        "identities": None if shared is None else len(shared),
        "identity_examples": (shared or [])[:_EXAMPLES],
    }


def notes(audit: dict[str, Any]) -> list[str]:
    """Sentences that complement the counts: why videos are excluded, and how to read the table."""
    policy = audit["split"]["policy"]
    sentences = [
        f"{policy}: {each['videos']:,} of {each['of']:,} {each['label']} videos ({each['videos'] / each['of']:.1%}) "
        f"{_REASONS[each['why']]} and are excluded."
        for each in audit["left_out"]
    ]
    if unknown := audit["unknown_identities"]:
        sentences.append(
            f"{unknown:,} videos have no known identities: "
            "a person who appears in several of them is not counted as shared."
        )
    if any(each["near_duplicates"] for each in audit["shared"].values()):
        sentences.append(
            "Near-duplicates are faces of the second subset that look like a face of the first "
            f"(their perceptual hashes differ in at most {audit['near_duplicate_bits']} bits)."
        )
    return sentences


def _near_duplicates(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Any]:
    nearest = find_near_duplicates(second["perceptual_hash"].tolist(), first["perceptual_hash"].tolist())
    found = second["sample_id"][nearest >= 0]
    originals = first["sample_id"].iloc[nearest[nearest >= 0]]
    examples = zip(found.head(_EXAMPLES), originals.head(_EXAMPLES), strict=True)
    return {"near_duplicates": len(found), "near_duplicate_examples": [list(pair) for pair in examples]}


def _left_out(manifest: pd.DataFrame, unused: pd.DataFrame, policy: SplitPolicy) -> list[dict[str, Any]]:
    reason = "unlisted" if policy.policy == "official" and listed_subsets(manifest) == SUBSETS else "two_subsets"
    all_videos = manifest.drop_duplicates("video_id")["label"].value_counts()
    why = unused["label"].map(lambda label: reason if label in CLASS_NAMES else "unlabelled").rename("why")
    if policy.held_out_methods:
        why = why.mask(is_held_out(manifest, policy).loc[unused.index], "held_out")
    return [
        {"why": why, "label": label, "videos": int(count), "of": int(all_videos[label])}
        for (label, why), count in unused.groupby(["label", why]).size().items()
    ]


def _people(videos: pd.DataFrame) -> set[str]:
    return {person for identities in videos["identities"] for person in identities}


def _example(what: str, shared: dict[str, Any]) -> str:
    """The first pair of near-duplicates, in words; other kinds of leaks need no example."""
    if what != "near_duplicates":
        return ""
    one, other = next(iter(shared.values()))["near_duplicate_examples"][0]
    return f"; e.g. {one} looks like {other}"
