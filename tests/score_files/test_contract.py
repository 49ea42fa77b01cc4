"""The contract of score files: what is read, what is refused and with which sentence, and the round trip."""

import pandas as pd
import pytest
from score_tables import scores, write

from deepfake_ms.errors import UserError
from deepfake_ms.score_files.contract import COLUMNS, write_scores
from deepfake_ms.score_files.importers import read_scores

HEADER = "test_set,video,frame,label,score\n"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("per_video", [False, True])
def test_written_scores_are_read_as_they_were(tmp_path, suffix, per_video):
    written = pd.concat([scores(test_set="a"), scores(1, test_set="b")], ignore_index=True)
    if per_video:
        written = written.drop_duplicates(["test_set", "video"], ignore_index=True).assign(frame="")
    write_scores(written, tmp_path / f"scores{suffix}")
    pd.testing.assert_frame_equal(read_scores(tmp_path / f"scores{suffix}"), written)


def test_labels_frames_and_other_columns_may_be_written_in_several_ways(tmp_path):
    rows = "x,1,FAKE,007,a,t\nx,0,real,7.0,b,t\n\nx,1e-3,0, 10 ,b,t\nx,.5,1,x_1,a,t\n\n"
    text = f"\ufeffmethod,score,label,frame,video,test_set\n{rows}"
    read = read_scores(write(tmp_path, "scores.csv", text))
    assert tuple(read.columns) == COLUMNS
    assert read["frame"].tolist() == ["7", "7", "10", "x_1"]
    assert read["label"].tolist() == [1, 0, 0, 1]
    assert read["score"].tolist() == [1, 0, 0.001, 0.5]


def test_numbers_and_missing_frames_in_parquet(tmp_path):
    table = pd.DataFrame(
        {"test_set": "t", "video": [1, 2], "frame": [None, None], "label": [0.0, 1.0], "score": [0, 1]}
    )
    table.to_parquet(tmp_path / "scores.parquet")
    read = read_scores(tmp_path / "scores.parquet")
    assert read["video"].tolist() == ["1", "2"]
    assert read["frame"].tolist() == ["", ""]
    without_frame = write(tmp_path, "scores.csv", "test_set,video,label,score\nt,1,0,0\nt,2,1,1\n")
    pd.testing.assert_frame_equal(read_scores(without_frame), read)


GOOD = "t,a,1,real,.2\nt,a,2,real,.3\nt,b,1,fake,.9\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "scores.csv is empty: it needs the header test_set,video,frame,label,score and one row per score."),
        (HEADER, "scores.csv has no scores: it needs one row per frame or per video."),
        (
            "video,label,score\na,0,1\n",
            "scores.csv lacks the column test_set: name its columns test_set, video, frame,",
        ),
        (HEADER + GOOD + "t,b,2,fake,1.5\n", "scores.csv, line 5: the score 1.5 is outside 0..1: give P(fake)"),
        (HEADER + GOOD + "\nt,b,2,fake,-1\n", "scores.csv, line 6: the score -1 is outside 0..1: give P(fake)"),
        (HEADER + "t,a,1,real,nan\n" + GOOD, "scores.csv, line 2: the score is 'nan': give P(fake) as a number"),
        (HEADER + "t,a,1,real,\n" + GOOD, "scores.csv, line 2: the score is '': give P(fake) as a number"),
        (HEADER + GOOD + "t,b,2,2,.5\n", "scores.csv, line 5: the label is '2': write real or fake, or 0 (real)"),
        (HEADER + GOOD + "t,,2,fake,.5\n", "scores.csv, line 5: video is empty: name the video of every score."),
        (HEADER + GOOD + ",b,2,fake,.5\n", "scores.csv, line 5: test_set is empty: name the test set of every score."),
        (HEADER + GOOD + "t,a,02,real,.5\n", "line 5: frame 02 of video a of test set t has a second score: keep one."),
        (HEADER + "t,a,,0,.2\nt,a,,0,.3\n", "line 3: video a of test set t has a second score: number its frames"),
        (HEADER + GOOD + "t,c,,fake,.5\n", "line 5: test set t has scores with and without a frame: give every score"),
        (HEADER + GOOD + "t,a,3,fake,.5\n", "line 5: video a of test set t has both labels: correct one, or give"),
        (HEADER + GOOD + "u,a,1,fake,.5\n", "scores.csv: test set u has only fake videos: add the real ones."),
        (HEADER + "u,a,1,1.0,.5\n", "scores.csv: test set u has only fake videos: add the real ones."),
        (HEADER + GOOD + "t,b,2,fake,.5,x\n", "scores.csv is not a readable csv file"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, text, sentence):
    with pytest.raises(UserError) as caught:
        read_scores(write(tmp_path, "scores.csv", text))
    assert sentence in str(caught.value)
    assert str(caught.value).endswith(".")


def test_rows_of_parquet_are_counted_from_1(tmp_path):
    scores().assign(score=2.0).to_parquet(tmp_path / "scores.parquet")
    with pytest.raises(UserError, match=r"scores\.parquet, row 1: the score 2\.0 is outside 0\.\.1"):
        read_scores(tmp_path / "scores.parquet")


def test_other_formats_are_refused(tmp_path):
    for name, sentence in (
        ("a.txt", r"is neither \.csv nor \.parquet"),
        ("a.parquet", "is not a readable parquet file"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_scores(write(tmp_path, name, "no table"))
    with pytest.raises(UserError, match="does not exist"):
        read_scores(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match=r"is neither \.csv nor \.parquet"):
        write_scores(scores(), tmp_path / "scores.xlsx")
