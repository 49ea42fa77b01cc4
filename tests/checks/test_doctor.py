"""``deepfake-ms doctor`` on good and bad installations."""

import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deepfake_ms import doctor
from deepfake_ms.checks import codecs, machine, self_test, versions
from deepfake_ms.checks.finding import FAILED, OK, WARNING, Finding

REPOSITORY = Path(__file__).parents[2]
Usage = namedtuple("Usage", "total used free")


def only(findings) -> Finding:
    (found,) = findings
    return found


def run_doctor(folder: Path, *arguments: str, command: str = "") -> subprocess.CompletedProcess:
    """The doctor in a process of its own, with the packages in `folder` before all others."""
    start = ["-c", command] if command else ["-m", "deepfake_ms.doctor"]
    return subprocess.run(
        [sys.executable, *start, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
        timeout=200,
    )


def install(folder: Path, name: str, version: str) -> Path:
    """A package that writes a file when it is imported, and its metadata; the path of that file."""
    imported = folder / "imported"
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(f"open({str(imported)!r}, 'w').close()\n")
    (folder / f"{name}-{version}.dist-info").mkdir()
    (folder / f"{name}-{version}.dist-info/METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    return imported


@pytest.mark.parametrize("name", ["lightning", "pytorch_lightning"])
@pytest.mark.parametrize(
    "command", ["", "import sys; sys.argv[1:1] = ['doctor']; from deepfake_ms.cli import main; main()"]
)
def test_a_compromised_package_is_named_and_never_imported(tmp_path, name, command):
    imported = install(tmp_path, name, "2.6.3")
    done = run_doctor(tmp_path, command=command)
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert "2.6.3 contains malicious code" in done.stdout
    assert "1 failed, 0 warnings, 1 checks" in done.stdout
    assert not imported.exists()
    assert done.stderr == ""


def test_the_suite_cannot_be_installed_with_a_compromised_version():
    _, requirements = versions.declared()
    bounds = {Requirement(line).name: Requirement(line).specifier for lines in requirements.values() for line in lines}
    for name, (compromised, _) in versions.COMPROMISED.items():
        assert not any(bounds[name].contains(each) for each in compromised if name in bounds)


def test_versions_are_compared_with_the_bounds(monkeypatch):
    assert [finding.status for finding in versions.check_packages()] == [OK, OK]
    assert only(versions.check_python()).status == OK
    installed = versions.installed_version
    other = {"timm": "0.9.16", "numpy": None, "captum": "0.1"}
    monkeypatch.setattr(versions, "installed_version", lambda name: other.get(name, installed(name)))
    findings = {finding.check: finding for finding in versions.check_packages()}
    assert findings.keys() == {"timm", "numpy", "captum", "extras"}
    assert findings["timm"].status == findings["numpy"].status == FAILED
    assert findings["timm"].remedy == "pip install 'timm>=1.0.22'"
    assert findings["numpy"].found == "not installed"
    assert findings["captum"].status == WARNING
    monkeypatch.setattr(versions.platform, "python_version", lambda: "3.10.1")
    assert only(versions.check_python()).status == FAILED


def test_an_extra_that_is_not_installed_is_no_problem(monkeypatch):
    installed = versions.installed_version
    monkeypatch.setattr(versions, "installed_version", lambda name: None if name == "captum" else installed(name))
    assert {finding.status for finding in versions.check_packages()} == {OK}
    assert "without explain" in list(versions.check_packages())[-1].found


def test_the_metadata_of_an_installed_package_give_the_same_bounds(monkeypatch):
    project = versions.declared()
    monkeypatch.setattr(versions, "_PYPROJECT", Path("missing"))
    lines = [
        "timm>=1.0.22",
        'captum>=0.9; extra == "explain"',
        'pytest>=8; extra == "dev"',
    ]
    monkeypatch.setattr(versions, "requires", lambda name: lines)
    monkeypatch.setattr(versions, "metadata", lambda name: {"Requires-Python": project[0]})
    assert versions.declared() == (
        project[0],
        {"": ["timm>=1.0.22"], "explain": ["captum>=0.9"], "dev": ["pytest>=8"]},
    )


def test_codecs(monkeypatch):
    found = only(codecs.check_codecs())
    assert found.found.endswith("H.264, HEVC, VP9, AV1")
    monkeypatch.setitem(codecs.TRIED, "H.264", ("h264", "no_such_encoder_264"))
    monkeypatch.setitem(codecs.TRIED, "HEVC", ("no_such_decoder", "libx265"))
    monkeypatch.setitem(codecs.TRIED, "VP9", ("vp9", "no_such_encoder"))
    summary, hevc = codecs.check_codecs()
    assert summary.found.endswith("H.264, VP9, AV1")
    assert (hevc.check, hevc.status, hevc.found) == ("HEVC", WARNING, "this FFmpeg has no decoder no_such_decoder")
    monkeypatch.setitem(codecs.TRIED, "H.264", ("no_such_decoder", "libx264"))
    assert [finding.status for finding in codecs.check_codecs() if finding.check == "H.264"] == [FAILED]


@pytest.mark.parametrize(("greys", "works"), [((40, 120, 200), True), ((40, 120), False), ((40, 120, 90), False)])
def test_decoded_frames_are_compared_with_what_was_encoded(monkeypatch, greys, works):
    monkeypatch.setattr(codecs, "_round_trip", lambda encoder: iter(greys))
    assert (codecs._try("h264", "libx264") is None) == works


@pytest.mark.parametrize(
    ("gib", "disk", "shared"),
    [(0.5, FAILED, WARNING), (5, WARNING, OK), (500, OK, OK)],
)
def test_space(monkeypatch, gib, disk, shared):
    free = int(gib * machine.GIB)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: Usage(free, 0, free))
    assert only(machine.check_disk()).status == disk
    if Path("/dev/shm").is_dir():
        assert only(machine.check_shared_memory()).status == shared


def test_the_limit_on_open_files_is_that_of_the_process():
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        found = only(machine.check_open_files())
        assert (found.status, found.found) == (WARNING, "512 allowed")
        assert "ulimit -n" in found.remedy
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
        assert only(machine.check_open_files()).status == OK
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_folders_are_tried_and_left_as_they_were(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert only(machine.check_folders()).status == OK
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs").write_text("")
    found = only(machine.check_folders())
    assert (found.status, found.found) == (FAILED, "cannot be written: runs (Not a directory)")


def test_a_driver_that_torch_cannot_use(monkeypatch):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("torch can use the GPU")
    assert only(machine.check_gpu()).status == OK
    monkeypatch.setattr(machine, "_driver_version", lambda: "470.1")
    found = only(machine.check_gpu())
    assert found.status == WARNING
    assert "driver 470.1" in found.found


def test_a_gpu_that_torch_was_not_built_for(monkeypatch):
    import torch

    def fail(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "Old GPU")
    monkeypatch.setattr(torch.cuda, "mem_get_info", fail)
    found = only(machine.check_gpu())
    assert (found.check, found.status) == ("GPU 0", FAILED)
    assert found.found.endswith("no kernel image is available")


def test_memory_is_limited_by_the_container(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_CGROUP_LIMITS", (str(limit),))
    for content, status in ((f"{2 * machine.GIB}\n", WARNING), ("max\n", OK)):
        limit.write_text(content)
        processors, memory = machine.check_processors_and_memory()
        assert (processors.status, memory.status) == (OK, status)


def test_the_self_test_computes():
    result = self_test.run()
    assert result["losses"][0] != result["losses"][1]
    assert result["seconds"] < 60


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("kill -SEGV $$", "killed by signal 11"),
        ("echo 'ImportError: numpy.core.multiarray' >&2; exit 1", "ImportError: numpy.core.multiarray"),
    ],
)
def test_a_self_test_that_dies_is_reported(tmp_path, monkeypatch, script, found):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(self_test.sys, "executable", str(python))
    finding = only(self_test.check_self())
    assert (finding.status, finding.found) == (FAILED, found)


def test_a_slow_self_test_is_a_warning(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("""#!/bin/sh\necho '{"device": "cpu", "seconds": 11.0, "losses": [0.7, 0.6]}'\n""")
    python.chmod(0o755)
    monkeypatch.setattr(self_test.sys, "executable", str(python))
    assert only(self_test.check_self()).status == WARNING


def test_a_check_that_raises_fails_alone():
    def check_broken_thing():
        raise OSError("libGL.so.1: cannot open shared object file")
        yield

    findings = list(doctor.examine((check_broken_thing, versions.check_python)))
    assert [(finding.check, finding.status) for finding in findings] == [("broken thing", FAILED), ("Python", OK)]
    assert "libGL.so.1" in findings[0].found


def test_it_runs_where_packages_are_missing(tmp_path):
    blocked = "import sys; sys.modules.update(dict.fromkeys(('hydra', 'torch', 'av', 'lightning', 'rich')))\n"
    quick = "from deepfake_ms import doctor; doctor.examine.__defaults__ = (doctor.CHECKS[:-1],); doctor.main()"
    done = run_doctor(tmp_path, command=blocked + quick)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for line in ("FAILED   codecs", "FAILED   gpu", "ok       Python"):
        assert line in done.stdout


def test_the_document_names_no_folder_of_the_user(tmp_path, monkeypatch, call):
    home, work = tmp_path / "home/alice", tmp_path / "home/alice/secret_project"
    work.mkdir(parents=True)
    monkeypatch.setattr(Path, "home", lambda: home)

    def check_paths():
        yield Finding("paths", FAILED, f"{work}/runs and {home}/.cache", f"repair {sys.prefix}/lib")

    monkeypatch.setattr(doctor, "examine", check_paths)
    monkeypatch.chdir(work)
    status, printed, _ = call("doctor", "--json")
    document = json.loads(printed)
    assert (status, document["passed"]) == (1, False)
    assert document["checks"][0]["found"] == "./runs and ~/.cache"
    assert document["checks"][0]["remedy"] == "repair ENVIRONMENT/lib"
    assert document["versions"]["torch"]
    assert "alice" not in printed


def test_warnings_do_not_fail(monkeypatch, call):
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("disk", WARNING, "5 GiB free", "free some space")])
    status, printed, _ = call("doctor")
    assert status == 0
    assert printed.splitlines() == [
        "warning  disk           5 GiB free. Remedy: free some space.",
        "0 failed, 1 warning, 1 checks",
    ]


@pytest.mark.slow
def test_this_machine(tmp_path):
    done = run_doctor(tmp_path, "--json")
    document = json.loads(done.stdout)
    assert [finding for finding in document["checks"] if finding["status"] == FAILED] == []
    assert {"self-test", "codecs", "packages"} <= {finding["check"] for finding in document["checks"]}
    assert done.returncode == 0
