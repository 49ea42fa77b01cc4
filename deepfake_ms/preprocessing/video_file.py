"""Open videos and read their packets."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from deepfake_ms.preprocessing.media import UnreadableMedia

_NO_VIDEOS = {"concat", "dash", "hls", "image2", "imf", "rtsp", "sdp", "tty"}
"""FFmpeg's readers of playlists and text. Playlists lead to other files, or to a network; text would be drawn."""
_OPTIONS = {
    "format_whitelist": ",".join(sorted(av.formats_available - _NO_VIDEOS)),
    "protocol_whitelist": "file",
}


@contextmanager
def open_video(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The file and its video stream, which decodes on one thread. A cover picture does not count as a video.

    Playlists and text are no videos either.

    Raises:
        UnreadableMedia: the file is not a video or has no video stream.
    """
    try:
        # An absolute path: FFmpeg takes a relative one with a colon for the address of a protocol.
        container = av.open(os.path.abspath(path), options=_OPTIONS)  # noqa: PTH100
    except av.FFmpegError as error:
        raise UnreadableMedia(f"not a video, or cut off before its index ({error.strerror})") from error
    with container:
        stream = container.streams.best("video")
        if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
            raise UnreadableMedia("no video stream")
        if stream.codec_context is None:
            raise UnreadableMedia(f"not a video that can be decoded here ({container.format.name})")
        stream.codec_context.thread_count = 1
        yield container, stream


def read_packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """The packets of the video in decoding order, without the empty one with which PyAV marks the end."""
    for packet in container.demux(stream):
        if packet.size or packet.pts is not None or packet.dts is not None:
            yield packet
