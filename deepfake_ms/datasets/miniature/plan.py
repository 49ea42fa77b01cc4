"""The videos of a miniature corpus: Celeb-DF v2's layout, with groups (casts) of drawn people."""

from dataclasses import asdict, dataclass

from deepfake_ms.datasets.miniature.settings import NO_ARTEFACTS, ArtefactStrengths, MiniatureSettings
from deepfake_ms.randomness import key

TEST_SHARE = 0.25
"""Approximate fraction of the casts and of the YouTube people in the official test list; casts are not divided."""


@dataclass(frozen=True)
class PlannedVideo:
    """One video of the corpus. Its pixels depend only on these values and the settings."""

    name: str
    """Path relative to the corpus root with forward slashes, as in the test list."""
    target: str
    """The person in the video; in a fake, the person whose face was swapped."""
    donor: str | None
    """In a fake, the person whose features replace the target's; None in a real video."""
    scene: str
    """Name of the real video with this scene: the video itself or, for a fake, the video it was made from."""
    official_test: bool
    artefacts: ArtefactStrengths

    @property
    def is_fake(self) -> bool:
        """Whether the video is a face swap."""
        return self.donor is not None


def plan_corpus(settings: MiniatureSettings) -> list[PlannedVideo]:
    """All videos of the corpus, sorted by name. A larger plan contains the videos of a smaller one unchanged."""
    casts = _casts(settings)
    test_casts = _in_test_list(len(casts))
    videos = _youtube_videos(settings)
    swaps = []  # of each cast, in a random order that does not depend on the number of fakes
    for cast, people in enumerate(casts):
        candidates = []
        for target in people:
            for number in range(settings.videos_per_identity):
                name = f"Celeb-real/{target}_{number:04d}.mp4"
                videos.append(PlannedVideo(name, target, None, name, cast in test_casts, NO_ARTEFACTS))
                for donor in (person for person in people if person != target):
                    fake = f"Celeb-synthesis/{target}_{donor}_{number:04d}.mp4"
                    candidates.append(
                        PlannedVideo(
                            fake,
                            target,
                            donor,
                            name,
                            cast in test_casts,
                            _strengths(settings, fake, cast in test_casts),
                        )
                    )
        swaps.append(sorted(candidates, key=lambda video: key("miniature swap", settings.seed, video.name)))
    taken_in_turn = [swap for round_of_casts in zip(*swaps, strict=True) for swap in round_of_casts]
    return sorted(videos + taken_in_turn[: settings.fakes], key=lambda video: video.name)


def _casts(settings: MiniatureSettings) -> list[list[str]]:
    people = [f"id{number}" for number in range(settings.identities)]
    return [people[first : first + settings.cast_size] for first in range(0, settings.identities, settings.cast_size)]


def _in_test_list(count: int) -> range:
    """The last of `count` casts or people are in the test list: at least one of two or more, never all."""
    tested = min(max(1, round(TEST_SHARE * count)), count - 1)
    return range(count - tested, count)


def _youtube_videos(settings: MiniatureSettings) -> list[PlannedVideo]:
    tested = _in_test_list(settings.youtube_people)
    videos = []
    for number in range(settings.youtube_people):
        name = f"YouTube-real/{number:05d}.mp4"
        videos.append(PlannedVideo(name, f"youtube{number}", None, name, number in tested, NO_ARTEFACTS))
    return videos


def _strengths(settings: MiniatureSettings, fake: str, official_test: bool) -> ArtefactStrengths:
    share = settings.eye_share_test if official_test else settings.eye_share_training
    has_eye_artefact = _uniform("miniature eye artefact", settings, fake) < share
    factor = 1 - settings.quality_spread * _uniform("miniature quality", settings, fake)
    strengths = {name: strength * factor for name, strength in asdict(settings.artefacts).items()}
    return ArtefactStrengths(**strengths | ({} if has_eye_artefact else {"eyes": 0.0}))


def _uniform(what: str, settings: MiniatureSettings, fake: str) -> float:
    """A random number from 0 to 1, fixed for this fake."""
    return key(what, settings.seed, fake) / 2**63
