"""The store: what a person made is kept, exactly once, and never changed."""

import dataclasses
import gc
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sqlite_utils import Database

from labelloop.errors import BadInput, NotSaved, ProjectError
from labelloop.project import Project
from labelloop.project.catalog import is_held_out
from labelloop.project.database import connect
from labelloop.project.jobs import Jobs
from labelloop.project.schema import FIRST, steps
from labelloop.types import Event, Settings
from tests.conftest import PATIENCE, draw


def said(project, image_id):
    """The class name or kind of the live answer of an image."""
    answers = project.log.answers(image_ids=[image_id])
    if not answers:
        return None
    return project.classes[answers[0].class_index] if answers[0].kind == "label" else answers[0].kind


# -- making and opening -------------------------------------------------------------------------------------------


def test_a_project_remembers_its_settings(tmp_path, photos):
    settings = Settings(backbone="resnet18", weights="w.safetensors", held_out=0.2, strategy="margin", seed=7)
    Project.create(tmp_path / "p", photos, ["a", "b"], settings).close()
    with Project(tmp_path / "p") as project:
        assert project.settings == dataclasses.replace(settings, weights=str(Path("w.safetensors").resolve()))
        assert project.classes == ("a", "b")
        assert project.catalog.folders() == {1: photos}


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["a", ""], "class 2 of 2 has an empty name"),
        (["a", "  "], "class 2 of 2 has an empty name"),
        (["Rust", "rust"], "'Rust' and 'rust' are the same"),
        (["é", "e\u0301"], "are the same"),
        (["Ä", "ä"], "are the same"),
        (["only"], "only one class"),
        ("rust,mildew", "wanted a list of names"),
        ("ab", "wanted a list of names"),
        ([1, 2], "wanted a list of names"),
    ],
)
def test_class_names_that_cannot_work_are_refused(tmp_path, photos, classes, message):
    with pytest.raises(BadInput, match=message):
        Project.create(tmp_path / "p", photos, classes)
    assert not (tmp_path / "p").exists()


def test_a_missing_image_folder_is_refused(tmp_path):
    with pytest.raises(BadInput, match="nothing there"):
        Project.create(tmp_path / "p", tmp_path / "nowhere", ["a", "b"])
    with pytest.raises(BadInput, match="a file"):
        Project.create(tmp_path / "p", draw(tmp_path / "x.png", (1, 2, 3)), ["a", "b"])


def test_a_project_inside_its_own_images_is_refused(project, photos):
    with pytest.raises(BadInput, match="inside the image folder"):
        Project.create(photos / "project", photos, ["a", "b"])
    with pytest.raises(BadInput, match="inside the image folder"):
        project.add_folder(project.folder.parent)


def test_a_folder_in_use_is_not_overwritten(tmp_path, photos):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="not empty"):
        Project.create(tmp_path / "p", photos, ["a", "b"])
    assert (tmp_path / "p" / "thesis.txt").read_text() == "mine"


def test_opening_what_is_no_project_says_how_to_make_one(tmp_path):
    with pytest.raises(ProjectError, match="labelloop init"):
        Project(tmp_path)


def test_a_damaged_project_is_named_as_such(tmp_path, project):
    project.close()
    database = project.folder / "project.db"
    for leftover in project.folder.glob("project.db-*"):
        leftover.unlink()
    database.write_bytes(b"not a database at all" * 1000)
    with pytest.raises(ProjectError, match="damaged"):
        Project(project.folder)


def test_a_half_overwritten_project_is_named_as_such(project):
    project.close()
    database = project.folder / "project.db"
    content = bytearray(database.read_bytes())
    content[1024:8192] = b"\xff" * (8192 - 1024)
    database.write_bytes(content)
    with pytest.raises(ProjectError, match=r"damaged|cannot be opened"):
        Project(project.folder)


def test_another_sqlite_file_is_refused_and_left_alone(tmp_path):
    (tmp_path / "p").mkdir()
    other = sqlite3.connect(tmp_path / "p" / "project.db")
    other.execute("CREATE TABLE birds (name)")
    other.commit()
    other.close()
    with pytest.raises(ProjectError, match="not of a labelloop project"):
        Project(tmp_path / "p")
    again = sqlite3.connect(tmp_path / "p" / "project.db")
    assert [row[0] for row in again.execute("SELECT name FROM sqlite_master")] == ["birds"]
    again.close()


