"""What a split leaks and what it leaves out: counted before training, kept with the run, and refused on demand."""

from dataclasses import asdict
from itertools import combinations
from typing import Any

import pandas as pd

from deepfake_ms.data.near_duplicates import THRESHOLD, find_near_duplicates
from deepfake_ms.data.splits import DISJOINT, SUBSETS, UNUSED, SplitPolicy, listed_subsets
from deepfake_ms.errors import UserError
from deepfake_ms.labels import CLASS_NAMES

PAIRS = {f"{one} and {other}": (one, other) for one, other in combinations(SUBSETS, 2)}

_EXAMPLES = 5

_REASONS = {
    "two_subsets": "join persons of two subsets and",
    "unlisted": "are not in the corpus's lists and",
    "unlabelled": "cannot be trained on and",
}

_REMEDIES = {
    "videos": "choose policy video or identity",
    "identities": "choose policy identity",
    "near_duplicates": "remove one of each from the corpus, or choose another policy",
}


def audit_split(manifest: pd.DataFrame, subsets: pd.Series, policy: SplitPolicy) -> dict[str, Any]:
    """Count what stands on each subset, what two subsets share, and what is left out.

    Args:
        manifest: as `read_manifest` gives it.
        subsets: of every row, from `split_manifest`.
        policy: by which they were dealt.

    Returns:
        Plain containers, ready for JSON:

        - ``split``: the policy's fields; ``near_duplicate_bits``: see `near_duplicates.THRESHOLD`.
        - ``subsets``: per subset and for "unused" the counts of ``real`` and ``fake`` faces, of ``videos``, and of known
          ``identities``.
        - ``shared``: per pair of subsets ("train and test") the counts of ``videos`` and ``identities`` that stand on
          both, and of ``near_duplicates``: faces of the second subset that look like a face of the first. With
          ``near_duplicate_examples``, a few such pairs: [face of the second subset, face of the first], as sample ids.
        - ``left_out``: why videos are unused, a ``{"why", "label", "videos", "of"}`` per label: ``videos`` of all
          ``of`` videos with that label. ``why`` is "two_subsets" (its persons stand on two), "unlisted" (by the corpus)
          or "unlabelled".
        - ``unknown_identities``: number of used videos that do not say who is in them.
    """
    on_subset = {subset: manifest[subsets == subset] for subset in (*SUBSETS, UNUSED)}
    videos = {subset: faces.drop_duplicates("video_id") for subset, faces in on_subset.items()}
    persons = {subset: _persons(each) for subset, each in videos.items()}
    used = pd.concat([videos[subset] for subset in SUBSETS]).drop_duplicates("video_id")
    return {
        "split": asdict(policy)
        | {"fractions": list(policy.fractions), "require_disjoint": list(policy.require_disjoint)},
        "near_duplicate_bits": THRESHOLD,
        "subsets": {
            subset: {
                **{name: int((faces["label"] == name).sum()) for name in CLASS_NAMES},
                "videos": len(videos[subset]),
                "identities": len(persons[subset]),
            }
            for subset, faces in on_subset.items()
        },
        "shared": {
            pair: {
                "videos": int(videos[other]["video_id"].isin(videos[one]["video_id"]).sum()),
                "identities": len(persons[one] & persons[other]),
                **_near_duplicates(on_subset[one], on_subset[other]),
            }
            for pair, (one, other) in PAIRS.items()
        },
        "left_out": _left_out(manifest, videos[UNUSED], policy),
        "unknown_identities": int((used["identities"].map(len) == 0).sum()),
    }


def check_split(audit: dict[str, Any]) -> None:
    """Refuse a split that cannot be trained and scored on, or that shares what its policy requires to be disjoint.

    Args:
        audit: from `audit_split`.

    Raises:
        UserError: a subset has no real or no fake face; or what `SplitPolicy.require_disjoint` names stands on two
            subsets, or cannot be told because no video says who is in it.
    """
    policy = audit["split"]["policy"]
    counts = {subset: audit["subsets"][subset] for subset in (*SUBSETS, UNUSED)}
    if any(counts[subset][name] == 0 for subset in SUBSETS for name in CLASS_NAMES):
        found = "; ".join(f"{subset} {each['real']} real and {each['fake']} fake" for subset, each in counts.items())
        raise UserError(
            f"split {policy}: every subset needs real and fake faces, but there are: {found}. "
            "Prepare more videos or identities of the missing class, or choose another split policy or seed."
        )
    for what in DISJOINT:
        if what not in audit["split"]["require_disjoint"]:
            continue
        if what == "identities" and not any(counts[subset][what] for subset in SUBSETS):
            raise UserError(
                f"split {policy}: identities must be disjoint but this corpus does not name them: "
                "drop identities from split.require_disjoint."
            )
        if shared := {pair: audit["shared"][pair] for pair in PAIRS if audit["shared"][pair][what]}:
            found = ", ".join(f"{each[what]} in {pair}" for pair, each in shared.items())
            raise UserError(
                f"split {policy}: {what.replace('_', '-')} must be disjoint but are shared: "
                f"{found}{_example(what, shared)}; {_REMEDIES[what]}, or drop {what} from split.require_disjoint."
            )


def notes(audit: dict[str, Any]) -> list[str]:
    """What the counts alone do not tell: a sentence for each reason to leave videos out, and how to read the table."""
    policy = audit["split"]["policy"]
    sentences = [
        f"{policy}: {each['videos']:,} of {each['of']:,} {each['label']} videos ({each['videos'] / each['of']:.1%}) "
        f"{_REASONS[each['why']]} are left out."
        for each in audit["left_out"]
    ]
    if unknown := audit["unknown_identities"]:
        sentences.append(
            f"{unknown:,} videos do not say who is in them: "
            "a person who is in several of these is not counted as shared."
        )
    if any(each["near_duplicates"] for each in audit["shared"].values()):
        sentences.append(
            "Near-duplicates: faces of the second subset that look like a face of the first "
            f"(perceptual hashes differ in at most {audit['near_duplicate_bits']} bits)."
        )
    return sentences


def _near_duplicates(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Any]:
    nearest = find_near_duplicates(second["perceptual_hash"].tolist(), first["perceptual_hash"].tolist())
    found = second["sample_id"][nearest >= 0]
    like = first["sample_id"].iloc[nearest[nearest >= 0]]
    examples = zip(found.head(_EXAMPLES), like.head(_EXAMPLES), strict=True)
    return {"near_duplicates": len(found), "near_duplicate_examples": [list(pair) for pair in examples]}


def _left_out(manifest: pd.DataFrame, unused: pd.DataFrame, policy: SplitPolicy) -> list[dict[str, Any]]:
    reason = "unlisted" if policy.policy == "official" and listed_subsets(manifest) == SUBSETS else "two_subsets"
    all_videos = manifest.drop_duplicates("video_id")["label"].value_counts()
    return [
        {
            "why": reason if label in CLASS_NAMES else "unlabelled",
            "label": label,
            "videos": int(count),
            "of": int(all_videos[label]),
        }
        for label, count in unused["label"].value_counts().sort_index().items()
    ]


def _persons(videos: pd.DataFrame) -> set[str]:
    return {person for persons in videos["identities"] for person in persons}


def _example(what: str, shared: dict[str, Any]) -> str:
    """The first two faces that look the same; shared videos and persons need no example."""
    if what != "near_duplicates":
        return ""
    one, other = next(iter(shared.values()))["near_duplicate_examples"][0]
    return f" (e.g. {one} looks like {other})"
