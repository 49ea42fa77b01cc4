"""What the audits of several rows add up to, in sentences whose every row and figure is computed."""

from collections.abc import Iterator

import numpy as np
from feasible_counts import AVERAGINGS, ClassCounts, averaged_f1, f1_ceiling, reachable_f1
from row_audit import READINGS, RowAudit

from deepfake_ms.labels import CLASS_NAMES

PAPER_TEST_SET = ClassCounts(real=1415, fake=13543)
STATED_ERRORS = {"real": 135, "fake": 863}
"""Errors of the base model in the paper's text: the only confusion counts it gives."""


def findings(audits: list[RowAudit], counts: ClassCounts) -> list[str]:
    """Sentences, the most certain first."""
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
        yield f"Impossible under every averaging: {audit.row}. {_why_impossible(audit)}"


def _why_impossible(audit: RowAudit) -> str:
    values = audit.row.read("own")
    reach = {name: reachable_f1(name, values["accuracy"], audit.counts) for name in AVERAGINGS}
    if None in reach.values():
        return f"No number of errors among {audit.counts.total:,} images prints as accuracy {audit.row.accuracy}."
    ceiling = f1_ceiling(values["accuracy"])
    if ceiling < values["f1"].low:
        return (
            f"At its published accuracy of {audit.row.accuracy}, F1 is at most {ceiling:.4f} on any test set and under "
            f"any averaging; published is {audit.row.f1}."
        )
    ranges = ", ".join(f"{name} {low:.4f} to {high:.4f}" for name, (low, high) in reach.items())
    return f"Its published accuracy of {audit.row.accuracy} allows F1 of {ranges}; published is {audit.row.f1}."


def _tables_that_mix(audits: list[RowAudit]) -> Iterator[str]:
    for table in dict.fromkeys(audit.row.table for audit in audits):
        members = [audit for audit in audits if audit.row.table == table and audit.fits]
        shared = [name for name in AVERAGINGS if all(name in audit.fits for audit in members)]
        if members and not shared:
            yield (
                f"No single averaging fits all rows of Table {table} that are possible at all: its published F1 are "
                "not comparable."
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
                f"The published errors ({pair[0]} real, {pair[1]} fake) solve {audit.row} with {' and '.join(under)} "
                f"F1: they give accuracy {accuracy:.5f} and F1 {f1:.5f}, published {audit.row.accuracy} and "
                f"{audit.row.f1}."
            )


def _other_readings(audits: list[RowAudit]) -> Iterator[str]:
    for audit in audits:
        if audit.fits and audit.reading == "own":
            yield (
                f"{audit.row}: with as many digits for accuracy as for F1 nothing fits; it is possible only if the "
                "shorter is rounded more coarsely."
            )
        for name in audit.only_own:
            shares = np.concatenate([branch.real_error_rate for branch in audit.by_reading["own"][name]])
            yield (
                f"{audit.row}: {name} F1 fits too if each value is rounded to its own digits, with "
                f"{shares.min():.1%} to {shares.max():.1%} of the real images wrong."
            )


def _majority(audits: list[RowAudit], counts: ClassCounts) -> Iterator[str]:
    share, name = max(zip((counts.real, counts.fake), CLASS_NAMES, strict=True))
    accuracy = share / counts.total
    below = [audit for audit in audits if float(audit.row.read("own")["accuracy"].high) < accuracy]
    if below:
        yield f"Calling every image {name} has accuracy {accuracy:.4f}. Published below it: {_names(below)}."


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
            text = f"Balanced accuracy in Table {table}, {reading} digits, by the middle of its range: "
            text += f"{_span(leader, ranges)} leads"
            if leader is not by_accuracy:
                text += f"; highest published accuracy: {_span(by_accuracy, ranges)}"
            if rivals:
                text += "; not excluded as its equal: " + ", ".join(_span(rival, ranges) for rival in rivals)
            yield text + "."


def _span(audit: RowAudit, ranges: dict[RowAudit, tuple[float, float]]) -> str:
    return "{} ({:.4f} to {:.4f})".format(audit.row.name, *ranges[audit])


def _auc(audits: list[RowAudit]) -> Iterator[str]:
    with_auc = [audit for audit in audits if audit.fits and audit.row.auc is not None]
    if not with_auc:
        return
    barred = []
    for audit in with_auc:
        auc = audit.row.read(audit.reading)["auc"]
        for name, branches in audit.fits.items():
            kept = sum(int(branch.admitted_by(auc).sum()) for branch in branches)
            total = sum(map(len, branches))
            if kept < total:
                barred.append(f"{audit.row}, {name} F1: {total - kept} of {total} solutions")
    if barred:
        yield f"The published AUC excludes: {'; '.join(barred)}."
    else:
        yield "The published AUC excludes no solution of any row: it cannot choose between averagings."