def test_a_newer_schema_is_refused(project):
    with project.db.conn:
        project.db["_sqlite_migrations"].insert({"migration_set": "labelloop", "name": "m999_future", "applied_at": ""})
    with pytest.raises(ProjectError, match=r"newer labelloop .*m999_future.*pip install -U"):
        Project(project.folder)


@pytest.fixture
def oldest(tmp_path):
    """The folder of a project of the first schema, written down as it was, with an answer in it."""
    (tmp_path / "old").mkdir()
    db = Database(tmp_path / "old" / "project.db")
    for statement in FIRST.split(";;"):
        db.execute(statement)
    steps.ensure_migrations_table(db)
    db["_sqlite_migrations"].insert({"migration_set": "labelloop", "name": "m001_first", "applied_at": "2026-11-20"})
    db["classes"].insert_all([{"idx": 0, "name": "a", "at": ""}, {"idx": 1, "name": "b", "at": ""}])
    db["images"].insert({"id": 1, "sha256": "00", "width": 1, "height": 1, "held_out": 0, "added_at": ""})
    event = {"image_id": 1, "kind": "label", "class": 1, "source": "human", "by": "ann", "at": "2026-11-20T10:00:00Z"}
    db["events"].insert(event)
    db["jobs"].insert({"id": 1, "kind": "embed", "at": "2026-11-20T10:00:00Z", "state": "done"})
    db.close()
    return tmp_path / "old"


def test_the_oldest_schema_is_brought_up_to_date_with_its_answers(oldest):
    with Project(oldest) as project:
        assert project.jobs.get(1).event is None
        assert [(e.image_id, e.class_index, e.by) for e in project.log.answers()] == [(1, 1, "ann")]
        project.merge_class("b", "a")
        assert [row["label"] for row in project.db["labels"].rows] == ["a"]
        assert not steps.pending(project.db)


def test_an_old_project_may_be_opened_by_many_at_once(oldest):
    at_once = threading.Barrier(8)

    def open_it(_):
        at_once.wait(PATIENCE)
        with Project(oldest) as project:
            return len(steps.pending(project.db))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(open_it, range(8))) == [0] * 8


