"""Conclusions from the audits of several rows, as sentences in which every row name and number is computed."""

from collections.abc import Iterator

import numpy as np

from deepfake_ms.labels import CLASS_NAMES
from experiments.paper_audit.feasible_counts import AVERAGINGS, ClassCounts, averaged_f1, f1_ceiling, reachable_f1
from experiments.paper_audit.row_audit import READINGS, RowAudit

PAPER_TEST_SET = ClassCounts(real=1415, fake=13543)
STATED_ERRORS = {"real": 135, "fake": 863}
"""Errors of the base model, the only confusion counts in the paper's text."""


def findings(audits: list[RowAudit], counts: ClassCounts) -> list[str]:
    """Sentences, starting with the most certain ones."""
    return [
        *_averagings(audits),
        *_tables_that_mix(audits),
        *_stated_errors(audits, counts),
        *_other_readings(audits),
        *_majority(audits, counts),
        *_mostly_wrong(audits),
        *_leaders(audits),
        *_auc(audits),
    ]


def _names(audits: list[RowAudit]) -> str:
    return "; ".join(str(audit.row) for audit in audits)


def _averagings(audits: list[RowAudit]) -> Iterator[str]:
    groups: dict[tuple[str, ...], list[RowAudit]] = {}
    for audit in audits:
        groups.setdefault(tuple(audit.fits), []).append(audit)
    for fits, members in groups.items():
        if fits:
            which = f"{fits[0]} F1 and no other averaging" if len(fits) == 1 else f"{' or '.join(fits)} F1"
            yield f"Published pairs that fit {which}: {_names(members)}."
    for audit in groups.get((), []):
        yield f"Impossible with any averaging: {audit.row}. {_why_impossible(audit)}"


def _why_impossible(audit: RowAudit) -> str:
    values = audit.row.read("own")
    reach = {name: reachable_f1(name, values["accuracy"], audit.counts) for name in AVERAGINGS}
    if None in reach.values():
        return f"No number of errors among {audit.counts.total:,} images prints as accuracy {audit.row.accuracy}."
    ceiling = f1_ceiling(values["accuracy"])
    if ceiling < values["f1"].low:
        return (
            f"At its published accuracy of {audit.row.accuracy}, F1 is at most {ceiling:.4f} on any test set and with "
            f"any averaging; {audit.row.f1} was published."
        )
    ranges = ", ".join(f"{name} {low:.4f} to {high:.4f}" for name, (low, high) in reach.items())
    return f"Its published accuracy of {audit.row.accuracy} allows F1 of {ranges}; {audit.row.f1} was published."


def _tables_that_mix(audits: list[RowAudit]) -> Iterator[str]:
    for table in dict.fromkeys(audit.row.table for audit in audits):
        members = [audit for audit in audits if audit.row.table == table and audit.fits]
        shared = [name for name in AVERAGINGS if all(name in audit.fits for audit in members)]
        if members and not shared:
            yield (
                f"No single averaging fits all possible rows of Table {table}: its published F1 scores are not "
                "comparable."
            )


def _stated_errors(audits: list[RowAudit], counts: ClassCounts) -> Iterator[str]:
    if counts != PAPER_TEST_SET:
        return
    pair = (STATED_ERRORS["real"], STATED_ERRORS["fake"])
    for audit in audits:
        under = [name for name, branches in audit.fits.items() if any(pair in branch for branch in branches)]
        if under:
            accuracy = 1 - sum(pair) / counts.total
            f1 = averaged_f1(under[0], *(np.array([errors]) for errors in pair), counts)[0]
            yield (
                f"The published errors ({pair[0]} real, {pair[1]} fake) are a solution of {audit.row} with "
                f"{' and '.join(under)} F1: they give accuracy {accuracy:.5f} and F1 {f1:.5f}, published as "
                f"{audit.row.accuracy} and {audit.row.f1}."
            )


def _other_readings(audits: list[RowAudit]) -> Iterator[str]:
    for audit in audits:
        if audit.fits and audit.reading == "own":
            yield (
                f"{audit.row}: nothing fits if accuracy and F1 have the same number of digits; the pair is possible "
                "only if the shorter value was rounded more coarsely."
            )
        for name in audit.only_own:
            shares = np.concatenate([branch.real_error_rate for branch in audit.by_reading["own"][name]])
            yield (
                f"{audit.row}: {name} F1 also fits if each value is rounded to its own number of digits, with "
                f"{shares.min():.1%} to {shares.max():.1%} of the real images wrong."
            )


def _majority(audits: list[RowAudit], counts: ClassCounts) -> Iterator[str]:
    share, name = max(zip((counts.real, counts.fake), CLASS_NAMES, strict=True))
    accuracy = share / counts.total
    below = [audit for audit in audits if float(audit.row.read("own")["accuracy"].high) < accuracy]
    if below:
        yield f"Classifying every image as {name} has accuracy {accuracy:.4f}. Published below it: {_names(below)}."


def _mostly_wrong(audits: list[RowAudit]) -> Iterator[str]:
    for audit in audits:
        branches = audit.solutions(audit.reading)
        for name in CLASS_NAMES:
            rates = [getattr(branch, f"{name}_error_rate") for branch in branches]
            if rates and min(rate.min() for rate in rates) > 0.5:
                low, high = min(rate.min() for rate in rates), max(rate.max() for rate in rates)
                yield (
                    f"{audit.row}: if it was measured on this test set, {low:.1%} to {high:.1%} of its {name} images "
                    "are wrong."
                )


def _leaders(audits: list[RowAudit]) -> Iterator[str]:
    for table in dict.fromkeys(audit.row.table for audit in audits):
        members = [audit for audit in audits if audit.row.table == table and audit.fits]
        if len(members) < 2:
            continue
        by_accuracy = max(members, key=lambda audit: audit.row.read("own")["accuracy"].value)
        for reading in READINGS:
            ranges = {a: a.balanced_accuracy(reading) or a.balanced_accuracy(a.reading) for a in members}
            leader = max(members, key=lambda audit: sum(ranges[audit]))
            rivals = [a for a in members if a is not leader and ranges[a][1] >= ranges[leader][0]]
            text = f"Balanced accuracy in Table {table}, {reading} digits, by the midpoint of the range: "
            text += f"{_span(leader, ranges)} leads"
            if leader is not by_accuracy:
                text += f"; highest published accuracy: {_span(by_accuracy, ranges)}"
            if rivals:
                text += "; possibly as high: " + ", ".join(_span(rival, ranges) for rival in rivals)
            yield text + "."


def _span(audit: RowAudit, ranges: dict[RowAudit, tuple[float, float]]) -> str:
    return "{} ({:.4f} to {:.4f})".format(audit.row.name, *ranges[audit])


def _auc(audits: list[RowAudit]) -> Iterator[str]:
    with_auc = [audit for audit in audits if audit.fits and audit.row.auc is not None]
    if not with_auc:
        return
    excluded = []
    for audit in with_auc:
        auc = audit.row.read(audit.reading)["auc"]
        for name, branches in audit.fits.items():
            kept = sum(int(branch.admitted_by(auc).sum()) for branch in branches)
            total = sum(map(len, branches))
            if kept < total:
                excluded.append(f"{audit.row}, {name} F1: {total - kept} of {total} solutions")
    if excluded:
        yield f"The published AUC excludes: {'; '.join(excluded)}."
    else:
        yield "The published AUC excludes no solution of any row, so it cannot decide between averagings."
