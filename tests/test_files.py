import pytest

from deepfake_ms.files import sha256_of, write_atomically


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "value.txt"
    write_atomically(path, "old")
    monkeypatch.setattr("deepfake_ms.files.os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"


def test_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc").startswith("ba7816bf")
