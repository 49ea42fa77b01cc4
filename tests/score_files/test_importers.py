"""Importers, on small files in each tool's layout; the layouts' sources are in the importers' docstrings."""

import pickle
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pytest
from score_tables import scores
from sklearn.metrics import roc_auc_score

from deepfake_ms.errors import UserError
from deepfake_ms.evaluation.predictions import PREDICTIONS_NAME, SELECTED
from deepfake_ms.evaluation.scores import SCORES_NAME
from deepfake_ms.files import write_json
from deepfake_ms.score_files.coverage import align
from deepfake_ms.score_files.importers import OWN_FILES, read_scores
from deepfake_ms.scoring.comparison import compare

FRAMES = scores(test_set="test")


def write_predictions(run: Path, test_set: str, table: pd.DataFrame = FRAMES) -> Path:
    """Predictions in the folder of a run, as `deepfake-ms evaluate` writes them."""
    predictions = pd.DataFrame(
        {
            "sample_id": table["video"] + "#" + table["frame"],
            "video_id": table["video"],
            "label": table["label"],
            "method": "swap",
            "fake_probability": table["score"].astype("float32"),
        }
    )
    predictions.attrs = {"test_set": test_set}
    path = run / "evaluation" / test_set / SELECTED / PREDICTIONS_NAME
    path.parent.mkdir(parents=True)
    predictions.to_parquet(path, index=False)
    return path


def write_gend(folder: Path, table: pd.DataFrame = FRAMES) -> Path:
    fake = table["score"].round(4)
    files = "datasets/CDFv2/" + table["video"] + "/" + table["frame"].str.zfill(3) + ".png"
    gend = pd.DataFrame({"files": files, "labels": table["label"], "prob_class_0": 1 - fake, "prob_class_1": fake})
    gend.to_csv(folder / "test_predictions.csv", index=False, float_format="%.4f")
    return folder / "test_predictions.csv"


