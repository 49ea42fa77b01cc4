"""The paper audit: its arithmetic against scikit-learn and brute force, and its findings in Tables 1 and 2."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from deepfake_ms.errors import UserError
from experiments.paper_audit import __main__ as program
from experiments.paper_audit import feasible_counts as counting
from experiments.paper_audit import row_audit as auditing
from experiments.paper_audit.findings import findings

SKLEARN = {
    "macro": {"average": "macro"},
    "weighted": {"average": "weighted"},
    "real": {"average": "binary", "pos_label": 0},
    "fake": {"average": "binary", "pos_label": 1},
    "micro": {"average": "micro"},
}


@pytest.fixture(scope="module")
def audits():
    rows = auditing.read_published(program.PUBLISHED)
    return {(row.table, row.name): auditing.RowAudit(row, program.PAPER_TEST_SET) for row in rows}


@pytest.fixture(scope="module")
def sentences(audits):
    return findings(list(audits.values()), program.PAPER_TEST_SET)


def rounded(accuracy, f1, auc=None, reading="common"):
    return auditing.PublishedRow("", "numbers", accuracy, f1, auc).read(reading)


def labels_of(real_errors, fake_errors, counts):
    truth = np.repeat([0, 1], [counts.real, counts.fake])
    called = np.concatenate([np.arange(counts.real) < real_errors, np.arange(counts.fake) >= fake_errors])
    return truth, called.astype(int)


@pytest.mark.parametrize("averaging", SKLEARN)
@pytest.mark.parametrize("pair", [(0, 0), (3, 0), (0, 40), (7, 11), (12, 0), (12, 40), (1, 39)])
def test_f1_is_scikit_learns(averaging, pair):
    counts = counting.ClassCounts(12, 40)
    truth, called = labels_of(*pair, counts)
    expected = f1_score(truth, called, **SKLEARN[averaging], zero_division=0)
    arrays = [np.array([errors]) for errors in pair]
    assert counting.averaged_f1(averaging, *arrays, counts) == pytest.approx([expected], abs=1e-12)
    exact = counting.averaged_f1(averaging, *map(Fraction, pair), counts)
    assert isinstance(exact, Fraction)
    assert float(exact) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("averaging", SKLEARN)
@pytest.mark.parametrize("pair", [(2, 3), (9, 1), (0, 8), (10, 30)])
@pytest.mark.parametrize("digits", [2, 3, 4])
def test_finds_exactly_what_brute_force_finds(averaging, pair, digits):
    counts = counting.ClassCounts(10, 30)
    truth, called = labels_of(*pair, counts)
    wanted = accuracy_score(truth, called), f1_score(truth, called, **SKLEARN[averaging], zero_division=0)
    values = [counting.Rounded(counting.Decimal(f"{value:.{digits}f}"), digits) for value in wanted]
    found = counting.feasible(averaging, *values, counts)
    expected = set()
    for a in range(counts.real + 1):
        for b in range(counts.fake + 1):
            exact = 1 - Fraction(a + b, counts.total), counting.averaged_f1(averaging, Fraction(a), Fraction(b), counts)
            if all(value.low <= e <= value.high for value, e in zip(values, exact, strict=True)):
                expected.add((a, b))
    solutions = [(int(a), int(b)) for s in found for a, b in zip(s.real_errors, s.fake_errors, strict=True)]
    assert pair in expected
    assert len(solutions) == len(set(solutions))
    assert set(solutions) == expected


def test_a_tie_belongs_to_both_sides():
    counts = counting.ClassCounts(100, 100)  # 25 errors: accuracy .875, which prints as .87 or .88
    for printed in (".87", ".88"):
        value = counting.Rounded(counting.Decimal(printed), 2)
        assert any((12, 13) in branch for branch in counting.feasible("micro", value, value, counts))


def test_lists_both_branches():
    counts = counting.ClassCounts(100, 100)  # equal classes: macro F1 is the same with real and fake exchanged
    values = rounded(".800", ".792")
    few, many = counting.feasible("macro", values["accuracy"], values["f1"], counts)
    assert few.real_errors.max() < many.real_errors.min()
    assert sorted(few.real_errors) == sorted(many.fake_errors)


def test_auc_bounds_hold_and_bind():
    """The bounds are sharp: the best and the worst scores with these errors at the threshold reach them."""
    counts = counting.ClassCounts(10, 20)
    one = counting.Solutions(np.array([4]), np.array([5]), counts)
    truth, called = labels_of(4, 5, counts)
    best = roc_auc_score(truth, called + 0.4 * truth)
    worst = roc_auc_score(truth, called - 0.4 * truth)

    def admitted(auc):
        return bool(one.admitted_by(counting.Rounded(counting.Decimal(f"{auc:.4f}"), 4))[0])

    assert (best, worst) == pytest.approx((1 - 0.4 * 0.25, 0.6 * 0.75))
    assert admitted(best)
    assert admitted(worst)
    assert not admitted(best + 0.001)
    assert not admitted(worst - 0.001)


@pytest.mark.parametrize(
    ("printed", "common", "own"),
    [
        ((".9200", ".5880"), ("0.920", "0.588"), ("0.92", "0.588")),
        ((".978", ".9394"), ("0.9780", "0.9394"), ("0.978", "0.9394")),
        (("0.9333", "0.8408"), ("0.9333", "0.8408"), ("0.9333", "0.8408")),
        (("1.0", "1"), ("1.00", "1.00"), ("1.00", "1.00")),
    ],
)
def test_digits_determine_the_rounding(printed, common, own):
    for reading, expected in (("common", common), ("own", own)):
        values = rounded(*printed, auc=".97701", reading=reading)
        assert (str(values["accuracy"]), str(values["f1"]), str(values["auc"])) == (*expected, "0.97701")


def test_published_csv_is_whole(audits):
    table = pd.read_csv(program.PUBLISHED, dtype=str, keep_default_na=False)  # one row is named NA
    assert list(table) == ["table", "row", "accuracy", "f1", "auc", "source"]
    assert table["table"].value_counts().to_dict() == {"2": 10, "1": 9}
    assert not (table == "").any(axis=None)
    assert "NA" in table["row"].tolist()
    assert not table.duplicated(["table", "row"]).any()
    for one, two in (("GenConViT", "base"), ("ours", "WL+RF+MEP")):  # printed in both tables
        values = [table.loc[table["row"] == name, ["accuracy", "f1", "auc"]].iloc[0].tolist() for name in (one, two)]
        assert values[0] == values[1]


@pytest.mark.parametrize("key", [("1", "GenConViT"), ("2", "base")])
def test_base_is_macro_with_the_stated_errors(audits, key):
    for fits in audits[key].by_reading.values():
        assert list(fits) == ["macro"]
        assert any((135, 863) in branch for branch in fits["macro"])


def test_every_row_of_table_2_is_macro_only_in_every_reading(audits):
    for (table, _), audit in audits.items():
        if table == "2":
            assert [list(fits) for fits in audit.by_reading.values()] == [["macro"]] * 2


@pytest.mark.parametrize("name", ["ResNet-50", "EfficientNet-b7", "BiT"])
def test_real_class_only(audits, name):
    assert audits["1", name].reading == "common"
    assert list(audits["1", name].fits) == ["real"]


@pytest.mark.parametrize("name", ["SENet", "ViT"])
def test_two_averagings_stay_open(audits, name):
    assert list(audits["1", name].fits) == ["macro", "real"]


def test_recce_is_weighted_only(audits):
    audit = audits["1", "RECCE"]
    assert [list(fits) for fits in audit.by_reading.values()] == [["weighted"]] * 2
    assert min(branch.real_error_rate.min() for branch in audit.fits["weighted"]) > 0.9


def test_caddm_is_impossible(audits, sentences):
    audit = audits["1", "CADDM"]
    assert not any(audit.by_reading.values())
    values = audit.row.read("own")
    ceiling = counting.f1_ceiling(values["accuracy"])
    for averaging in counting.AVERAGINGS:
        assert counting.reachable_f1(averaging, values["accuracy"], audit.counts)[1] <= ceiling
    assert ceiling < 0.9
    assert any("CADDM" in sentence and "any test set" in sentence for sentence in sentences)


@pytest.mark.parametrize("reading", ["common", "own"])
def test_wl_na_leads_on_balanced_accuracy(audits, reading):
    ranges = {name: audit.balanced_accuracy(reading) for (table, name), audit in audits.items() if table == "2"}
    assert max(ranges, key=lambda name: sum(ranges[name])) == "WL+NA"
    assert ranges["WL+NA"][0] > ranges["WL+RF+MEP"][1]
    if reading == "common":
        assert ranges["WL+NA"] == pytest.approx((0.9654, 0.9660), abs=5e-5)
        assert ranges["WL+RF+MEP"] == pytest.approx((0.9508, 0.9536), abs=5e-5)


def test_findings_name_what_was_computed(sentences):
    def sentence(*words):
        return next(s for s in sentences if all(word in s for word in words))

    assert "BiT" in sentence("fit real F1 and no other", "ResNet-50", "EfficientNet-b7")
    assert "SENet" not in sentence("fit real F1 and no other")
    assert "WL+NA (0.9654 to 0.9660) leads" in sentence("Balanced accuracy in Table 2, common")
    assert "WL+NA+MEP" in sentence("Balanced accuracy in Table 2, common", "possibly as high")
    assert "Table 1, RECCE; Table 1, CADDM" in sentence("Classifying every image as fake has accuracy 0.9054")
    assert "0.93328 and F1 0.84082" in sentence("a solution of Table 2, base with macro F1")
    assert sentence("No single averaging fits all possible rows of Table 1")
    assert not any("No single averaging fits all possible rows of Table 2" in s for s in sentences)


def test_findings_follow_other_numbers():
    """No row is hard-coded: if two rows exchange their numbers, the finding names the other row."""
    rows = [auditing.PublishedRow("2", "a", ".9836", ".9521"), auditing.PublishedRow("2", "b", ".978", ".9394")]
    counts = counting.ClassCounts(1415, 13543)
    text = " ".join(findings([auditing.RowAudit(row, counts) for row in rows], counts))
    assert "b (0.9654 to 0.9660) leads; highest published accuracy: a (0.9508 to 0.9536)" in text
    assert "Impossible" not in text


def test_a_readers_own_numbers(tmp_path, capsys):
    own = ["--accuracy", ".9333", "--f1", ".8408", "--real", "1415", "--fake", "13543", "--output", str(tmp_path)]
    program.main(own)
    assert "fit macro F1 and no other averaging: your numbers" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "paper_audit.csv")
    assert table["digits"].tolist() == ["common", "own"]
    assert table.loc[0, ["averaging", "solutions", "real_errors_low", "fake_errors_high"]].tolist() == [
        "macro",
        2,
        135,
        863,
    ]
    assert table["solutions_auc_admits"].isna().all()


def test_the_papers_tables_as_files(tmp_path, capsys):
    program.main(["--output", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "Table 1, published numbers" in printed
    text = (tmp_path / "paper_audit.md").read_text()
    assert "| CADDM | 0.7900, 0.9350 | 0.79, 0.935 | none |" in text
    table = pd.read_csv(tmp_path / "paper_audit.csv", dtype=str, keep_default_na=False)
    assert table[table["table"] == "2"].groupby("digits")["row"].nunique().to_dict() == {"common": 10, "own": 10}
    assert (table.loc[table["row"] == "CADDM", "solutions"] == "0").all()
    assert "0.9560" in table["published_accuracy"].tolist()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--accuracy 93.33 --f1 .84 --real 5 --fake 5", "accuracy 93.33 is outside 0..1"),
        ("--accuracy .9 --f1 -.1 --real 5 --fake 5", "f1 -.1 is outside 0..1"),
        ("--accuracy .9 --f1 nan --real 5 --fake 5", "f1 'nan' is not a number"),
        ("--accuracy .9 --f1 .8 --real 5 --fake 5 --auc x", "auc 'x' is not a number"),
        ("--accuracy .9 --f1 .8 --real 0 --fake 5", "number of real images is 0"),
        ("--accuracy .9 --f1 .8 --real 5 --fake -1", "number of fake images is -1"),
        ("--accuracy .9 --real 5 --fake 5", "--f1 is missing"),
        ("--auc .9", "--accuracy is missing"),
    ],
)
def test_impossible_input_is_one_sentence(capsys, arguments, sentence):
    with pytest.raises(SystemExit) as stop:
        program.main(arguments.split())
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert sentence in message
    assert len(message.splitlines()) == 1


def test_an_accuracy_that_no_error_count_gives(capsys):
    program.main(["--accuracy", ".9333", "--f1", ".9333", "--real", "5", "--fake", "5"])
    assert "No number of errors among 10 images prints as accuracy .9333" in capsys.readouterr().out


def test_a_broken_table_is_named(tmp_path):
    path = tmp_path / "published.csv"
    with pytest.raises(UserError, match=r"published\.csv does not exist"):
        auditing.read_published(path)
    path.write_text("table,row,accuracy,auc\n1,a,.9,.9\n")
    with pytest.raises(UserError, match="has no column f1"):
        auditing.read_published(path)
    path.write_text("table,row,accuracy,f1,auc\n1,a,.9,1.9,\n")
    with pytest.raises(UserError, match=r"Table 1, a: f1 1\.9 is outside"):
        auditing.read_published(path)
