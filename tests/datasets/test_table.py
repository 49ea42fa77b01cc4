"""CSV tables of files."""

import pytest

from deepfake_ms.datasets import find_corpus
from deepfake_ms.errors import UserError


def write(root, *rows, header="path,label", name="files.csv", touch=True):
    """Write a table, and empty files at the paths in its first column."""
    for row in rows:
        path = root / row.split(",")[0]
        if touch and path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    table = root / name
    table.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return table


def test_all_columns(tmp_path):
    table = write(
        tmp_path,
        "clips/a.mp4,real,,anna,,,train",
        "b/x.png, Fake ,b,anna; ben,clips/a,faceswap,test",
        "",
        "b/c.png,fake,b,anna; ben,clips/a,faceswap,test",
        "d.mov,,,,,,",
        header="path,label,video,identity,source,method,subset",
    )
    corpus = find_corpus("folder", table)
    assert corpus.root == table
    found = {
        s.name: (s.video_id, s.frame_index, s.label, s.method, s.identities, s.source_video, s.official_subset, s.media)
        for s in corpus.sources
    }
    assert found == {
        "clips/a.mp4": ("clips/a", 0, "real", "real", ("anna",), None, "train", "video"),
        "b/x.png": ("b", 0, "fake", "faceswap", ("anna", "ben"), "clips/a", "test", "image"),
        "b/c.png": ("b", 1, "fake", "faceswap", ("anna", "ben"), "clips/a", "test", "image"),
        "d.mov": ("d", 0, "unlabelled", "unlabelled", (), None, None, "video"),
    }
    assert all(source.path.is_file() for source in corpus.sources)


def test_path_and_label_are_enough_and_images_are_named_as_in_a_folder(tmp_path):
    table = write(tmp_path, "real/clip_2.jpg,real", "real/clip_10.jpg,real", "swap.mp4,fake", name="FILES.CSV")
    found = {s.name: (s.video_id, s.frame_index, s.method) for s in find_corpus("folder", table).sources}
    assert found == {
        "real/clip_2.jpg": ("real/clip", 2, "real"),
        "real/clip_10.jpg": ("real/clip", 10, "real"),
        "swap.mp4": ("swap", 0, "fake"),
    }


def test_files_outside_the_tables_folder_get_ids_inside_the_prepared_folder(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/b.mp4").touch()
    rows = ("../a.mp4,real", f"{tmp_path}/tables/b.mp4,fake")
    found = {s.name: s for s in find_corpus("folder", write(tmp_path / "tables", *rows, touch=False)).sources}
    assert set(found) == {(tmp_path / "a.mp4").as_posix(), "b.mp4"}
    assert found["b.mp4"].video_id == "b"
    outside = found[(tmp_path / "a.mp4").as_posix()]
    assert outside.video_id == (tmp_path / "a").relative_to(tmp_path.anchor).as_posix()
    assert outside.path.is_file()


def test_a_byte_order_mark_and_quotes_are_read(tmp_path):
    (tmp_path / "a, b.mp4").touch()
    table = tmp_path / "files.csv"
    table.write_text('path,label\r\n"a, b.mp4",real\r\n', encoding="utf-8-sig")
    assert [source.video_id for source in find_corpus("folder", table).sources] == ["a, b"]


@pytest.mark.parametrize(
    "video", ["/etc/a", "../a", "a/../../b", "C:/a", "C:\\a", "..\\a", "\\\\host\\a", "a//b", ".", "a/"]
)
def test_a_video_that_would_leave_the_prepared_folder_is_refused(tmp_path, video):
    with pytest.raises(UserError, match="cannot name a folder of crops"):
        find_corpus("folder", write(tmp_path, f"a.png,real,{video}", header="path,label,video"))


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("path;label", ["a.mp4;real"], "no column path and label but path;label"),
        ("path", ["a.mp4"], "no column label but path"),
        ("path,label,identities", ["a.mp4,real,anna"], "remove or rename the columns identities"),
        ("path,label", [], "lists no file"),
        ("path,label", ["a.mp4,real,anna"], "more cells than its header"),
        ("path,label", ["a.mp4,real", "b.mp4,real,anna"], "cannot be read as a table"),
        ("path,label", ["a.mp4,real", "b.mp4,Faked", "c.mp4,1"], r"row 3: label 'faked' is unknown.*\(2 such rows\)"),
        ("path,label,subset", ["a.mp4,real,val"], "row 2: subset 'val' is unknown: write train, validation, test"),
        ("path,label", ["a.mp4,real", "", ",fake"], "row 4: path '' is empty"),
        ("path,label", ["a.txt,real"], "row 2: path 'a.txt' is neither a video nor an image"),
        ("path,label", ["x/._a.mp4,real"], "row 2: .* is a hidden file"),
        ("path,label", ["a.mp4,real", "./a.mp4,real"], "row 3: path './a.mp4' is listed a second time"),
        ("path,label,video", ["a.png,real,v", "b.png,fake,v"], "row 3: label 'fake' contradicts 'real'.* video v"),
        ("path,label", ["v_1.png,real", "v_2.png,fake"], "row 3: label 'fake' contradicts 'real'.* video v"),
        ("path,label,video,subset", ["a.png,real,v,test", "b.png,real,v,"], "row 3: subset '' contradicts 'test'"),
        ("path,label,video,identity", ["a.png,real,v,x", "b.png,real,v,y"], "row 3: identity 'y' contradicts 'x'"),
        ("path,label,source", ["a.mp4,real,", "b.mp4,fake,a.mp4"], "row 3: source 'a.mp4' is not a real video of the"),
        ("path,label,source", ["a.mp4,fake,", "b.mp4,fake,a"], "row 3: source 'a' is not a real video of the table"),
        (
            "path,label,source",
            ["a.mp4,real,", "b.mp4,real,a"],
            "row 3: source 'a' belongs to a row that is not",
        ),
        ("path,label,video,source", ["a.png,fake,v,x", "b.png,fake,v,"], "row 3: source '' contradicts 'x'"),
        ("path,label,video", ["a.mp4,real,v", "b.mp4,real,v"], "claim to be video v.* one of a.mp4, b.mp4"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, header, rows, message):
    with pytest.raises(UserError, match=message) as error:
        find_corpus("folder", write(tmp_path, *rows, header=header))
    assert "\n" not in str(error.value)


def test_missing_files_are_counted_and_the_first_is_named(tmp_path):
    table = write(tmp_path, "a.mp4,real", "b.mp4,real", "c.mp4,fake")
    (tmp_path / "b.mp4").unlink()
    (tmp_path / "c.mp4").unlink()
    with pytest.raises(UserError, match=r"row 3: path 'b\.mp4' does not exist.*\(2 such rows\)"):
        find_corpus("folder", table)


def test_tables_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"does not exist; give a CSV file with the columns path, label, \[video\]"):
        find_corpus("folder", tmp_path / "nowhere.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UserError, match="cannot be read"):
        find_corpus("folder", tmp_path / "empty.csv")
    (tmp_path / "latin.csv").write_bytes("path,label\nä.mp4,real\n".encode("latin-1"))
    with pytest.raises(UserError, match="cannot be read"):
        find_corpus("folder", tmp_path / "latin.csv")


def test_a_folder_named_like_a_table_is_still_a_folder(tmp_path):
    (tmp_path / "set.csv").mkdir()
    (tmp_path / "set.csv/a.mp4").touch()
    assert [source.video_id for source in find_corpus("folder", tmp_path / "set.csv").sources] == ["a"]
