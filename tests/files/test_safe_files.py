"""Files are written and opened so that links, pipes and other users' files in the way do no harm."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from synthgen.errors import ConfigError, DataError, OperationError
from synthgen.files import safe_files


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("private", [True, False])
def test_modes_under_any_umask_while_written_and_after(tmp_path, umask, private):
    os.chmod(tmp_path, 0o700)
    path = tmp_path / "new" / "deep" / "file"
    if umask == 0o777 and os.geteuid():
        pytest.skip("folders of mode 0000 can only be used by root")
    with safe_files.replacing(path, private=private) as stream:
        stream.write(b"1")
        (partial,) = path.parent.iterdir()
        assert safe_files.is_temporary(partial.name)
        assert _mode(partial) == 0o600 & ~umask  # the kernel takes the umask from this one too
    assert _mode(path) == (0o600 if private else 0o644 & ~umask)
    assert _mode(path.parent) == (0o700 if private else 0o755) & ~umask
    assert _mode(path.parent.parent) == 0o755 & ~umask
    assert path.read_bytes() == b"1"


def test_an_error_or_interrupt_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), safe_files.replacing(path, private=True) as stream:  # noqa: PT012
            stream.write(b"new")
            raise error
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_a_stream_that_the_writer_closed_is_whole(tmp_path):
    with safe_files.replacing(tmp_path / "file", private=False) as stream:
        stream.write(b"all")
        stream.close()
    assert (tmp_path / "file").read_bytes() == b"all"


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_link_in_the_place_is_never_written_through(tmp_path, overwrite):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    for target in (victim, tmp_path / "none"):
        link = tmp_path / "out"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        if overwrite:
            safe_files.write_bytes(link, b"new", private=True)
            assert not link.is_symlink()
        else:
            with pytest.raises(ConfigError):
                safe_files.write_bytes(link, b"new", private=True, overwrite=False)
        assert victim.read_bytes() == b"mine"
        assert not (tmp_path / "none").exists()


def test_a_hard_link_in_the_place_keeps_the_other_name_s_content(tmp_path):
    (tmp_path / "victim").write_bytes(b"mine")
    os.link(tmp_path / "victim", tmp_path / "out")
    safe_files.write_bytes(tmp_path / "out", b"new", private=True)
    assert (tmp_path / "victim").read_bytes() == b"mine"


def test_a_pipe_or_socket_in_the_place_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    for name in ("pipe", "socket"):
        with pytest.raises(ConfigError, match=f"found a {name}"):
            safe_files.write_bytes(tmp_path / name, b"new", private=True)
        with pytest.raises(DataError):
            safe_files.read_bytes(tmp_path / name)
        with pytest.raises(DataError):
            os.close(safe_files.open_in_place(tmp_path / name))
        with pytest.raises(DataError):
            safe_files.create_private(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="found a folder"):
        safe_files.read_bytes(tmp_path / "folder")
    with pytest.raises(OperationError, match="it is a folder"):
        safe_files.write_bytes(tmp_path / "folder", b"new", private=True)


def test_files_changed_in_place_are_private_and_have_one_name(tmp_path):
    path = tmp_path / "journal"
    os.close(safe_files.open_in_place(path))
    path.chmod(0o644)
    os.close(safe_files.open_in_place(path))
    assert _mode(path) == 0o600
    os.link(path, tmp_path / "other")
    with pytest.raises(DataError, match="hard link"):
        safe_files.open_in_place(path)
    with pytest.raises(DataError, match="hard link"):
        safe_files.create_private(path)
    (tmp_path / "link").symlink_to("nowhere")
    for make in (safe_files.open_in_place, safe_files.create_private):
        with pytest.raises(DataError, match="link"):
            make(tmp_path / "link")
    assert not (tmp_path / "nowhere").exists()


def _links(folder: Path, outside: Path) -> dict[str, str]:
    (folder / "link").symlink_to(outside)
    (folder / "in" / "loop").symlink_to("..")
    os.link(outside, folder / "in" / "hard")
    os.mkfifo(folder / "in" / "pipe")
    return {"link": "a link", "in/loop": "a link", "in/hard": "hard link", "in/pipe": "a pipe"}


def test_a_received_folder_holds_plain_files_alone(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "run"
    outside.write_bytes(b"")
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "plain").write_bytes(b"")
    safe_files.check_folder(folder, what="a run")
    expected = _links(folder, outside)
    found = dict(safe_files.folder_problems(folder))
    assert found.keys() == expected.keys()
    assert all(expected[name] in found[name] for name in found)
    with pytest.raises(DataError, match="Expected a run of plain files"):
        safe_files.check_folder(folder, what="a run")
    (tmp_path / "alias").symlink_to(folder)
    with pytest.raises(DataError, match="found a link"):
        safe_files.check_folder(tmp_path / "alias", what="a run")


def test_folders_inside_folders_end(tmp_path):
    place = tmp_path
    for _ in range(60):
        place = place / "f"
        place.mkdir()
    ((_, problem),) = safe_files.folder_problems(tmp_path)
    assert "too deep" in problem


def test_other_users_lose_the_right_to_write_before_entries_are_looked_at(tmp_path):
    (tmp_path / "in").mkdir()
    for folder in (tmp_path, tmp_path / "in"):
        folder.chmod(0o777)
    safe_files.check_folder(tmp_path, what="a run", tighten=True)
    assert {_mode(tmp_path), _mode(tmp_path / "in")} == {0o755}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_another_user_s_entries_are_refused_unless_that_user_is_trusted(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_bytes(b"")
    for entry, what in (("in/file", "file"), ("in", "folder"), (".", "folder")):
        os.chown(tmp_path / entry, 54321, -1)
        ((name, problem),) = safe_files.folder_problems(tmp_path)
        assert (name, problem) == (entry, f"a {what} of another user")
        os.chown(tmp_path / entry, 0, -1)
    os.chown(tmp_path / "in" / "file", 54321, -1)
    with pytest.raises(ConfigError, match="another user"):
        safe_files.write_bytes(tmp_path / "in" / "file", b"", private=True)
    with pytest.raises(DataError, match="another user"):
        safe_files.read_bytes(tmp_path / "in" / "file", ours=True)
    monkeypatch.setenv(safe_files.TRUSTED_USERS, "nobody, 54321,no-such-user")
    assert not list(safe_files.folder_problems(tmp_path))


def test_links_out_of_a_folder_are_not_followed_and_those_inside_are(tmp_path):
    folder, outside = tmp_path / "images", tmp_path / "outside"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1.png").write_bytes(b"1")
    outside.mkdir()
    (outside / "secret.png").write_bytes(b"secret")
    (folder / "2.png").symlink_to("a/1.png")
    (folder / "b").symlink_to(folder / "a")
    for name in ("a/1.png", "2.png", "b/1.png"):
        with safe_files.open_beneath(folder, name) as stream:
            assert stream.read() == b"1"
    (folder / "3.png").symlink_to(outside / "secret.png")
    (folder / "c").symlink_to(outside)
    os.mkfifo(folder / "pipe.png")
    for name in ("3.png", "c/secret.png", "../outside/secret.png", str(outside / "secret.png"), "pipe.png"):
        with pytest.raises(DataError):
            safe_files.open_beneath(folder, name)
    with pytest.raises(FileNotFoundError):
        safe_files.open_beneath(folder, "none.png")


def test_a_folder_is_whole_or_absent(tmp_path):
    target = tmp_path / "bundle"
    with pytest.raises(ValueError, match="half"), safe_files.temporary_folder(target) as folder:  # noqa: PT012
        assert _mode(folder) == 0o700
        safe_files.write_bytes(folder / "a", b"", private=False, durable=False)
        raise ValueError("half")
    assert not list(tmp_path.iterdir())
    with safe_files.temporary_folder(target) as folder:
        safe_files.write_bytes(folder / "a", b"", private=False, durable=False)
        safe_files.finish_folder(folder, target, private=False)
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]
    assert _mode(target) == 0o755 & ~safe_files.umask()


def test_what_killed_processes_left_is_removed_and_links_are_not_followed(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"")
    (tmp_path / "run" / ".0123456789abcdef.partial").mkdir(parents=True)
    (tmp_path / "run" / ".1.partial").symlink_to(tmp_path / "kept")
    safe_files.remove_temporary(tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())
    assert (tmp_path / "kept" / "file").exists()


def test_the_umask_is_read_without_a_change(umask):
    assert safe_files.umask() == umask
    assert safe_files.umask() == umask
