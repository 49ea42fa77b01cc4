"""Bad files of every kind that a user may give: each a function that writes one, with the sentence it must cause."""

import pickle
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from drawn import write_sound

from deepfake_ms.manifest import MANIFEST_NAME


@dataclass(frozen=True)
class Bad:
    """A bad file.

    Attributes:
        name: what is wrong with it.
        write: writes it into a folder that holds a good one.
        sentence: pattern of the message.
    """

    name: str
    write: Callable[[Path], None]
    sentence: str


# --- videos and images


def video(path: Path, frames: int = 12) -> bytes:
    """A video of grey frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(frames):
            image = np.full((64, 64, 3), 20 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


def png(width: int = 40, height: int = 40) -> bytes:
    """A PNG file."""
    return cv2.imencode(".png", np.full((height, width, 3), 90, np.uint8))[1].tobytes()


def huge_png() -> bytes:
    """A PNG file whose header promises 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png()[33:]


def write_media(folder: Path) -> dict[str, bytes]:
    """Bad videos and images below `folder`/fake by name, and good ones in `folder`/real."""
    real, fake = folder / "real", folder / "fake"
    real.mkdir(parents=True)
    fake.mkdir()
    good, quiet = video(real / "good.mp4"), write_sound(real.parent / "sound.m4a").read_bytes()
    (real.parent / "sound.m4a").unlink()
    (real / "good.png").write_bytes(png())
    image, jpg = (
        png(),
        cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8))[1].tobytes(),
    )
    noise = np.random.default_rng(0).bytes(5000)
    files = {
        "empty.mp4": b"",
        "text.mp4": b"this is no video\n" * 50,
        "page.mp4": b"<!doctype html><html><body>404 Not Found</body></html>",
        "noise.mp4": noise,
        "zeros.mp4": bytes(5000),
        "half.mp4": good[: len(good) // 2],
        "start.mp4": good[:64],
        "sound.mp4": quiet,
        "picture.mp4": image[:20],
        "archive.mp4": b"PK\x03\x04" + noise,
        "empty.avi": b"",
        "noise.mkv": b"\x1aE\xdf\xa3" + noise,
        "noise.webm": noise,
        "empty.gif": b"",
        "half.gif": b"GIF89a\x10\x00\x10\x00",
        "empty_png.png": b"",
        "half_png.png": image[: len(image) // 2],
        "text_png.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "noise_jpg.jpg": noise,
        "half_jpg.jpg": jpg[: len(jpg) // 2],
        "start_jpg.jpg": jpg[:10],
        "huge_png.png": huge_png(),
        "noise_bmp.bmp": b"BM" + noise,
        "empty_webp.webp": b"",
    }
    for name, content in files.items():
        (fake / name).write_bytes(content)
    return files


# --- manifests of prepared faces


def change_manifest(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """Writes the manifest after a change of its table."""

    def write(folder: Path) -> None:
        pq.write_table(change(pq.read_table(folder / MANIFEST_NAME)), folder / MANIFEST_NAME)

    return write


def content(name: str, value: bytes | str | Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Writes a file, or changes its bytes."""

    def write(folder: Path) -> None:
        path = folder / name
        new = value(path.read_bytes()) if callable(value) else value
        path.write_bytes(new.encode() if isinstance(new, str) else new)

    return write


def replaced(column: str, row: int, value: object) -> Callable[[Path], None]:
    """Changes one value of the manifest."""

    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[row] = value
        field = table.schema.field(column)
        return table.set_column(table.schema.get_field_index(column), field, [pa.array(values, field.type)])

    return change_manifest(change)


def retyped(column: str, values: Callable[[int], object]) -> Callable[[Path], None]:
    """Changes the type of a column of the manifest."""
    return change_manifest(
        lambda table: table.set_column(
            table.schema.get_field_index(column), column, [pa.array([values(row) for row in range(len(table))])]
        )
    )


MANIFESTS = [
    Bad("empty", content(MANIFEST_NAME, b""), "is not a readable Parquet file"),
    Bad("text", content(MANIFEST_NAME, "sample_id,label\n"), "is not a readable Parquet file"),
    Bad("cut off", content(MANIFEST_NAME, lambda old: old[: len(old) // 2]), "is not a readable Parquet file"),
    Bad("its last byte missing", content(MANIFEST_NAME, lambda old: old[:-1]), "is not a readable Parquet file"),
    Bad("damaged pages", content(MANIFEST_NAME, lambda old: old[:4] + bytes(800) + old[804:]), "is not a readable"),
    Bad("column missing", change_manifest(lambda table: table.drop(["label"])), "lacks the columns label"),
    Bad("no rows", change_manifest(lambda table: table.slice(0, 0)), "lists no face"),
    Bad("numbers for names", retyped("video_id", lambda row: [row]), "video_id has another type"),
    Bad("words for numbers", retyped("frame_index", lambda row: "first"), "frame_index has another type"),
    Bad("a face twice", replaced("sample_id", 1, "000"), "names the face 000 twice"),
    Bad("a face without a name", replaced("sample_id", 1, None), "a face without sample_id"),
    Bad("a face without a video", replaced("video_id", 1, None), "a face without video_id"),
    Bad("a face without a crop", replaced("crop", 1, None), "a face without crop"),
    Bad("an unknown label", replaced("label", 1, "Fake"), "has the unknown label Fake"),
    Bad("a path upwards", replaced("crop", 1, "crops/../../x.png"), r"a crop outside its folder \(crops/\.\./"),
    Bad("an absolute path", replaced("crop", 1, "/etc/x.png"), r"a crop outside its folder \(/etc"),
    Bad("an unknown subset", replaced("official_subset", 1, "training"), "unknown official_subset training"),
    Bad("a hash of another length", replaced("perceptual_hash", 1, "abc"), "perceptual_hash"),
    Bad("no description", content("prepared.json", ""), "is not a complete folder"),
    Bad("half a description", content("prepared.json", '{"complete": tr'), "is not a complete folder"),
    Bad("a list for a description", content("prepared.json", "[1]"), "is not a complete folder"),
]

# --- files of a run that is interrupted or finished

RUNS = [
    Bad("record empty", content("run.json", ""), r"run\.json is not valid JSON"),
    Bad("record cut off", content("run.json", lambda old: old[:99]), r"run\.json is not valid JSON"),
    Bad("record is a list", content("run.json", "[]"), r"run\.json"),
    Bad("record of a later version", content("run.json", '{"format": 99}'), "was written by an"),
    Bad("record not UTF-8", content("run.json", b"\xff\xfe{}"), r"run\.json is not valid JSON"),
    Bad("record without configuration", content("run.json", '{"format": 2}'), r"run\.json lacks"),
    Bad("chain empty", content("chain.json", ""), r"chain\.json is damaged"),
    Bad("chain is a list", content("chain.json", "[]"), r"chain\.json is damaged"),
    Bad("chain lacks fields", content("chain.json", '{"stages": [{"stage": "x"}]}'), r"chain\.json is damaged"),
    Bad("chain not UTF-8", content("chain.json", b"\xff"), r"chain\.json is damaged"),
    Bad("split empty", content("split.parquet", b""), r"split\.parquet"),
    Bad("split text", content("split.parquet", "a,b\n1,2\n"), r"split\.parquet"),
    Bad("split cut off", content("split.parquet", lambda old: old[:-9]), r"split\.parquet"),
    Bad(
        "split without a column",
        lambda folder: pq.write_table(pa.table({"sample_id": ["000"]}), folder / "split.parquet"),
        r"split\.parquet",
    ),
    Bad("curves empty", content("metrics.csv", ""), r"metrics\.csv"),
    Bad("curves not a table", content("metrics.csv", "a\n1,2,3\n"), r"metrics\.csv"),
    Bad("curves binary", content("metrics.csv", b"\xff\x00\xfe"), r"metrics\.csv"),
]

# --- score files

HEADER = "test_set,video,frame,label,score\n"
GOOD = HEADER + "c,a,0,real,0.1\nc,b,0,fake,0.9\n"


def scores(text: str | bytes, name: str = "scores.csv") -> Callable[[Path], None]:
    """Writes a score file."""
    return content(name, text)


class _Payload:
    def __reduce__(self):
        return print, ("code has run",)


SCORES = [
    Bad("empty", scores(""), "is empty"),
    Bad("blank lines", scores("\n\n\n"), "is empty|lacks the column"),
    Bad("header only", scores(HEADER), "has no scores"),
    Bad("no header", scores("c,a,0,real,0.1\n"), "lacks the column test_set"),
    Bad("column missing", scores("test_set,video,label\nc,a,real\n"), "lacks the column score"),
    Bad("semicolons", scores(GOOD.replace(",", ";")), "lacks the column test_set"),
    Bad("binary", scores(np.random.default_rng(0).bytes(300)), "is not a readable csv|lacks the column"),
    Bad("UTF-16", scores(GOOD.encode("utf-16")), "is not a readable csv"),
    Bad("a null byte", scores(GOOD.replace("0.9", "0\x009")), "score"),
    Bad("score a word", scores(GOOD.replace("0.9", "high")), "line 3: the score is 'high'"),
    Bad("score NaN", scores(GOOD.replace("0.9", "nan")), "line 3: the score is 'nan'"),
    Bad("score infinite", scores(GOOD.replace("0.9", "inf")), "line 3: the score inf is outside"),
    Bad("score a percentage", scores(GOOD.replace("0.9", "90")), "line 3: the score 90 is outside"),
    Bad("score missing", scores(GOOD.replace("0.9", "")), "line 3: the score is ''"),
    Bad("label unknown", scores(GOOD.replace("fake", "spoof")), "line 3: the label is 'spoof'"),
    Bad("label 2", scores(GOOD.replace("fake", "2")), "line 3: the label is '2'"),
    Bad("both labels", scores(GOOD + "c,a,1,fake,0.2\n"), "has both labels"),
    Bad("a frame twice", scores(GOOD + "c,a,0,real,0.2\n"), "has a second score"),
    Bad("a frame twice, with zeros", scores(GOOD + "c,a,000,real,0.2\n"), "has a second score"),
    Bad("video missing", scores(GOOD.replace(",b,", ",,")), "video is empty"),
    Bad("one class", scores(HEADER + "c,a,0,real,0.1\n"), "has only real videos"),
    Bad("with and without frames", scores(GOOD + "c,d,,real,0.2\n"), "with and without a frame"),
    Bad("no Parquet", scores("PAR1", "scores.parquet"), "is not a readable parquet"),
    Bad("empty Parquet", scores("", "scores.parquet"), "is not a readable parquet"),
    Bad("unknown suffix", scores(GOOD, "scores.xlsx"), r"is neither \.csv nor \.parquet"),
    Bad(
        "pickle with code",
        scores(pickle.dumps(_Payload()), "metric_dict_best.pickle"),
        "only numbers and text|is missing",
    ),
    Bad("another pickle", scores(pickle.dumps({}), "scores.pickle"), "of pickles, only"),
]

# --- tables and lists of corpora


def table(text: str | bytes) -> Callable[[Path], None]:
    """Writes a corpus table."""
    return content("table.csv", text)


TABLES = [
    Bad("empty", table(""), "cannot be read as a table"),
    Bad("binary", table(b"\x80\x81\x00"), "cannot be read as a table|has no column"),
    Bad("UTF-16", table("path,label\nreal/a.png,real\n".encode("utf-16")), "cannot be read as a table"),
    Bad("header only", table("path,label\n"), "lists no file"),
    Bad("no label", table("path\nreal/a.png\n"), "has no column label"),
    Bad("semicolons", table("path;label\nreal/a.png;real\n"), "has no column path and label"),
    Bad("misspelt column", table("path,label,idenity\nreal/a.png,real,x\n"), "remove or rename the columns idenity"),
    Bad("more cells than columns", table("path,label\nreal/a.png,real,x\n"), "more cells than its header"),
    Bad(
        "open quote",
        table('path,label\n"real/a.png,real\n'),
        "cannot be read as a table|is unknown|does not exist|neither",
    ),
    Bad("unknown label", table("path,label\nreal/a.png,genuine\n"), "row 2: label 'genuine' is unknown"),
    Bad("file missing", table("path,label\nreal/b.png,real\n"), "row 2: path 'real/b.png' does not exist"),
    Bad("path empty", table("path,label\n,real\n"), "row 2: path '' is empty"),
    Bad("no media", table("path,label\ntable.csv,real\n"), "neither a video nor an image"),
    Bad("listed twice", table("path,label\nreal/a.png,real\n./real/a.png,real\n"), "row 3: .* listed a second time"),
    Bad("unknown subset", table("path,label,subset\nreal/a.png,real,dev\n"), "row 2: subset 'dev' is unknown"),
    Bad("null in a path", table("path,label\nreal/\x00a.png,real\n"), "row 2|cannot be read"),
]


def tree(files: dict[str, str | bytes]) -> Callable[[Path], None]:
    """Writes the files of a corpus; videos need no content to be listed."""

    def write(folder: Path) -> None:
        for name, value in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(value.encode() if isinstance(value, str) else value)

    return write


CELEB = {"Celeb-real/id0_0000.mp4": "", "YouTube-real/00000.mp4": "", "Celeb-synthesis/id0_id1_0000.mp4": ""}
CELEB_LIST = "List_of_testing_videos.txt"
DFDC = {"dfdc_train_part_0/a.mp4": "", "dfdc_train_part_0/b.mp4": ""}
DFDC_LIST = "dfdc_train_part_0/metadata.json"
FF = {
    "original_sequences/youtube/c23/videos/000.mp4": "",
    "original_sequences/youtube/c23/videos/003.mp4": "",
    **{
        f"manipulated_sequences/{method}/c23/videos/000_003.mp4": ""
        for method in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
    },
}
SPLITS = {f"splits/{name}.json": "[]" for name in ("train", "val", "test")}
CORPORA = [
    ("celebdf", Bad("list missing", tree(CELEB), "is missing")),
    ("celebdf", Bad("list empty", tree({**CELEB, CELEB_LIST: ""}), "is empty")),
    ("celebdf", Bad("list binary", tree({**CELEB, CELEB_LIST: b"\xff\x00\xfe"}), "line 1, .* is neither")),
    ("celebdf", Bad("wrong class", tree({**CELEB, CELEB_LIST: "0 Celeb-real/id0_0000.mp4"}), "line 1, .* is neither")),
    (
        "celebdf",
        Bad("class missing", tree({"Celeb-real/id0_0000.mp4": "", CELEB_LIST: "1 Celeb-real/id0_0000.mp4"}), "has no"),
    ),
    (
        "celebdf",
        Bad(
            "strange name",
            tree({**CELEB, "Celeb-real/x.mp4": "", CELEB_LIST: "1 Celeb-real/id0_0000.mp4"}),
            "does not identify",
        ),
    ),
    ("dfdc", Bad("metadata missing", tree(DFDC), "metadata.json")),
    ("dfdc", Bad("metadata empty", tree({**DFDC, DFDC_LIST: ""}), "metadata.json")),
    ("dfdc", Bad("metadata a list", tree({**DFDC, DFDC_LIST: "[1, 2]"}), "metadata.json")),
    ("dfdc", Bad("entry a number", tree({**DFDC, DFDC_LIST: '{"a.mp4": 3, "b.mp4": 4}'}), "metadata.json")),
    ("dfdc", Bad("entry without label", tree({**DFDC, DFDC_LIST: '{"a.mp4": {}, "b.mp4": {}}'}), "metadata.json")),
    (
        "dfdc",
        Bad(
            "label a list",
            tree({**DFDC, DFDC_LIST: '{"a.mp4": {"label": []}, "b.mp4": {"label": []}}'}),
            "metadata.json",
        ),
    ),
    (
        "dfdc",
        Bad(
            "clip not listed",
            tree({**DFDC, DFDC_LIST: '{"a.mp4": {"label": "REAL", "split": "train"}}'}),
            "does not list",
        ),
    ),
    ("dfdc", Bad("metadata not UTF-8", tree({**DFDC, DFDC_LIST: b"\xff{}"}), "metadata.json")),
    ("faceforensics", Bad("split empty", tree({**FF, **SPLITS, "splits/train.json": ""}), "train.json")),
    ("faceforensics", Bad("split a number", tree({**FF, **SPLITS, "splits/train.json": "3"}), "train.json")),
    (
        "faceforensics",
        Bad("pair of three", tree({**FF, **SPLITS, "splits/train.json": '[["000", "003", "4"]]'}), "train.json"),
    ),
    ("faceforensics", Bad("pair of lists", tree({**FF, **SPLITS, "splits/train.json": "[[[], {}]]"}), "train.json")),
]
