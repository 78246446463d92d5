"""Labels out and in again: what was exported equals what was answered, and an import is all or nothing."""

import csv
import json
from collections import Counter

import pytest

from labelloop import formats
from labelloop.errors import BadInput
from labelloop.exchange import Filter, export_labels, import_labels, plan, records
from labelloop.types import Event
from tests.conftest import draw, truth

WHAT = ["image_id", "class_index", "source", "by", "at", "seconds", "round", "strategy", "suggestion", "probability"]


def known(project):
    """All that is known of each label."""
    labels = [answer for answer in project.log.answers() if answer.kind == "label"]
    return [tuple(getattr(answer, name) for name in WHAT) for answer in labels]


@pytest.fixture
def answered(project):
    """Thirty labels of all kinds, one of them corrected, two images without a label, one flagged."""
    names = truth(project)
    for k in range(1, 31):
        index = project.class_index(names[k])
        accepted = k % 3 == 0
        project.log.append(
            [
                Event(
                    image_id=k, kind="label", class_index=index, by="ann" if k % 2 else "ben",
                    seconds=k / 7, round=k // 5, source="accepted" if accepted else "human", strategy="auto",
                    suggestion=index if accepted else None, probability=0.5 + k / 100 if accepted else None,
                )
            ]
        )  # fmt: skip
    project.label(1, "red")
    project.label(1, "blue")
    project.log.append(
        [Event(image_id=31, kind="unsure"), Event(image_id=32, kind="skip"), Event(image_id=2, kind="flag")]
    )
    return project


@pytest.mark.parametrize("name", formats.names())
def test_what_is_exported_comes_back_into_a_new_project(answered, make_project, photos, tmp_path, name):
    out = tmp_path / f"out.{name}"
    assert export_labels(answered, out, name) == 30
    other = make_project(photos, classes=(), name="other", held_out=0.25)
    taken = import_labels(other, out, name)
    assert (taken.labels, taken.changed, taken.unchanged) == (30, 0, 0)
    by_name = [other.classes.index(name) for name in answered.classes]
    assert known(other) == [
        (*row[:1], by_name[row[1]], *row[2:8], None if row[8] is None else by_name[row[8]], row[9])
        for row in known(answered)
    ]


def test_notes_go_out_with_the_label_and_come_back(answered, make_project, photos, tmp_path):
    answered.log.append([Event(image_id=4, kind="note", note=text, by="ann") for text in ("old", "blurred, at dusk")])
    export_labels(answered, tmp_path / "labels.csv", "csv")
    other = make_project(photos, name="other", held_out=0.25)
    other.log.append([Event(image_id=4, kind="note", note="another")])
    assert import_labels(other, tmp_path / "labels.csv", "csv").labels == 30
    assert other.log.notes() == {4: "blurred, at dusk"}
    last = other.log.last_id()
    assert import_labels(other, tmp_path / "labels.csv", "csv").unchanged == 30
    assert other.log.last_id() == last


