"""P(fake) over time as an SVG picture."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from deepfake_ms.prediction.verdict import Track

COLOURS = ("#0b5fa5", "#b34700", "#1b7837", "#7b3294", "#666666")
"""Of the tracks, in the order of the report; the last one is that of all further tracks."""
WIDTH, HEIGHT = 900, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 120, 15, 45
_MOST_STEPS = 6


def colour_of(position: int) -> str:
    """The colour of a track by its position in the report."""
    return COLOURS[min(position, len(COLOURS) - 1)]


def round_times(end: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, from 0 to at most `end`, which is positive."""
    power = 10.0 ** math.floor(math.log10(end / _MOST_STEPS))
    step = next(each * power for each in (1, 2, 5, 10) if end <= each * power * _MOST_STEPS)
    return [round(number * step, 6) for number in range(math.floor(end / step + 1e-9) + 1)]


def draw_timeline(tracks: Sequence[Track], frames: Sequence[tuple[int, float]], threshold: float | None) -> str:
    """The calibrated P(fake) of every face by time, one colour per track; a tick below marks each frame without a face.

    Args:
        tracks: in the order of the report.
        frames: position and time in seconds of each sampled frame.
        threshold: on the same scale; None draws none.

    Returns:
        An SVG element that scales with the page.
    """
    end = max((time_s for _, time_s in frames), default=0.0) or 1.0

    def x(time_s: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * time_s / end, 1)

    def y(probability: float) -> float:
        return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - probability), 1)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="P(fake) of each face over time" '
        'font-family="system-ui, sans-serif" font-size="14">'
    ]
    for value in (0, 0.5, 1):
        parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(value)}" y2="{y(value)}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y(value) + 5}" text-anchor="end">{value:g}</text>')
    for time_s in round_times(end):
        parts.append(f'<text x="{x(time_s)}" y="{HEIGHT - 8}" text-anchor="middle">{time_s:g} s</text>')
    if threshold is not None:
        at = y(threshold)
        parts.append(
            f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at}" y2="{at}" stroke="#222" stroke-dasharray="6 4"/>'
        )
        parts.append(f'<text x="{WIDTH - _RIGHT + 8}" y="{at + 5}">threshold {threshold:.2f}</text>')
    with_face = {face.frame for track in tracks for face in track.faces}
    for frame, time_s in frames:
        if frame not in with_face:
            place = HEIGHT - _BOTTOM + 8
            parts.append(
                f'<path d="M{x(time_s)} {place - 6}v12" stroke="#a01818" stroke-width="2">'
                f"<title>{time_s:.2f} s: no face</title></path>"
            )
    for position, track in reversed(list(enumerate(tracks))):
        colour = colour_of(position)
        points = " ".join(f"{x(face.time_s)},{y(face.probability)}" for face in track.faces)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for face in track.faces:
            label = escape(f"face {track.number}, {face.time_s:.2f} s: P(fake) {face.probability:.3f}")
            parts.append(
                f'<circle cx="{x(face.time_s)}" cy="{y(face.probability)}" r="4" fill="{colour}">'
                f"<title>{label}</title></circle>"
            )
    return "".join([*parts, "</svg>"])
