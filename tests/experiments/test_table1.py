"""Table 1: its experiments, the labels of its published numbers, and a report on runs of several models."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from fake_runs import PUBLISHED, REPOSITORY, make_run, run_report
from sklearn.metrics import roc_auc_score

from deepfake_ms.assembly import run_config
from deepfake_ms.composition import CONFIG_FOLDER, compose
from deepfake_ms.errors import UserError
from experiments.paper_audit.__main__ import PUBLISHED as PUBLISHED_PATH
from experiments.paper_audit.findings import PAPER_TEST_SET
from experiments.paper_audit.row_audit import RowAudit, read_published
from experiments.report import __main__ as program
from experiments.report.cells import SCORED, collect
from experiments.report.paper_tables import TABLE_1, TABLE_2, published_numbers
from experiments.report.protocol import check_protocol
from experiments.sweep.plan import plan_runs

FILES = {path.stem: path for path in sorted((CONFIG_FOLDER / "experiment").glob("table1_*.yaml"))}
AUGMENTATIONS = {"table1_recce": "horizontal_flip", "table1_caddm": "facial_swap", "table1_ours": "random_flips"}
FAMILIES = {"table1_genconvit": "genconvit_ed", "table1_ours": "genconvit_ed", "table1_genconvit_ensemble": "genconvit"}


# --- experiments


def test_every_row_has_an_experiment_and_every_experiment_a_row():
    assert FILES.keys() == {row.experiment for row in TABLE_1.rows}
    printed = PUBLISHED.loc[PUBLISHED["table"] == "1", "row"]
    assert [row.published for row in TABLE_1.rows if row.published] == list(printed)


@pytest.mark.parametrize("experiment", FILES)
def test_a_row_is_its_detector_in_every_size(experiment):
    row = next(row for row in TABLE_1.rows if row.experiment == experiment)
    family = FAMILIES.get(experiment, experiment.removeprefix("table1_"))
    ours = experiment == "table1_ours"
    assert set(row.sizes) == {path.stem for path in (CONFIG_FOLDER / "model" / family).glob("*.yaml")}
    for size in row.sizes:
        name = family if size == "full" else f"{family}_{size}"
        cfg = compose(f"experiment={experiment}", f"size={size}")
        alone = compose(f"model={family}", f"size={size}")
        assert cfg.name == experiment
        assert cfg.model.name == name
        assert cfg.model == alone.model
        assert cfg.optimization == alone.optimization
        assert cfg.augmentation.name == AUGMENTATIONS.get(experiment, "standard")
        assert cfg.loss.class_weights == {"real": 1.0, "fake": 1.85 if ours else 1.0}
        stages = [stage["name"] for stage in run_config(cfg, "abc")["curriculum"]["stages"]]
        assert stages == (["1_masked_eyes", "2_cropped", "3_masked_eyes"] if ours else ["1_cropped"])


@pytest.mark.parametrize("experiment", FILES)
def test_small_rows_train_from_scratch_and_all_others_start_from_pretrained_weights(experiment):
    for size in next(row for row in TABLE_1.rows if row.experiment == experiment).sizes:
        assert compose(f"experiment={experiment}", f"size={size}").model.pretrained is (size != "small")


@pytest.mark.parametrize("experiment", FILES)
def test_a_row_opens_with_its_command_and_the_published_numbers(experiment):
    opening = FILES[experiment].read_text().split("defaults:")[0]
    row = next(row for row in TABLE_1.rows if row.experiment == experiment)
    size = "" if "small" in row.sizes else " size=full"
    assert f"#   deepfake-ms train experiment={experiment}{size}\n" in opening
    numbers = published_numbers(TABLE_1, PUBLISHED).get(experiment)
    if numbers is None:
        assert "# Published: nothing.\n" in opening
        return
    accuracy, f1, auroc = (value.removeprefix("0") for value in numbers.values())
    kind = "macro F1" if row.f1 == "macro_f1" else "F1"
    assert f"# Published on Celeb-DF v2: accuracy {accuracy}, {kind} {f1}, AUROC {auroc}.\n" in opening
    fits = {
        "f1_real": "F1 can only be that of the real class",
        "f1_open": "F1 can be macro or that of the real class",
        "f1_weighted": "F1 can only be weighted",
        "f1_impossible": "accuracy and F1 fit no averaging",
    }
    assert row.f1 == "macro_f1" or f"# According to the paper audit, {fits[row.f1]}.\n" in opening


@pytest.mark.parametrize("size", ["small", "lite"])
def test_a_sweep_leaves_out_what_has_no_variant_of_its_size(size):
    makefile = (REPOSITORY / "Makefile").read_text()
    left_out = re.search(rf"^WITHOUT_{size} := (.*)$", makefile, re.MULTILINE)[1].split(",")
    assert set(left_out) == {row.experiment for row in TABLE_1.rows if size not in row.sizes}


def test_two_rows_are_trained_once_for_both_tables():
    for one, two in (("table1_genconvit", "table2_base"), ("table1_ours", "table2_wl_rf_mep")):
        runs = plan_runs([one, two], [0], [])
        assert runs[0].stages == runs[1].stages


# --- published numbers


def test_f1_is_called_what_the_paper_audit_finds():
    names = {
        ("macro",): "macro_f1",
        ("real",): "f1_real",
        ("weighted",): "f1_weighted",
        ("macro", "real"): "f1_open",
        (): "f1_impossible",
    }
    rows = {row.name: row for row in read_published(PUBLISHED_PATH) if row.table == "1"}
    for row in TABLE_1.rows:
        if row.published:
            fits = RowAudit(rows[row.published], PAPER_TEST_SET).fits
            assert row.f1 == names[tuple(sorted(fits))], row.title


def test_published_f1_is_never_mixed():
    numbers = published_numbers(TABLE_1, PUBLISHED)
    assert {name for name, values in numbers.items() if "macro_f1" in values} == {"table1_genconvit", "table1_ours"}
    assert numbers["table1_resnet50"] == {"accuracy": "0.9200", "f1_real": "0.5880", "auroc": "0.9190"}
    assert TABLE_1.mixes_f1
    assert not TABLE_2.mixes_f1


# --- report


def make_detector(runs, row, seed, model, **changes):
    settings = {"model__name": model, "model__pretrained": False, "data__name": "tiny"}
    return make_run(runs / model, row, seed, table=1, **(settings | changes))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """ResNet-50 with its own optimization, GenConViT and ours, the last without seed 1; small variants, drawn faces."""
    root = tmp_path_factory.mktemp("table1")
    runs = root / "runs" / "tiny"
    for seed in (0, 1):
        make_detector(runs, "genconvit", seed, "genconvit_ed_small")
        make_detector(runs, "resnet50", seed, "resnet50_small", skill=2.0, curriculum__stages__0__epochs=9)
    make_detector(runs, "ours", 0, "genconvit_ed_small", stages=3, loss__name="weighted")
    make_detector(runs, "resnet50", 0, "resnet50", synthetic=False)
    run_report(runs, root / "output", "--table", "1", "--size", "small")
    return root


@pytest.fixture(scope="module")
def page(written):
    return (written / "output" / "table1_SYNTHETIC.html").read_text()


@pytest.fixture(scope="module")
def text(written):
    return (written / "output" / "table1_SYNTHETIC.md").read_text()


@pytest.fixture(scope="module")
def numbers(written):
    return pd.read_csv(written / "output" / "results_SYNTHETIC.csv", dtype={"threshold": str, "seeds": str})


def test_rows_of_several_models_are_in_one_table(written, numbers):
    cells = numbers[numbers["kind"] == "cell"].set_index(["experiment", "seeds"])["status"]
    assert cells["table1_resnet50", "1"] == "complete"
    assert cells["table1_ours", "1"] == "missing"
    assert (cells == "complete").sum() == 5
    assert not {"table1_linear_probe", "table1_senet154"} & set(cells.index.get_level_values(0))


def test_differences_are_paired_to_genconvit(written, numbers):
    chosen = numbers[(numbers["kind"] == "difference") & (numbers["level"] == "frame")]
    chosen = chosen[(chosen["metric"] == "auroc") & (chosen["threshold"] == ".5")]
    found = chosen.set_index(["experiment", "compared_with"])["mean"]
    assert set(found.index) == {
        ("table1_ours", "table1_genconvit"),
        ("table1_ours", "table1_resnet50"),
        ("table1_resnet50", "table1_genconvit"),
    }

    def auroc(model, row, seed):
        folder = written / "runs" / "tiny" / model / f"table1_{row}" / f"seed_{seed}" / SCORED
        table = pd.read_parquet(folder / "predictions.parquet")
        return roc_auc_score(table["label"], table["fake_probability"])

    expected = np.mean(
        [auroc("resnet50_small", "resnet50", seed) - auroc("genconvit_ed_small", "genconvit", seed) for seed in (0, 1)]
    )
    assert found["table1_resnet50", "table1_genconvit"] == pytest.approx(expected)


def test_published_f1_is_labelled_where_it_stands(page, numbers):
    first = page[page.index("<table") : page.index("</table>")]
    labelled = dict(re.findall(r'<td class="published">([.\d]+)<br><small>([^<]*)</small>', first))
    assert labelled == {
        "0.5880": "of the real class",
        "0.6480": "macro or of the real class",
        "0.7080": "of the real class",
        "0.5420": "of the real class",
        "0.6062": "macro or of the real class",
        "0.8483": "weighted",
        "0.9350": "fits no averaging",
        "0.8408": "macro",
        "0.9521": "macro",
    }
    published = numbers[numbers["kind"] == "published"]
    assert set(published.loc[published["metric"] == "macro_f1", "row"]) == {"GenConViT", "ours"}
    note = page[page.index("</table>") :].split("</figure>")[0]
    assert "The published F1 scores use different averagings and cannot be ranked" in note
    assert "of the real class: ResNet-50, EfficientNet-b7, BiT; weighted: RECCE;" in note


def test_published_differences_in_f1_only_between_macro_f1(text):
    start = text.index("### Per frame, threshold .5: differences between detectors")
    lines = {
        line.split("<br>")[0].removeprefix("| "): [cell.strip() for cell in line.split("|")[2:6]]
        for line in text[start : text.index("\n###", start)].splitlines()
    }
    assert lines["ours − ResNet-50"] == ["1", "+.0636", "–", "+.0762"]
    assert lines["ours − GenConViT"] == ["1", "+.0503", "+.1113", "+.0182"]


def test_small_variants_and_drawn_faces_are_labelled_everywhere(page, text):
    label = "measured (tiny, SYNTHETIC; small variants, from scratch)"
    assert text.startswith("# SYNTHETIC · Table 1: Detectors compared · tiny · small variants, from scratch\n")
    heads = [line for line in text.splitlines() if line.startswith("| row |") and "measured" in line]
    assert heads
    assert all(label in line for line in heads)
    figures = re.findall(r'<svg[^>]*aria-label="([^"]*)"', page)
    assert len(figures) > 10
    assert all(label in figure for figure in figures)
    assert "say nothing about the full-size models" in page


def test_rows_without_a_small_variant_say_so(text):
    assert "Not trained, because there is no variant of this size: Linear probe, SENet-154." in text
    assert re.search(r"^\| Linear probe \| only lite and full size \|", text, re.MULTILINE)
    assert "Linear probe − GenConViT" not in text
    assert "SENet − GenConViT" in text


def test_the_page_shows_how_each_row_was_trained(page):
    start = page.index("How each row was trained</figcaption>")
    grid = page[start : page.index("</table>", start)]
    rows = re.findall(r'<th scope="row">([^<]*)</th><td class="plain">([^<]*)</td>', grid)
    assert [(title.strip(), model.strip()) for title, model in rows] == [
        ("ResNet-50", "resnet50_small"),
        ("GenConViT", "genconvit_ed_small"),
        ("ours", "genconvit_ed_small"),
        ("", ""),  # its second and third stage
        ("", ""),
    ]
    epochs = re.findall(r'<td class="plain">(\d+)</td>', grid)
    assert epochs == ["9", "2", "2"]


def test_both_sizes_in_one_folder_need_a_choice(written):
    runs = written / "runs" / "tiny"
    with pytest.raises(UserError, match="table1_resnet50 with several models: give --size"):
        collect(TABLE_1, runs, written / "sweep")
    full = collect(TABLE_1, runs, written / "sweep", size="full")
    assert [cell.name for cell in full if cell.complete] == ["table1_resnet50/seed_0"]
    assert {row.experiment for row in TABLE_1.rows} == {cell.experiment for cell in full}


def test_models_of_different_sizes_are_not_compared(tmp_path):
    for seed in (0, 1):
        make_detector(tmp_path, "genconvit", seed, "genconvit_ed_small")
    make_detector(tmp_path, "vit", 0, "vit")
    excluded = check_protocol(TABLE_1, collect(TABLE_1, tmp_path, tmp_path / "sweep")).excluded
    assert excluded == ["table1_vit/seed_0 is excluded: it differs from the other runs in size of the models."]


def test_only_rows_that_have_the_size_have_cells(tmp_path):
    make_detector(tmp_path, "caddm", 0, "caddm_lite")
    lite = {cell.experiment for cell in collect(TABLE_1, tmp_path, tmp_path / "sweep", size="lite")}
    assert lite == {row.experiment for row in TABLE_1.rows if "lite" in row.sizes}
    assert {"table1_vit", "table1_senet154"}.isdisjoint(lite)


def test_jobs_of_another_size_are_ignored(tmp_path):
    runs = tmp_path / "miniature"
    make_detector(runs, "genconvit", 0, "genconvit_ed_small")
    for size, experiment in (("full", "table1_bit"), ("small", "table1_vit")):
        folder = tmp_path / "multirun" / experiment
        folder.mkdir(parents=True)
        record = {"status": "failed", "exit_code": 1, "overrides": [f"experiment={experiment}", f"size={size}"]}
        (folder / "job.json").write_text(json.dumps(record))
    cells = collect(TABLE_1, runs, tmp_path / "multirun", size="small")
    status = {cell.experiment: cell.status for cell in cells}
    assert status["table1_bit"] == "missing"
    assert status["table1_vit"] == "failed: exit status 1, attempt 1"


def test_the_report_goes_beside_the_table(written, monkeypatch, tmp_path):
    monkeypatch.setattr(program, "EXPERIMENTS", tmp_path)
    (tmp_path / "published.csv").write_text((REPOSITORY / "experiments" / "published.csv").read_text())
    program.main(["--table", "1", "--runs", str(written / "runs" / "tiny"), "--size", "small", "--resamples", "100"])
    assert (tmp_path / "table1" / "output" / "tiny_small" / "table1_SYNTHETIC.html").is_file()
