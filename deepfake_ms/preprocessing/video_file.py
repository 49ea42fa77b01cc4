"""Open videos and read their packets."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from deepfake_ms.preprocessing.media import UnreadableMedia


@contextmanager
def open_video(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The file and its video stream, which decodes on one thread. A cover picture does not count as a video.

    Raises:
        UnreadableMedia: the file is not a video or has no video stream.
    """
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise UnreadableMedia(f"not a video, or cut off before its index ({error.strerror})") from error
    with container:
        stream = container.streams.best("video")
        if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
            raise UnreadableMedia("no video stream")
        stream.codec_context.thread_count = 1
        yield container, stream


def read_packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """The packets of the video in decoding order, without the empty one with which PyAV marks the end."""
    for packet in container.demux(stream):
        if packet.size or packet.pts is not None or packet.dts is not None:
            yield packet