def test_a_file_that_another_holds_for_a_moment_is_waited_for(oldest):
    other = sqlite3.connect(oldest / "project.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # SQLite does not change a file to WAL then, and does not wait until it can
    after = threading.Timer(0.3, other.rollback)
    after.start()
    with Project(oldest) as project:
        assert project.db.conn.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    after.join()
    other.close()


def test_a_file_that_another_holds_for_good_is_not_called_damaged(oldest, monkeypatch):
    monkeypatch.setattr("labelloop.project.database.BUSY_SECONDS", 0.2)
    other = sqlite3.connect(oldest / "project.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ProjectError, match="Another program has held it"):
        Project(oldest)
    other.rollback()
    other.close()


# -- the log --------------------------------------------------------------------------------------------------------


def test_the_newest_answer_is_the_label_and_undo_brings_back_the_one_before(project):
    project.label(1, "red")
    project.label(1, "blue", by="ann")
    assert said(project, 1) == "blue"
    project.log.append([Event(image_id=1, kind="undo")])
    assert said(project, 1) == "red"
    project.log.append([Event(image_id=1, kind="undo")])
    assert said(project, 1) is None
    with pytest.raises(BadInput, match="nothing to undo"):
        project.log.append([Event(image_id=1, kind="undo")])
    assert [event.kind for event in project.log.since()] == ["label", "label", "undo", "undo"]


def test_what_the_answers_would_be_without_the_newest(project):
    for image_id, name in ((1, "red"), (2, "red"), (2, "blue"), (2, "red"), (3, "blue"), (3, "red")):
        project.label(image_id, name)
    project.log.append([Event(image_id=3, kind="undo")])
    project.log.append([Event(image_id=3, kind="skip")])
    before = project.log.before(project.log.answers())
    assert {image_id: (event.id, event.kind) for image_id, event in before.items()} == {
        2: (3, "label"),
        3: (5, "label"),
    }
    assert project.log.before([]) == {}


def test_the_views_for_people_with_sqlite_can_be_read(project):
    project.label(1, "red")
    project.label(1, "blue", by="ann")
    ((image_id, label, source, by, at, _, _),) = project.db.conn.execute("SELECT * FROM labels").fetchall()
    assert (image_id, label, source, by) == (1, "blue", "human", "ann")
    assert at == project.log.answers()[0].at
    assert project.db.conn.execute("SELECT class FROM answers").fetchone()["class"] == 1


def test_an_image_can_be_named_by_an_id_out_of_an_array(project):
    project.label(np.flatnonzero([False, True])[0], "red")
    assert said(project, 1) == "red"


@pytest.mark.parametrize(
    ("image", "label", "message"),
    [
        (0, "red", "image 0 is not in this project, which has 40 images"),
        (41, "red", "image 41 is not in this project, which has 40 images"),
        (1.0, "red", "image 1.0: wanted a pick, or its id"),
        (None, "red", "image None: wanted a pick, or its id"),
        (1, 0, "class 0: wanted a name. The classes are: red, blue"),
        (1, None, "class None: wanted a name. The classes are: red, blue"),
    ],
)
def test_an_answer_about_nothing_is_refused_in_words(project, image, label, message):
    with pytest.raises(BadInput, match=message):
        project.label(image, label)
    assert project.log.last_id() == 0


def test_an_answer_that_took_less_than_no_time_is_refused(project):
    """It could be exported, but not imported again: no file may hold it."""
    with pytest.raises(BadInput, match=r"seconds is -0\.5, wanted 0 or more"):
        project.label(1, "red", seconds=-0.5)
    project.label(1, "red", seconds=0)
    assert project.log.last_id() == 1


def test_a_label_after_an_undo_counts(project):
    project.label(1, "red")
    project.log.append([Event(image_id=1, kind="undo")])
    project.label(1, "blue")
    assert said(project, 1) == "blue"


def test_answers_as_of_an_event(project):
    first = project.label(1, "red")
    second = project.label(1, "blue")
    project.log.append([Event(image_id=1, kind="undo")])
    names = [project.classes[e.class_index] for upto in (first, second, None) for e in project.log.answers(upto=upto)]
    assert names == ["red", "blue", "red"]


def test_skip_unsure_flag_and_note(project):
    project.log.append(
        [
            Event(image_id=1, kind="skip"),
            Event(image_id=2, kind="unsure"),
            Event(image_id=3, kind="flag"),
            Event(image_id=4, kind="flag"),
            Event(image_id=4, kind="unflag"),
            Event(image_id=5, kind="note", note="which is this?"),
            Event(image_id=6, kind="note", note="gone again"),
            Event(image_id=6, kind="note", note=""),
        ]
    )
    assert (said(project, 1), said(project, 2), said(project, 3)) == ("skip", "unsure", None)
    assert project.log.flagged() == {3}
    assert project.log.notes() == {5: "which is this?"}


def test_a_resent_answer_is_stored_once(project):
    event = Event(image_id=1, kind="label", class_index=0, client="tab", seq=1)
    assert project.log.append([event]) == project.log.append([event]) == [1]
    assert len(list(project.log.since())) == 1


def test_an_undo_that_is_resent_does_not_undo_twice(project):
    project.label(1, "red")
    project.label(1, "blue")
    undo = Event(image_id=1, kind="undo", client="tab", seq=1)
    project.log.append([undo])
    project.log.append([undo])
    assert said(project, 1) == "red"


def test_a_sequence_number_used_for_another_answer_is_refused_loudly(project):
    project.log.append([Event(image_id=1, kind="label", class_index=0, client="tab", seq=1)])
    with pytest.raises(BadInput, match="stored already, with another content"):
        project.log.append([Event(image_id=2, kind="label", class_index=0, client="tab", seq=1)])


def test_one_bad_event_and_none_of_the_batch_is_written(project):
    good, bad = Event(image_id=1, kind="label", class_index=0), Event(image_id=999, kind="label", class_index=0)
    with pytest.raises(BadInput, match="does not fit the project"):
        project.log.append([good, bad])
    assert list(project.log.since()) == []


@pytest.mark.parametrize("statement", ["UPDATE events SET class = 0", "DELETE FROM events", "DELETE FROM images"])
def test_the_log_cannot_be_changed_even_by_hand(project, statement):
    project.label(1, "blue")
    with pytest.raises(sqlite3.IntegrityError, match=r"append-only|never deleted"):
        project.db.conn.execute(statement)
    assert said(project, 1) == "blue"


def test_every_column_of_an_event_comes_back(project):
    event = Event(
        image_id=3, kind="label", class_index=1, source="accepted", by="ann", at="2026-11-20T10:00:00.000Z",
        seconds=1.25, round=4, strategy="margin", suggestion=1, probability=0.75, client="tab", seq=9,
    )  # fmt: skip
    (event_id,) = project.log.append([event])
    assert list(project.log.since()) == [dataclasses.replace(event, id=event_id)]


def test_a_full_disk_refuses_loudly_and_keeps_what_was_saved(project):
    project.label(1, "red")
    pages = project.db.conn.execute("PRAGMA page_count").fetchone()[0]
    project.db.conn.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(NotSaved, match="the disk is full"):
        for _ in range(2000):
            project.log.append([Event(image_id=2, kind="note", note="x" * 1000)])
    project.db.conn.execute("PRAGMA max_page_count = 1000000")
    project.label(2, "blue")
    assert (said(project, 1), said(project, 2)) == ("red", "blue")


def test_a_full_disk_is_not_taken_for_a_damaged_project(project):
    resource = pytest.importorskip("resource")
    project.label(1, "red")
    project.close()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))  # the system's way to say "no further"
    try:
        with pytest.raises(ProjectError, match="disk is full or cannot be written: free some space") as refused:
            Project(project.folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "backup" not in str(refused.value)
    assert said(Project(project.folder), 1) == "red"


def test_a_commit_means_on_disk(project):
    assert project.db.conn.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert project.db.conn.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_what_was_acknowledged_survives_a_killed_process(project):
    script = (
        "import os, signal, sys; from labelloop.project import Project; p = Project(sys.argv[1])\n"
        "for k in range(1, 21): p.label(k, 'red', by='killed'); print(k, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(project.folder)], capture_output=True, text=True)
    assert done.returncode == -9
    acknowledged = [int(line) for line in done.stdout.split()]
    assert acknowledged == [event.image_id for event in project.log.answers()] == list(range(1, 21))


def test_many_writers_lose_nothing(project):
    def answer(name):
        for k in range(1, 26):
            project.label(k, "red", by=name)
        project.close()

    people = [threading.Thread(target=answer, args=(f"person {k}",)) for k in range(4)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    events = list(project.log.since())
    assert len(events) == 100
    assert {(e.by, e.image_id) for e in events} == {(f"person {p}", k) for p in range(4) for k in range(1, 26)}


# -- the catalog ----------------------------------------------------------------------------------------------------


def test_a_scan_finds_all_images_once(project, photos):
    assert len(project.catalog) == 40
    assert {image.path for image in project.catalog.images().values()} == set(photos.rglob("*.png"))


def test_the_same_bytes_twice_are_one_image_with_two_paths(make_project, tmp_path):
    draw(tmp_path / "in" / "a.png", (1, 2, 3))
    shutil.copy(tmp_path / "in" / "a.png", tmp_path / "in" / "b.png")
    project = make_project(tmp_path / "in")
    assert len(project.catalog) == 1
    assert sorted(project.catalog.files()) == [(1, "a.png"), (1, "b.png")]
    assert project.catalog.find("a.png") == project.catalog.find("b.png") == 1


def test_a_rescan_adds_what_is_new_and_marks_what_is_gone(project, photos):
    gone = project.catalog.image(5).path
    project.label(5, "red")
    gone.unlink()
    draw(photos / "new.png", (9, 9, 9))
    last = list(project.catalog.scan())[-1]
    assert (last.total, last.added, last.gone) == (1, 1, 1)
    assert [i.id for i in project.catalog.images().values() if i.gone] == [5]
    assert said(project, 5) == "red"
    draw(gone, (1, 1, 1))
    list(project.catalog.scan())
    assert len(project.catalog) == 42  # other bytes at the old path are another image


def test_a_file_that_comes_back_is_the_same_image(project):
    path = project.catalog.image(5).path
    content = path.read_bytes()
    path.unlink()
    list(project.catalog.scan())
    path.write_bytes(content)
    list(project.catalog.scan())
    assert not project.catalog.image(5).gone
    assert len(project.catalog) == 40


def test_a_file_that_was_only_touched_can_be_answered(project):
    image = project.catalog.image(5)
    os.utime(image.path, ns=(1, 1))
    assert project.catalog.find(image.path) == 5
    draw(image.path, (1, 2, 3))
    with pytest.raises(BadInput, match="was changed since it was scanned"):
        project.catalog.find(image.path)


def test_a_folder_that_was_moved_keeps_its_images_and_their_answers(project, photos, tmp_path):
    project.label(5, "red")
    name = project.catalog.image(5).name
    photos.rename(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match=r"photos is missing; nothing was read.*--instead-of .*photos"):
        list(project.catalog.scan())
    with pytest.raises(BadInput, match=r"nowhere is no image folder of this project; it has .*photos"):
        project.add_folder(tmp_path / "elsewhere", instead_of=tmp_path / "nowhere")
    project.add_folder(tmp_path / "elsewhere", instead_of=photos)
    progress = list(project.catalog.scan())
    assert (progress[0].total, progress[-1].gone, len(project.catalog)) == (0, 0, 40)  # none had to be read again
    assert project.catalog.image(5).path == tmp_path / "elsewhere" / name
    assert said(project, 5) == "red"


def test_a_folder_cannot_take_the_place_of_another_when_it_is_there_already(project, photos, tmp_path):
    (tmp_path / "more").mkdir()
    project.add_folder(tmp_path / "more")
    with pytest.raises(BadInput, match="more is a folder of this project already"):
        project.add_folder(tmp_path / "more", instead_of=photos)
    project.add_folder(photos, instead_of=photos)
    assert len(project.catalog.folders()) == 2


def test_an_unplugged_folder_marks_nothing_as_gone(project, photos):
    photos.rename(photos.with_name("elsewhere"))
    with pytest.raises(BadInput):
        list(project.catalog.scan())
    assert not project.catalog.flags()[1].any()


def test_of_two_scans_at_once_none_marks_as_gone_what_the_other_one_found(project, photos):
    older = project.catalog.scan()
    next(older)  # it has listed the folder
    draw(photos / "new.png", (9, 9, 9))
    with Project(project.folder) as other:
        list(other.catalog.scan())
    list(older)
    assert project.catalog.count_gone() == 0
    assert not project.catalog.image(project.catalog.find("new.png")).gone


@pytest.mark.parametrize("image_id", ["image_id", "NULL"])  # as embedding and as scanning left it
def test_what_could_not_be_read_comes_back(project, image_id):
    """A disk that was away for a moment, which earlier versions took for damage for good."""
    with project.db.conn:
        why = "cannot be read: input/output error"
        project.db.conn.execute(f"UPDATE files SET image_id = {image_id}, problem = ?", (why,))
        project.db.conn.execute("UPDATE images SET gone = 1")
    list(project.catalog.scan())
    assert project.catalog.count_gone() == 0
    assert project.catalog.problems() == []
    assert len(project.catalog) == 40


def test_what_is_damaged_is_looked_at_again_when_it_changes(project):
    image = project.catalog.image(5)
    project.catalog.mark_unreadable(5, "truncated")
    for _ in range(2):
        assert list(project.catalog.scan())[-1].total == 0
        assert project.catalog.image(5).gone
    assert project.catalog.problems() == [(image.name, "truncated")]
    os.utime(image.path)
    list(project.catalog.scan())
    assert not project.catalog.image(5).gone


def test_an_image_knows_whether_its_file_is_the_one_that_was_scanned(project):
    image = project.catalog.image(5)
    assert image.is_as_scanned()
    os.utime(image.path)
    assert not image.is_as_scanned()
    list(project.catalog.scan())
    assert project.catalog.image(5).is_as_scanned()
    image.path.unlink()
    assert not image.is_as_scanned()


def test_unusable_files_are_listed_with_the_reason(make_project, tmp_path):
    draw(tmp_path / "in" / "good.png", (1, 2, 3))
    (tmp_path / "in" / "empty.jpg").touch()
    (tmp_path / "in" / "notes.txt").write_text("hello")
    project = make_project(tmp_path / "in")
    assert [path for path, _ in project.catalog.problems()] == ["empty.jpg", "notes.txt"]
    assert len(project.catalog) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows names that are not UTF-8")
def test_a_name_that_is_not_text_survives(make_project, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    draw(tmp_path / "plain.png", (5, 6, 7)).rename(folder / name)
    project = make_project(folder)
    assert project.catalog.image(1).path.read_bytes()
    assert project.catalog.find(name) == 1


def test_ids_have_nothing_to_do_with_names(project):
    folders = [image.name.split("/")[0] for image in project.catalog.images().values()]
    assert folders[:20].count("red") not in (0, 20)


def test_held_out_depends_on_the_bytes_alone():
    assert is_held_out("0" * 64, 0.1)
    assert is_held_out("1999" + "0" * 60, 0.1)
    assert not is_held_out("199a" + "0" * 60, 0.1)
    assert not is_held_out("f" * 64, 0.89)


def test_a_file_is_found_below_its_folder_absolute_or_from_here(project, photos, monkeypatch):
    image = project.catalog.image(1)
    monkeypatch.chdir(photos)
    assert project.catalog.find(image.name) == 1
    assert project.catalog.find(str(image.path)) == 1
    monkeypatch.chdir(photos.parent)
    assert project.catalog.find(Path("photos") / image.name) == 1
    with pytest.raises(BadInput, match="labelloop add"):
        project.catalog.find("nowhere.png")


# -- classes, jobs --------------------------------------------------------------------------------------------------


def test_a_class_gets_another_name_and_its_answers_go_by_it(project):
    image = project.catalog.image(1)
    project.label(image.path, "red")
    assert project.rename_class("RED", " crimson ") == 0
    assert project.classes == ("crimson", "blue")
    assert [row["label"] for row in project.db["labels"].rows] == ["crimson"]
    assert project.rename_class("crimson", "Crimson") == 0
    assert project.first_names[:2] == ("red", "blue")
    for name in ("", "BLUE"):
        with pytest.raises(BadInput):
            project.rename_class("crimson", name)
    with pytest.raises(BadInput, match="Crimson, blue"):
        project.rename_class("red", "pink")
    assert project.classes == ("Crimson", "blue")


def test_two_classes_become_one_and_two_again(project):
    project.add_class("bleu")
    project.label(1, "bleu")
    project.label(2, "blue")
    said = [(event.image_id, event.class_index) for event in project.log.since()]
    assert project.merge_class("BLEU", "blue") == 1
    project.log.append(
        [Event(image_id=3, kind="label", class_index=2, suggestion=2)]
    )  # a page that has not heard of it
    project.label(4, "blue")
    assert [(e.image_id, e.class_index, e.suggestion) for e in project.log.since()] == [
        (1, 1, None), (2, 1, None), (3, 1, 1), (4, 1, None),
    ]  # fmt: skip
    assert [e.class_index for e in project.log.answers()] == [e.class_index for e in project.log.latest(9)] == [1] * 4
    assert [row["label"] for row in project.db["labels"].rows] == ["blue"] * 4
    assert (project.classes, project.merged) == (("red", "blue", "bleu"), {2: 1})
    with pytest.raises(BadInput, match="class 'bleu' was merged into 'blue': take that one"):
        project.label(5, "bleu")
    assert project.unmerge_class("bleu") == 2
    assert [e.class_index for e in project.log.answers()] == [2, 1, 2, 1]
    assert said == [(1, 2), (2, 1)]
    assert [row["label"] for row in project.db["labels"].rows] == ["bleu", "blue", "bleu", "blue"]


def test_what_was_merged_goes_along_when_its_class_is_merged(project):
    for name in ("bleu", "azure"):
        project.add_class(name)
    project.label(1, "bleu")
    project.merge_class("bleu", "blue")
    project.merge_class("blue", "azure")
    assert project.merged == {1: 3, 2: 3}
    assert project.log.answers()[0].class_index == 3
    project.unmerge_class("blue")
    assert project.merged == {2: 3}


def test_merging_what_cannot_be_merged_changes_nothing(project):
    project.add_class("bleu")
    project.merge_class("bleu", "blue")
    for name, into, why in (
        ("blue", "BLUE", "are one class"),
        ("blue", "pink", "there is no class 'pink'. The classes are: red, blue$"),
        ("bleu", "red", "'bleu' was merged into 'blue'"),
        ("blue", "bleu", "'bleu' was merged into 'blue'"),
    ):
        with pytest.raises(BadInput, match=why):
            project.merge_class(name, into)
    for name in ("Bleu", "blue"):  # not as a new name of another class, while it may come back
        with pytest.raises(BadInput):
            project.rename_class("red", name)
        with pytest.raises(BadInput):
            project.add_class(name)
    with pytest.raises(BadInput, match="'red' was not merged into another class; these were: bleu"):
        project.unmerge_class("red")
    assert project.merged == {2: 1}


def test_classes_are_only_added(project):
    assert project.add_class("  green ") == 2
    assert project.classes == ("red", "blue", "green")
    assert project.class_index("GREEN") == 2
    for name in ("", "Red"):
        with pytest.raises(BadInput):
            project.add_class(name)
    with pytest.raises(BadInput, match="red, blue, green"):
        project.class_index("yellow")


def test_the_held_out_share_cannot_change(project):
    project.change_settings(strategy="margin")
    assert Project(project.folder).settings.strategy == "margin"
    with pytest.raises(BadInput, match="fixed"):
        project.change_settings(held_out=0.5)


def test_a_job_is_asked_for_once_and_told_to_stop(project):
    job_id, is_new = project.jobs.ask("embed")
    assert is_new
    assert project.jobs.ask("embed") == (job_id, False)
    assert project.jobs.report(job_id, state="running", done=3, total=9, message="busy") is False
    project.jobs.stop(job_id)
    assert project.jobs.report(job_id) is True
    project.jobs.report(job_id, state="stopped")
    job = project.jobs.get(job_id)
    assert (job.state, job.done, job.total, job.message) == ("stopped", 3, 9, "busy")
    assert project.jobs.ask("embed")[1]


def test_jobs_run_one_after_the_other(project):
    first, _ = project.jobs.ask("embed")
    second, _ = project.jobs.ask("fine-tune")
    assert project.jobs.ahead_of(first) is None
    assert project.jobs.ahead_of(second).id == first
    project.jobs.report(first, state="done")
    assert project.jobs.ahead_of(second) is None


def test_of_two_open_jobs_the_one_that_runs_is_shown(project):
    first, _ = project.jobs.ask("fine-tune")
    second, _ = project.jobs.ask("embed")
    assert project.jobs.latest().id == first  # both wait: its turn is next
    project.jobs.report(first, state="running")
    assert project.jobs.latest().id == first
    assert project.jobs.latest("embed").id == second
    project.jobs.report(first, state="done")
    assert project.jobs.latest().id == second
    project.jobs.report(second, state="done")
    assert project.jobs.latest().id == second


def test_a_job_knows_the_newest_event_when_it_was_asked_for(project):
    first, _ = project.jobs.ask("embed")
    assert project.jobs.get(first).event == 0
    event = project.label(1, "red")
    second, _ = project.jobs.ask("fine-tune")
    project.label(2, "red")
    assert project.jobs.get(second).event == event


def silent_for(project, seconds):
    project.db.conn.execute("UPDATE jobs SET heartbeat = heartbeat - ?", [seconds])
    project.db.conn.commit()


@pytest.mark.parametrize("seconds", [60, -60, -3600])  # below 0: it died while the clock was ahead
def test_a_silent_worker_has_failed_and_can_be_started_again(project, seconds):
    waited: list[float] = []
    jobs = Jobs(lambda: project.db, waited.append)
    job_id, _ = jobs.ask("embed")
    jobs.report(job_id, state="running")
    silent_for(project, seconds)
    assert jobs.get(job_id).state == jobs.latest().state == "failed"
    assert "start it again" in jobs.get(job_id).message
    assert waited == []
    assert jobs.heard(job_id).state == "failed"
    assert waited == [1.0]  # before anybody acts on it
    assert jobs.ask("embed")[1]


@pytest.mark.parametrize("seconds", [60, -3600])
def test_a_worker_that_slept_with_the_computer_is_heard_again_before_another_is_started(project, seconds):
    jobs = Jobs(lambda: project.db, lambda _: jobs.report(first))
    first, _ = jobs.ask("embed")
    jobs.report(first, state="running")
    second, _ = jobs.ask("fine-tune")
    for look in (lambda: jobs.ask("embed")[0], lambda: jobs.ahead_of(second).id, lambda: jobs.heard(first).id):
        silent_for(project, seconds)
        assert not jobs.get(first).is_open
        assert look() == first
        assert jobs.get(first).is_open


def test_connections_are_made_per_thread(project):
    other = []
    thread = threading.Thread(target=lambda: (other.append(project.db), project.close()))
    thread.start()
    thread.join()
    assert other[0] is not project.db


def test_a_path_that_is_no_database_says_so(tmp_path):
    (tmp_path / "project.db").mkdir()
    with pytest.raises(ProjectError):
        connect(tmp_path / "project.db")


def test_a_thread_that_ends_takes_its_connection_along(project):
    connections = []

    def look():
        project.log.last_id()
        connections.append(weakref.ref(project.db))

    for _ in range(5):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert [connection() for connection in connections] == [None] * 5


def test_an_answer_to_a_project_that_was_deleted_or_replaced_is_refused(project, photos, make_project):
    folder = project.folder
    project.label(1, "red")
    shutil.rmtree(folder)
    with pytest.raises(ProjectError, match="was deleted, moved or replaced"):
        project.label(2, "red")
    anew = make_project(photos)
    with pytest.raises(ProjectError, match="was deleted, moved or replaced"):
        project.label(2, "red")
    anew.label(2, "red")
    assert [event.image_id for event in anew.log.since()] == [2]


def test_a_project_may_be_dropped_by_another_thread_than_the_one_that_used_it(project):
    opened = [Project(project.folder)]
    thread = threading.Thread(target=lambda: (opened.clear(), gc.collect()))
    thread.start()
    thread.join()  # an error in __del__ would be one of this test


def test_a_class_name_that_is_no_text_is_refused(project):
    with pytest.raises(BadInput, match="not valid text"):
        project.add_class("r\udcffst")


def test_an_empty_database_is_no_new_project(tmp_path):
    (tmp_path / "project.db").touch()
    with pytest.raises(ProjectError, match="damaged \\(it is empty\\)"):
        Project(tmp_path)
    assert (tmp_path / "project.db").stat().st_size == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"held_out": 0.2}, "wanted labelloop.Settings"),
        (Settings(held_out="0.2"), "share is '0.2', it should be above 0"),
        (Settings(held_out=0.9), "share is 0.9, it should be above 0"),
        (Settings(seed=-1), "seed is -1, it should be a whole number"),
        (Settings(seed="a"), "seed is 'a', it should be a whole number"),
        (Settings(seed=np.int64(3)), "seed is np.int64.3., it should be"),
    ],
)
def test_settings_that_cannot_work_leave_no_project(tmp_path, settings, said):
    with pytest.raises(BadInput, match=said):
        Project.create(tmp_path / "p", classes=["a", "b"], settings=settings)
    assert not (tmp_path / "p").exists()


def test_a_seed_that_cannot_work_is_not_stored(project):
    with pytest.raises(BadInput, match="the seed is -2"):
        project.change_settings(seed=-2)
    assert (project.settings.seed, Project(project.folder).settings.seed) == (0, 0)