@pytest.mark.parametrize("name", ["csv", "jsonl"])
def test_exporting_again_gives_the_same_bytes(answered, make_project, photos, tmp_path, name):
    export_labels(answered, tmp_path / "one", name)
    other = make_project(photos, name="other", held_out=0.25)
    import_labels(other, tmp_path / "one", name)
    export_labels(other, tmp_path / "two", name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_csv_says_who_answered_what_and_how(answered, tmp_path):
    export_labels(answered, tmp_path / "labels.csv", "csv")
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = {row["file_name"]: row for row in csv.DictReader(file)}
    image = answered.catalog.image(3)
    row = rows[image.name]
    assert list(row)[:4] == ["file_name", "label", "split", "source"]
    assert row["label"] == row["suggestion"] == truth(answered)[3]
    assert (row["split"], row["source"], row["by"]) == ("test" if image.held_out else "train", "accepted", "ann")
    assert (row["seconds"], row["probability"], row["sha256"]) == (repr(3 / 7), "0.53", image.sha256)


def test_the_image_folder_is_split_by_what_was_held_out(answered, tmp_path):
    export_labels(answered, tmp_path / "out", "imagefolder")
    images = answered.catalog.images()
    for answer in answered.log.answers():
        if answer.kind == "label":
            split = "test" if images[answer.image_id].held_out else "train"
            label = answered.classes[answer.class_index]
            exported = [path.read_bytes() for path in (tmp_path / "out" / split / label).iterdir()]
            assert images[answer.image_id].path.read_bytes() in exported


def test_a_plan_says_what_will_be_written_and_what_not(answered):
    answered.catalog.image(4).path.unlink()
    list(answered.catalog.scan())
    made = plan(answered)
    assert (made.images, made.gone, made.skipped) == (29, 1, 2)
    assert made.per_class == dict(Counter(record.label for record in records(answered)))
    assert sum(made.per_split.values()) == 29


@pytest.mark.parametrize(
    ("wanted", "test"),
    [
        (Filter(split="test"), lambda record: record.split == "test"),
        (Filter(sources=("accepted",)), lambda record: record.source == "accepted"),
        (Filter(classes=("blue",)), lambda record: record.label == "blue"),
    ],
)
def test_filters(answered, wanted, test):
    everything = list(records(answered))
    assert list(records(answered, wanted)) == [record for record in everything if test(record)]
    assert 0 < len(list(records(answered, wanted))) < len(everything)


@pytest.mark.parametrize("look", [lambda project: list(records(project)), plan])
def test_an_answer_that_comes_while_an_export_is_made_does_not_end_it(answered, photos, monkeypatch, look):
    """It is about an image and a class that were added just before it."""
    images, answers = answered.catalog.images, answered.log.answers

    def then_label(read):
        def read_and_label(*args):
            found = read(*args)
            monkeypatch.undo()
            draw(photos / "late.png", (90, 90, 90))
            list(answered.catalog.scan())
            answered.add_class("green")
            answered.label("late.png", "green")
            return found

        return read_and_label

    monkeypatch.setattr(answered.catalog, "images", then_label(images))
    monkeypatch.setattr(answered.log, "answers", then_label(answers))
    look(answered)
    assert "late.png" in {record.file_name for record in records(answered)}


def test_flagged_images_can_be_left_out(answered):
    flagged = answered.catalog.image(2).name
    assert flagged in {record.file_name for record in records(answered)}
    assert flagged not in {record.file_name for record in records(answered, Filter(flagged=False))}


def test_nothing_is_ever_written_into_the_image_folder(answered, photos):
    before = sorted(photos.rglob("*"))
    for name in formats.names():
        with pytest.raises(BadInput, match="never writes there"):
            export_labels(answered, photos / "out", name)
    assert sorted(photos.rglob("*")) == before


def test_a_target_that_is_not_empty_is_left_alone(answered, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    for name in formats.names():
        with pytest.raises(BadInput):
            export_labels(answered, tmp_path / "out", name)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_unknown_files_are_named_and_nothing_is_imported(project, tmp_path):
    lines = [{"file_name": image.name, "label": "red"} for image in project.catalog.images().values()]
    lines += [{"file_name": f"elsewhere/{k}.png", "label": "green"} for k in range(7)]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(BadInput, match=r"7 of the 47 files .* elsewhere/0.png, .*, … *\. Nothing was imported"):
        import_labels(project, tmp_path / "labels.jsonl", "jsonl")
    assert project.log.answers() == []
    assert project.classes == ("red", "blue")


def test_an_import_is_by_the_bytes_when_a_file_was_renamed(answered, make_project, photos, tmp_path):
    export_labels(answered, tmp_path / "labels.csv", "csv")
    for path in sorted(photos.rglob("*.png")):
        path.rename(path.with_name(f"renamed_{path.name}"))
    other = make_project(photos, name="other", held_out=0.25)
    assert import_labels(other, tmp_path / "labels.csv", "csv").labels == 30
    assert {other.catalog.image(row[0]).sha256: row[1] for row in known(other)} == {
        answered.catalog.image(row[0]).sha256: row[1] for row in known(answered)
    }


def test_two_files_of_one_name_are_not_guessed_between(make_project, tmp_path):
    draw(tmp_path / "in" / "a" / "x.png", (1, 2, 3))
    draw(tmp_path / "in" / "b" / "x.png", (4, 5, 6))
    project = make_project(tmp_path / "in")
    (tmp_path / "labels.csv").write_text("file_name,label\nx.png,red\n")
    with pytest.raises(BadInput, match=r"x.png \(2 images have this name\)"):
        import_labels(project, tmp_path / "labels.csv", "csv")
    (tmp_path / "labels.csv").write_text("file_name,label\na/x.png,red\n")
    assert import_labels(project, tmp_path / "labels.csv", "csv").labels == 1


def test_a_label_never_goes_to_another_picture_of_the_same_name(answered, make_project, tmp_path):
    export_labels(answered, tmp_path / "labels.csv", "csv", Filter(split="test"))
    for k, image in enumerate(answered.catalog.images().values()):
        draw(tmp_path / "other photos" / image.name, (k, k, k), size=(9, 9))
    other = make_project(tmp_path / "other photos", name="other")
    advice = r"\(a file of this name is there, but its bytes are others\).*import a table without the column sha256"
    with pytest.raises(BadInput, match=advice):
        import_labels(other, tmp_path / "labels.csv", "csv")
    assert other.log.answers() == []
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = [f"{row['file_name']},{row['label']}\n" for row in csv.DictReader(file)]
    (tmp_path / "names.csv").write_text("".join(["file_name,label\n", *rows]))
    assert import_labels(other, tmp_path / "names.csv", "csv").labels == len(rows)


def test_a_file_that_was_changed_since_the_scan_is_not_known_by_its_name(project, tmp_path):
    image = project.catalog.image(7)
    draw(image.path, (9, 99, 199), size=(30, 30))
    (tmp_path / "labels.csv").write_text(f"file_name,label\n{image.name},red\n")
    with pytest.raises(BadInput, match=r"img_..\.png \(it was changed since it was scanned\).*labelloop add PROJECT"):
        import_labels(project, tmp_path / "labels.csv", "csv")
    image.path.unlink()  # a disk that is away is no reason
    assert import_labels(project, tmp_path / "labels.csv", "csv").labels == 1


def test_hashes_in_capitals_are_hashes(project, tmp_path):
    digest = project.catalog.image(7).sha256.upper()
    (tmp_path / "labels.csv").write_text(f"file_name,label,sha256\nelsewhere.png,red,{digest}\n")
    import_labels(project, tmp_path / "labels.csv", "csv")
    assert [answer.image_id for answer in project.log.answers()] == [7]


def test_the_whole_path_goes_before_the_name_alone(make_project, tmp_path):
    draw(tmp_path / "in" / "x.png", (1, 2, 3))
    draw(tmp_path / "in" / "b" / "x.png", (4, 5, 6))
    project = make_project(tmp_path / "in")
    (tmp_path / "labels.csv").write_text("file_name,label\nx.png,red\nb/x.png,blue\n")
    assert import_labels(project, tmp_path / "labels.csv", "csv").labels == 2
    assert [(project.catalog.image(row[0]).name, row[1]) for row in sorted(known(project), key=lambda row: row[1])] == [
        ("x.png", 0),
        ("b/x.png", 1),
    ]


@pytest.mark.parametrize("spelling", ["{0}/sub/x.png", "./sub/x.png", "sub\\x.png", ".\\sub\\x.png", "sub//x.png"])
def test_a_path_is_found_however_it_is_written(make_project, tmp_path, spelling):
    draw(tmp_path / "in" / "sub" / "x.png", (1, 2, 3))
    draw(tmp_path / "more" / "sub" / "y.png", (4, 5, 6))
    project = make_project(tmp_path / "in")
    (tmp_path / "labels.jsonl").write_text(json.dumps({"file_name": spelling.format(tmp_path / "in"), "label": "red"}))
    assert import_labels(project, tmp_path / "labels.jsonl", "jsonl").labels == 1


def test_an_absolute_path_tells_two_folders_apart(make_project, tmp_path):
    for k, folder in enumerate(("in", "more")):
        draw(tmp_path / folder / "x.png", (k, 2, 3))
    project = make_project(tmp_path / "in")
    project.add_folder(tmp_path / "more")
    list(project.catalog.scan())
    table = tmp_path / "labels.csv"
    table.write_text("file_name,label\nx.png,red\n")
    with pytest.raises(BadInput, match=r"x.png \(2 images have this name\)"):
        import_labels(project, table, "csv")
    table.write_text(f"file_name,label\n{tmp_path / 'more' / 'x.png'},red\n")
    import_labels(project, table, "csv")
    (answer,) = project.log.answers()
    assert project.catalog.image(answer.image_id).path == tmp_path / "more" / "x.png"


@pytest.mark.parametrize("path", ["B\u00e4r.png", "sub/B\u00e4r.png"])
def test_names_from_a_mac_are_found_though_it_takes_accents_apart(make_project, tmp_path, path):
    draw(tmp_path / "in" / "sub" / "Ba\u0308r.png", (1, 2, 3))
    project = make_project(tmp_path / "in")
    (tmp_path / "labels.csv").write_text(f"file_name,label\n{path},red\n", encoding="utf-8")
    assert import_labels(project, tmp_path / "labels.csv", "csv").labels == 1


def test_a_class_that_was_renamed_since_is_known_by_its_first_name(answered, tmp_path):
    export_labels(answered, tmp_path / "labels.csv", "csv")
    answered.rename_class("red", "scarlet")
    last = answered.log.last_id()
    taken = import_labels(answered, tmp_path / "labels.csv", "csv")
    assert (taken.unchanged, taken.new_classes, taken.renamed) == (30, [], {"red": "scarlet"})
    assert (answered.classes, answered.log.last_id()) == (("scarlet", "blue"), last)


def test_a_class_that_was_merged_since_is_known_as_the_one_it_is_part_of(answered, tmp_path):
    export_labels(answered, tmp_path / "labels.csv", "csv")
    answered.rename_class("red", "rde")
    answered.merge_class("rde", "blue")
    taken = import_labels(answered, tmp_path / "labels.csv", "csv")
    assert (taken.unchanged, taken.new_classes, taken.renamed) == (30, [], {"red": "blue"})
    assert {record.label for record in records(answered)} == {"blue"}
    name = answered.catalog.image(1).name
    (tmp_path / "labels.csv").write_text(f"file_name,label,suggestion\n{name},RDE,red\n")
    assert import_labels(answered, tmp_path / "labels.csv", "csv").unchanged == 1


def test_a_first_name_that_is_a_class_by_now_means_that_class(project, tmp_path):
    project.rename_class("red", "scarlet")
    project.rename_class("blue", "red")
    (tmp_path / "labels.csv").write_text(f"file_name,label\n{project.catalog.image(1).name},RED\n")
    assert import_labels(project, tmp_path / "labels.csv", "csv").renamed == {}
    assert [answer.class_index for answer in project.log.answers()] == [1]


def test_a_first_name_of_two_classes_means_neither(project, tmp_path):
    project.rename_class("red", "scarlet")
    project.add_class("red")
    project.rename_class("red", "crimson")
    (tmp_path / "labels.csv").write_text(f"file_name,label\n{project.catalog.image(1).name},red\n")
    taken = import_labels(project, tmp_path / "labels.csv", "csv")
    assert (taken.new_classes, taken.renamed) == (["red"], {})


def test_images_called_test_that_are_not_held_out_are_counted(project, tmp_path):
    images = project.catalog.images().values()
    rows = [f"{image.name},red,{'test' if image.id <= 20 else 'train'}\n" for image in images]
    (tmp_path / "labels.csv").write_text("".join(["file_name,label,split\n", *rows]))
    taken = import_labels(project, tmp_path / "labels.csv", "csv")
    assert taken.not_held_out == sum(not image.held_out for image in images if image.id <= 20) > 0


def test_no_class_is_added_where_its_labels_cannot_be(project, tmp_path):
    (tmp_path / "labels.csv").write_text(f"file_name,label\n{project.catalog.image(1).name},mold\n")
    with pytest.raises(BadInput, match="this answer was not stored"):
        import_labels(project, tmp_path / "labels.csv", "csv", by="caf\udce9")
    assert (project.classes, project.log.last_id()) == (("red", "blue"), 0)
    assert import_labels(project, tmp_path / "labels.csv", "csv").new_classes == ["mold"]


def test_importing_twice_changes_nothing(answered, tmp_path):
    export_labels(answered, tmp_path / "labels.csv", "csv")
    before = answered.log.last_id()
    taken = import_labels(answered, tmp_path / "labels.csv", "csv")
    assert (taken.labels, taken.unchanged) == (0, 30)
    assert answered.log.last_id() == before


def test_an_import_that_differs_is_the_newest_event_and_can_be_undone(answered, tmp_path):
    name = answered.catalog.image(2).name
    was = answered.log.answers(image_ids=[2])[0].class_index
    (tmp_path / "labels.csv").write_text(f"file_name,label\n{name},green\n")
    taken = import_labels(answered, tmp_path / "labels.csv", "csv", by="colleague")
    assert (taken.labels, taken.changed, taken.new_classes) == (1, 1, ["green"])
    (answer,) = answered.log.answers(image_ids=[2])
    assert (answered.classes[answer.class_index], answer.source, answer.by) == ("green", "import", "colleague")
    answered.log.append([Event(image_id=2, kind="undo")])
    assert answered.log.answers(image_ids=[2])[0].class_index == was


def test_labels_that_are_imported_say_so(project, tmp_path):
    (tmp_path / "labels.csv").write_text(f"file_name,label\n{project.catalog.image(1).name},red\n")
    import_labels(project, tmp_path / "labels.csv", "csv")
    assert project.log.answers()[0].source == "import"


def test_blanks_around_a_class_and_its_case_do_not_matter(project, tmp_path):
    names = truth(project)
    images = project.catalog.images()
    red = next(i for i, name in names.items() if name == "red")
    table = tmp_path / "by_hand.csv"
    table.write_text(f"file_name, label,label\n{images[red].name},, Red\n{images[red % 40 + 1].name},, mold\n")
    taken = import_labels(project, table, "csv")
    assert (taken.labels, taken.new_classes) == (2, [" mold"])
    assert project.classes == ("red", "blue", "mold")


def test_a_round_that_no_database_could_hold_is_refused_before_anything_is_written(project, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text(f"file_name,label,round\n{project.catalog.image(1).name},mold,{10**30}\n")
    with pytest.raises(BadInput, match=r"line 2: round is 10+, wanted a number that fits"):
        import_labels(project, table, "csv")
    assert project.classes == ("red", "blue")


def test_a_labeled_image_whose_file_was_overwritten_is_gone_but_not_forgotten(project, photos, tmp_path):
    path = project.catalog.image(3).path
    project.label(3, "red")
    project.label(4, "blue")
    draw(path, (9, 99, 199), size=(30, 30))
    for _ in project.catalog.scan():
        pass
    image = project.catalog.image(3)
    assert (image.gone, image.name) == (True, "image 3 (none of its files can be read)")
    assert export_labels(project, tmp_path / "labels.csv", "csv") == 1
    assert plan(project).gone == 1
