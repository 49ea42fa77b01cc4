"""The drawn corpus on disk: layout, reproducibility, interruption and refusal."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import av
import numpy as np
import pytest

from deepfake_ms.datasets.miniature import MiniatureSettings, corpus, draw_corpus, plan_corpus, render_video
from deepfake_ms.errors import UserError

SMALL = MiniatureSettings(
    seed=3, identities=4, cast_size=2, videos_per_identity=1, youtube_people=2, fakes=3, seconds=0.5, fps=4, size=96
)


def files_of(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != corpus.LOCK_NAME
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_corpus(SMALL, tmp_path_factory.mktemp("miniature") / "corpus", workers=1)


def test_layout_and_test_list_are_those_of_celeb_df(drawn):
    files = files_of(drawn)
    videos = {name for name in files if name.endswith(".mp4")}
    assert {name for name in videos if name.startswith("Celeb-real")} == {
        f"Celeb-real/id{i}_0000.mp4" for i in range(4)
    }
    assert {name for name in videos if name.startswith("YouTube-real")} == {
        f"YouTube-real/{i:05d}.mp4" for i in range(2)
    }
    fakes = {name for name in videos if name.startswith("Celeb-synthesis")}
    swaps = {f"Celeb-synthesis/id{i}_id{j}_0000.mp4" for i, j in [(0, 1), (1, 0), (2, 3), (3, 2)]}
    assert len(fakes) == 3
    assert fakes < swaps
    listed = [line.split(" ") for line in files["List_of_testing_videos.txt"].decode().splitlines()]
    cast = {"id2", "id3"}
    expected = {name for name in videos if set(name.split("/")[1].split("_")[:-1]) & cast} | {"YouTube-real/00001.mp4"}
    assert {name for _, name in listed} == expected
    assert all((label == "0") == name.startswith("Celeb-synthesis") for label, name in listed)
    assert set(files) == videos | {"List_of_testing_videos.txt", "corpus.json"}


def test_videos_are_h264_with_the_size_and_length_of_the_settings(drawn):
    with av.open(str(drawn / "Celeb-real/id0_0000.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 96, 96)
        assert stream.average_rate == 4
        assert len(list(container.decode(stream))) == 2


def test_corpus_json_says_that_it_is_synthetic_and_what_was_drawn(drawn):
    document = json.loads((drawn / "corpus.json").read_text())
    assert document["synthetic"] is True
    assert document["generator_version"] == corpus.GENERATOR_VERSION
    assert MiniatureSettings(**document["settings"]) == SMALL
    assert set(document["fakes"]) == {video.name for video in plan_corpus(SMALL) if video.is_fake}
    assert all(set(strengths) == {"eyes", "seam", "mouth", "resample"} for strengths in document["fakes"].values())


def test_the_number_of_workers_changes_no_byte(drawn, tmp_path):
    calls = []
    root = draw_corpus(SMALL, tmp_path / "again", workers=2, progress=lambda *call: calls.append(call))
    assert files_of(root) == files_of(drawn)
    assert calls == [(done, 9) for done in range(10)]


def test_adding_videos_does_not_change_the_others():
    larger = replace(SMALL, identities=8, videos_per_identity=2, youtube_people=3, fakes=16)
    larger_plan = {video.name: video for video in plan_corpus(larger)}
    for video in plan_corpus(replace(SMALL, fakes=4)):
        for (frame, eyes), (same_frame, same_eyes) in zip(
            render_video(video, SMALL), render_video(larger_plan[video.name], larger), strict=True
        ):
            assert np.array_equal(frame, same_frame)
            assert np.array_equal(eyes, same_eyes)


def test_a_larger_number_of_fakes_contains_the_smaller():
    plans = [set(plan_corpus(replace(MiniatureSettings(), fakes=fakes))) for fakes in (0, 40, 130)]
    assert plans[0] < plans[1] < plans[2]


def test_another_seed_draws_other_people():
    video = plan_corpus(SMALL)[0]
    frame, _ = next(render_video(video, SMALL))
    other, _ = next(render_video(video, replace(SMALL, seed=4)))
    assert np.abs(frame.astype(int) - other).mean() > 5


def test_casts_are_not_divided_between_training_and_test():
    plan = plan_corpus(MiniatureSettings())
    tested = {person for video in plan if video.official_test for person in (video.target, video.donor)} - {None}
    trained = {person for video in plan if not video.official_test for person in (video.target, video.donor)} - {None}
    assert not tested & trained
    assert sum(video.is_fake for video in plan) == 130
    assert len(plan) == 28 * 3 + 14 + 130
    for video in plan:
        if video.is_fake:
            assert int(video.target[2:]) // 4 == int(video.donor[2:]) // 4
    real, fake = ([video.official_test for video in plan if video.is_fake is kind] for kind in (False, True))
    assert np.mean(real) == pytest.approx(np.mean(fake), abs=0.02)


def test_the_eye_shares_apply_to_their_own_subset():
    plan = plan_corpus(MiniatureSettings(eye_share_training=1.0, eye_share_test=0.4))
    trained, tested = (
        [video.artefacts.eyes > 0 for video in plan if video.is_fake and video.official_test is is_test]
        for is_test in (False, True)
    )
    assert all(trained)
    assert 0.2 < np.mean(tested) < 0.6
    assert all(video.artefacts.mouth > 0 for video in plan if video.is_fake)


def test_quality_spread_weakens_each_fake_by_its_own_factor():
    even, spread = (
        {video.name: video.artefacts for video in plan_corpus(MiniatureSettings(quality_spread=value)) if video.is_fake}
        for value in (0.0, 0.8)
    )
    assert len(set(even.values())) == 1
    factors = np.array([spread[name].mouth / even[name].mouth for name in even])
    assert 0.2 <= factors.min() < 0.3
    assert 0.9 < factors.max() <= 1
    assert np.mean(factors) == pytest.approx(0.6, abs=0.06)
    for name, factor in zip(even, factors, strict=True):
        assert asdict(spread[name]) == pytest.approx({k: v * factor for k, v in asdict(even[name]).items()})


class Interrupted(Exception):
    pass


def interrupt_at(count):
    def progress(done, _total):
        if done == count:
            raise Interrupted

    return progress


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_drawing_continues(drawn, tmp_path, workers):
    root = tmp_path / "corpus"
    with pytest.raises(Interrupted):
        draw_corpus(SMALL, root, workers=workers, progress=interrupt_at(4))
    assert not (root / "corpus.json").exists()
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.mp4")}
    assert len(before) >= 4
    draw_corpus(SMALL, root, workers=1)
    assert files_of(root) == files_of(drawn)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_half_written_video_is_drawn_again(drawn, tmp_path, monkeypatch):
    root, broken = tmp_path / "corpus", plan_corpus(SMALL)[2].name
    whole_video = corpus.render_video

    def dies_after_a_frame(video, settings):
        for frame in whole_video(video, settings):
            yield frame
            if video.name == broken:
                raise Interrupted

    monkeypatch.setattr(corpus, "render_video", dies_after_a_frame)
    with pytest.raises(Interrupted):
        draw_corpus(SMALL, root, workers=1)
    assert not (root / broken).exists()
    monkeypatch.undo()
    draw_corpus(SMALL, root, workers=1)
    assert files_of(root) == files_of(drawn)


def test_complete_corpus_is_reused(drawn, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in drawn.rglob("*.*")}
    monkeypatch.setattr(corpus, "_draw_video", lambda *_: pytest.fail("drew again"))
    assert draw_corpus(SMALL, drawn, workers=1) == drawn
    before.pop(drawn / corpus.LOCK_NAME, None)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_two_at_once_draw_every_video_once(drawn, tmp_path, monkeypatch):
    names, draw = [], corpus._draw_video

    def counted(video, settings, root):
        names.append(video.name)
        draw(video, settings, root)

    monkeypatch.setattr(corpus, "_draw_video", counted)
    with ThreadPoolExecutor(2) as pool:
        for drawing in [pool.submit(draw_corpus, SMALL, tmp_path / "corpus", 1) for _ in range(2)]:
            drawing.result()
    assert sorted(names) == [video.name for video in plan_corpus(SMALL)]
    assert files_of(tmp_path / "corpus") == files_of(drawn)


def test_other_settings_or_another_generator_are_refused(drawn, monkeypatch):
    before = files_of(drawn)
    with pytest.raises(UserError, match=r"corpus.*other settings.*another folder"):
        draw_corpus(replace(SMALL, artefacts={"eyes": 0.9}), drawn, workers=1)
    monkeypatch.setattr(corpus, "GENERATOR_VERSION", corpus.GENERATOR_VERSION + 1)
    with pytest.raises(UserError, match="generator version"):
        draw_corpus(SMALL, drawn, workers=1)
    assert files_of(drawn) == before


def test_unfinished_corpus_with_other_settings_is_refused(tmp_path):
    with pytest.raises(Interrupted):
        draw_corpus(SMALL, tmp_path, workers=1, progress=interrupt_at(0))
    with pytest.raises(UserError, match="other settings"):
        draw_corpus(replace(SMALL, crf=30), tmp_path, workers=1)


def test_foreign_folder_is_not_drawn_into(tmp_path):
    (tmp_path / "Celeb-real").mkdir()
    with pytest.raises(UserError, match=r"no miniature corpus.*empty folder"):
        draw_corpus(SMALL, tmp_path, workers=1)
    assert not list(tmp_path.rglob("*.mp4"))


def test_integers_and_floats_give_the_same_settings():
    whole = MiniatureSettings(seconds=3, artefacts={"eyes": 1, "seam": 0, "mouth": 0, "resample": 0})
    fraction = MiniatureSettings(seconds=3.0, artefacts={"eyes": 1.0, "seam": 0.0, "mouth": 0.0, "resample": 0.0})
    assert corpus.describe_corpus(whole) == corpus.describe_corpus(fraction)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"artefacts": {"eyes": 1.2}}, "eyes is 1.2"),
        ({"artefacts": {"seam": -0.1}}, "seam is -0.1"),
        ({"artefacts": {"mouth": float("nan")}}, "mouth is nan"),
        ({"artefacts": {"nose": 0.5}}, "Unknown artefact nose"),
        ({"identities": 10}, "a multiple of cast_size=4"),
        ({"identities": 4}, "a multiple of cast_size=4"),
        ({"fakes": 253}, "only 252"),
        ({"size": 129}, "even number"),
        ({"crf": 60}, "crf is 60"),
        ({"seconds": 0.01}, "less than one frame"),
        ({"cast_size": 1}, "cast_size is 1"),
        ({"eye_share_test": 2.0}, "eye_share_test is 2.0"),
        ({"quality_spread": -0.5}, "quality_spread is -0.5"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        MiniatureSettings(**values)
