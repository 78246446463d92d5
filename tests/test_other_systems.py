"""What Windows and macOS do otherwise than Linux, played here: no machine of ours has had them."""

import os
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path, PureWindowsPath

import pytest
from streamlit.testing.v1 import AppTest

from labelloop import background, worker
from labelloop.cli.apart import check_apart
from labelloop.errors import BadInput
from labelloop.exchange import outside_images
from labelloop.images import find_files
from labelloop.project import catalog
from labelloop.project.place import check_image_folder
from labelloop.server import listen
from labelloop.server.pictures import picture
from labelloop.ui.typed import check_place
from tests.conftest import PATIENCE, draw

ENDLESS = '''
from labelloop import strategy

@strategy
def endless(pool, n, rng):
    """Any image."""
    while True:
        pass
'''


@pytest.fixture
def windows(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")


def test_no_two_apps_listen_at_one_port_of_windows(windows, monkeypatch):
    """There SO_REUSEADDR lets both, and one project's answers go to the other's app."""
    asked = []

    class Socket(socket.socket):
        def setsockopt(self, level, option, value):
            asked.append(option)

    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", -5, raising=False)
    monkeypatch.setattr(socket, "socket", Socket)
    listen("127.0.0.1", 0).close()
    assert asked == [-5]


def test_a_terminal_of_windows_does_not_end_the_worker(windows, monkeypatch):
    """Ctrl-C goes to all processes of a console, and its closing ends them all."""
    for k, name in enumerate(("CREATE_NO_WINDOW", "CREATE_NEW_PROCESS_GROUP", "BELOW_NORMAL_PRIORITY_CLASS")):
        monkeypatch.setattr(subprocess, name, 1 << k, raising=False)
    assert worker._apart() == {"creationflags": 0b111}


def test_a_worker_that_ended_is_told_where_there_is_no_sigkill(project, monkeypatch):
    monkeypatch.delattr("signal.SIGKILL")
    (project.folder / worker.LOG).write_text("the last words")
    assert "ended with status 3221225477" in worker._end(project, 3221225477)
    assert worker._end(project, -9).startswith("was killed (signal 9)")


def test_the_pipe_of_a_process_that_ended_breaks_on_windows(tmp_path, monkeypatch):
    """PeekNamedPipe raises, where the pipe was empty and its other end gone already (cpython issue 85180)."""
    import array
    import fcntl
    import termios

    poll = Connection.poll

    def poll_of_windows(ours, seconds=0.0):
        ready, size = poll(ours, seconds), array.array("i", [0])
        fcntl.ioctl(ours.fileno(), termios.FIONREAD, size)
        if ready and not size[0]:
            raise BrokenPipeError(109, "The pipe has been ended")
        return ready

    monkeypatch.setattr(Connection, "poll", poll_of_windows)
    (tmp_path / "mine.py").write_text(ENDLESS)
    (report,) = check_apart(tmp_path / "mine.py", limit=3)
    assert report.faults[0].found == "was still running after 3 s"


def test_images_are_embedded_while_the_clock_of_windows_stands_still(project, monkeypatch):
    """It moves in steps of 16 ms."""
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    *_, last = background.embed(project)
    assert "got to know 40 images" in last.message


@pytest.mark.parametrize("old", ["C:\\Users\\anna\\photos", "/Volumes/anna/photos"])
def test_a_project_that_came_from_another_system_is_told_where_its_images_are(project, photos, old):
    project.db.conn.execute("UPDATE folders SET path = ?", (old,))
    with pytest.raises(BadInput, match="is missing; nothing was read"):
        list(project.catalog.scan())
    project.add_folder(photos, instead_of=Path(old))
    assert list(project.catalog.scan())[-1].gone == 0
    assert len(project.catalog) == 40


def test_a_thumbnail_is_shown_while_another_request_reads_the_same(project, monkeypatch):
    """Windows refuses to replace a file that is open."""

    def refuse(self, target):
        raise PermissionError(13, "The process cannot access the file because it is being used by another process")

    monkeypatch.setattr(Path, "replace", refuse)
    assert picture(project, "thumb", 1)[1] == "image/png"
    assert [path.name for path in (project.folder / "thumbs").rglob("*") if path.is_file()] == []


def test_all_folders_of_a_drive_without_numbers_are_walked(tmp_path, monkeypatch):
    for name in ("a/1.png", "a/b/2.png", "c/3.png"):
        draw(tmp_path / "photos" / name, (1, 2, 3))
    (tmp_path / "photos" / "c" / "again").symlink_to(tmp_path / "photos")
    stat = Path.stat

    def without_numbers(path, **how):
        found = list(stat(path, **how))
        return os.stat_result([found[0], 0, *found[2:]])

    monkeypatch.setattr(Path, "stat", without_numbers)
    assert find_files(tmp_path / "photos") == ["a/1.png", "a/b/2.png", "c/3.png"]


def test_an_answer_on_a_mac_is_on_its_disk_and_not_in_the_memory_of_the_disk(project):
    assert project.db.conn.execute("PRAGMA fullfsync").fetchone()[0] == 1


def test_the_hint_for_a_folder_that_moved_can_be_typed_on_windows(project, photos, windows):
    photos.rename(photos.with_name("my photos"))
    with pytest.raises(BadInput, match=f'--instead-of "{photos}"$'):
        list(project.catalog.scan())


def test_nothing_is_written_among_the_images_where_capital_letters_make_no_difference(project, photos, monkeypatch):
    stat, shout = os.stat, photos.with_name("PHOTOS")
    outside_images(project, shout / "dataset")  # which is another folder here
    monkeypatch.setattr(os, "stat", lambda path, **how: stat(str(path).replace("PHOTOS", "photos"), **how))
    with pytest.raises(BadInput, match="lies inside the image folder"):
        outside_images(project, shout / "dataset")
    with pytest.raises(BadInput, match="would lie inside the image folder"):
        check_image_folder(photos, shout / "labels")
    with pytest.raises(BadInput, match="lies inside the image folder"):
        check_place(shout / "labels", photos)


def test_an_image_is_found_by_its_path_below_its_folder_as_windows_types_it(project, monkeypatch):
    monkeypatch.setattr(catalog, "PurePath", PureWindowsPath, raising=False)
    image = project.catalog.image(1)
    assert project.catalog.find(image.name.replace("/", "\\")) == 1


def test_a_path_that_windows_copied_is_taken_without_its_quotes(photos):
    script = "from labelloop.ui import start\nstart._make()"
    app = AppTest.from_string(script, default_timeout=PATIENCE).run()
    app.text_input(key="new_images").set_value(f' "{photos}" ').run()
    assert any("40 images found" in caption.value for caption in app.caption)
    assert app.text_input(key="new_folder").value == f"{photos}-labels"
