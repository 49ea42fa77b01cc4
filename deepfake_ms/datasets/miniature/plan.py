"""Which videos a miniature corpus has: Celeb-DF-v2's layout, filled with casts of drawn people."""

from dataclasses import asdict, dataclass

from deepfake_ms.datasets.miniature.settings import NO_ARTEFACTS, ArtefactStrengths, MiniatureSettings
from deepfake_ms.randomness import key

TEST_SHARE = 0.25
"""Share of the casts, and of the YouTube people, in the official test list, as near as whole casts allow."""


@dataclass(frozen=True)
class PlannedVideo:
    """One video of the corpus; its pixels depend on these values and the settings alone."""

    name: str
    """Posix path relative to the corpus root, as in the test list."""
    target: str
    """The person whose video it is."""
    donor: str | None
    """In a fake, the person whose features the target wears."""
    scene: str
    """Name of the real video that shows the same scene: a real video's own, a fake's undoctored one."""
    official_test: bool
    artefacts: ArtefactStrengths

    @property
    def is_fake(self) -> bool:
        """Whether the video is a swap."""
        return self.donor is not None


def plan_corpus(settings: MiniatureSettings) -> list[PlannedVideo]:
    """All the videos of the corpus, sorted by name. A longer plan holds the shorter one's videos unchanged."""
    casts = _casts(settings)
    test_casts = _in_test_list(len(casts))
    videos = _youtube_videos(settings)
    swaps = []  # by cast, in a random order that does not depend on how many are wanted
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
    """The last of `count` casts or people are tested on, at least one of two or more, never all."""
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
    has_eye_artefact = _lot("miniature eye artefact", settings, fake) < share
    factor = 1 - settings.quality_spread * _lot("miniature quality", settings, fake)
    strengths = {name: strength * factor for name, strength in asdict(settings.artefacts).items()}
    return ArtefactStrengths(**strengths | ({} if has_eye_artefact else {"eyes": 0.0}))


def _lot(what: str, settings: MiniatureSettings, fake: str) -> float:
    """A number from 0 to 1 that this fake draws."""
    return key(what, settings.seed, fake) / 2**63