def write_deepfakebench(folder: Path, images, labels, score, protocol: int = 4) -> Path:
    """The two pickles of a test set."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.asarray(labels)
    metrics = {"acc": 0.5, "auc": np.float64(0.7), "pred": np.asarray(score, np.float32), "label": labels}
    images = {"image": tuple(images), "label": tuple(labels.tolist())}
    for name, content in (("metric_dict_best.pickle", metrics), ("data_dict_test.pickle", images)):
        (folder / name).write_bytes(pickle.dumps(content, protocol))
    return folder / "metric_dict_best.pickle"


def celeb_images(table: pd.DataFrame = FRAMES) -> list[str]:
    names = table["video"].str.split("/", expand=True)
    return ("./datasets/Celeb-DF-v2/" + names[0] + "/frames/" + names[1] + "/" + table["frame"] + ".png").tolist()


def imported(layout: str, folder: Path) -> tuple[Path, str]:
    """A file in one layout and the test set that it names."""
    if layout == "own":
        return write_predictions(folder, "test"), "test"
    if layout == "gend":
        return write_gend(folder), "CDFv2"
    shuffled = FRAMES.sample(frac=1, random_state=0)
    folder = folder / "log" / "test" / "Celeb-DF-v2"
    return write_deepfakebench(folder, celeb_images(shuffled), shuffled["label"], shuffled["score"]), "Celeb-DF-v2"


@pytest.mark.parametrize("layout", ["own", "gend", "deepfakebench"])
def test_imported_scores_are_those_of_the_file(tmp_path, layout):
    path, test_set = imported(layout, tmp_path)
    read = read_scores(path).sort_values(["video", "frame"], ignore_index=True)
    expected = FRAMES.assign(test_set=test_set).sort_values(["video", "frame"], ignore_index=True)
    pd.testing.assert_frame_equal(read.drop(columns="score"), expected.drop(columns="score"))
    np.testing.assert_allclose(read["score"], expected["score"], atol=5.1e-5 if layout == "gend" else 1e-7)


@pytest.mark.parametrize("layout", ["own", "gend", "deepfakebench"])
def test_auroc_of_imported_scores_is_scikit_learns(tmp_path, layout):
    path, _ = imported(layout, tmp_path)
    videos = FRAMES.groupby("video").agg({"label": "first", "score": "mean"})
    expected = {"frame": roc_auc_score(FRAMES["label"], FRAMES["score"])}
    expected["video"] = roc_auc_score(videos["label"], videos["score"])
    for level in ("frame", "video"):
        aligned, _ = align({"a": read_scores(path)}, level)
        assert compare(aligned, level, resamples=10)["value"][0] == pytest.approx(expected[level], abs=1e-9)


def test_a_run_gives_every_test_set_but_validation(tmp_path):
    for test_set in ("test", "test_jpeg", "validation", "validation_jpeg"):
        write_predictions(tmp_path, test_set)
    assert read_scores(tmp_path)["test_set"].unique().tolist() == ["test", "test_jpeg"]


def test_scores_of_drawn_faces_are_marked(tmp_path):
    path = write_predictions(tmp_path, "test")
    write_json(path.with_name(SCORES_NAME), {"data": {"synthetic": True}})
    assert read_scores(path)["test_set"].unique().tolist() == ["test (SYNTHETIC)"]


def test_evaluate_writes_where_the_importer_looks():
    assert PurePosixPath(f"evaluation/*/{SELECTED}/{PREDICTIONS_NAME}") == PurePosixPath(OWN_FILES)


def test_a_folder_without_scores_is_refused(tmp_path):
    with pytest.raises(UserError, match="contains no scores: name one evaluated run"):
        read_scores(tmp_path)


def test_gends_log_folder_is_read(tmp_path):
    pd.testing.assert_frame_equal(read_scores(write_gend(tmp_path)), read_scores(tmp_path))


def test_gends_paths_and_classes_are_checked(tmp_path):
    path = write_gend(tmp_path)
    table = pd.read_csv(path)
    table.assign(files="CDFv2/Celeb-real/000.png").to_csv(path, index=False)
    with pytest.raises(UserError, match=r"test_predictions\.csv, line 2: CDFv2/Celeb-real/000\.png does not end in"):
        read_scores(path)
    table.assign(prob_class_2=0).to_csv(path, index=False)
    with pytest.raises(UserError, match="more than two classes"):
        read_scores(path)


def test_deepfakebenchs_log_folder_gives_every_test_set(tmp_path):
    for name in ("Celeb-DF-v2", "UADFV"):
        write_deepfakebench(tmp_path / "test" / name, celeb_images(), FRAMES["label"], FRAMES["score"])
    (tmp_path / "test" / "avg").mkdir()
    (tmp_path / "test" / "avg" / "metric_dict_best.pickle").write_bytes(pickle.dumps({"auc": 0.5}))
    assert read_scores(tmp_path)["test_set"].unique().tolist() == ["Celeb-DF-v2", "UADFV"]
    assert read_scores(tmp_path / "test" / "UADFV")["test_set"].unique().tolist() == ["UADFV"]


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_deepfakebenchs_faceforensics_videos_of_four_methods_stay_apart(tmp_path, separator):
    folders = [f"manipulated_sequences/{method}" for method in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")]
    videos = [f"{folder}/c23/frames/000_003" for folder in folders] + ["original_sequences/youtube/c23/frames/000"]
    images = [f"./datasets/FaceForensics++/{video}/{frame:03}.png" for video in videos for frame in (0, 9)]
    labels = [1, 1, 2, 2, 3, 3, 4, 4, 0, 0]
    path = write_deepfakebench(
        tmp_path / "FaceForensics++", [image.replace("/", separator) for image in images], labels, np.linspace(0, 1, 10)
    )
    metrics = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(metrics | {"label": np.minimum(labels, 1)}))  # as its Trainer writes them
    read = read_scores(path)
    expected = ["Deepfakes/000_003", "Face2Face/000_003", "FaceSwap/000_003", "NeuralTextures/000_003", "youtube/000"]
    assert read["video"].unique().tolist() == expected  # as in our manifests
    assert read["frame"].tolist() == ["0", "9"] * 5


def test_deepfakebenchs_two_compressions_stay_apart(tmp_path):
    images = [f"F/original_sequences/youtube/{rate}/frames/000/1.png" for rate in ("c23", "c40")]
    images += ["F/manipulated_sequences/FaceSwap/c23/frames/000_003/1.png"]
    read = read_scores(write_deepfakebench(tmp_path / "F", images, [0, 0, 1], [0.1, 0.2, 0.3]))
    assert read["video"].nunique() == 3


def test_a_clip_of_deepfakebench_counts_as_its_first_frame(tmp_path):
    clips = [
        [f"D/{video}/frames/x/{frame}.png" for frame in range(start, start + 8)]
        for video, start in (("real", 0), ("real", 8), ("fake", 0))
    ]
    read = read_scores(write_deepfakebench(tmp_path / "D", clips, [0, 0, 1], [0.1, 0.2, 0.3]))
    assert read[["video", "frame"]].to_numpy().tolist() == [["real/x", "0"], ["real/x", "8"], ["fake/x", "0"]]


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_pickles_of_other_versions_are_read(tmp_path, protocol):
    path = write_deepfakebench(tmp_path / "Celeb-DF-v2", celeb_images(), FRAMES["label"], FRAMES["score"], protocol)
    expected = read_scores(path)
    if protocol == 3:  # Python 3.7 with numpy 1
        path.write_bytes(path.read_bytes().replace(b"numpy._core.", b"numpy.core."))
        pd.testing.assert_frame_equal(read_scores(path), expected)


class Attack:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_a_pickle_never_runs_code(tmp_path):
    path = write_deepfakebench(tmp_path / "Celeb-DF-v2", celeb_images(), FRAMES["label"], FRAMES["score"])
    path.write_bytes(pickle.dumps({"pred": Attack(tmp_path / "attacked"), "label": [0]}))
    with pytest.raises(UserError, match="only numbers and text are safe in a pickle"):
        read_scores(path)
    assert not (tmp_path / "attacked").exists()


def test_pickles_that_are_not_deepfakebenchs_are_refused(tmp_path):
    path = write_deepfakebench(tmp_path / "Celeb-DF-v2", celeb_images(), FRAMES["label"], FRAMES["score"])
    other = path.with_name("scores.pkl")
    other.write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"of pickles, only metric_dict_best\.pickle of DeepfakeBench is read"):
        read_scores(other)
    write_deepfakebench(path.parent, celeb_images()[::-1], FRAMES["label"][::-1], FRAMES["score"])
    path.write_bytes(pickle.dumps({"pred": FRAMES["score"].to_numpy(), "label": 1 - FRAMES["label"].to_numpy()}))
    with pytest.raises(UserError, match="do not belong together"):
        read_scores(path)
    path.write_bytes(pickle.dumps({"auc": 0.5}))
    with pytest.raises(UserError, match="lacks pred or label"):
        read_scores(path)
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="is not read"):
        read_scores(path)
    path.with_name("data_dict_test.pickle").unlink()
    with pytest.raises(UserError, match=r"data_dict_test\.pickle is missing"):
        read_scores(path)
