"""Every format keeps the same contract; then, byte by byte, what each one writes and refuses."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelloop import formats
from labelloop.errors import BadInput, LabelloopError
from labelloop.formats import COLUMNS, Record
from labelloop.formats.imagefolder import Names, safe_name

every_format = pytest.mark.parametrize("name", formats.names())
every_table = pytest.mark.parametrize("name", [name for name in formats.names() if not formats.get(name).folder])


def photo(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(path, "PNG")
    return path


def records(tmp_path: Path, n: int = 3) -> list[Record]:
    return [Record(file_name=f"a/{k}.png", label="rust", path=photo(tmp_path / f"images/{k}.png", k)) for k in range(n)]


# ------------------------------------------------------------------------------------ the contract, over the registry

THIS_FILE = Path(__file__)
some_text = st.text(max_size=8)
some_records = st.lists(
    st.builds(
        Record,
        file_name=st.binary(min_size=1, max_size=12)
        .map(lambda raw: raw.decode("utf-8", "surrogateescape"))
        .filter(str.strip),
        label=(
            st.text(min_size=1, max_size=6) | st.sampled_from(["=1+1", "CON", "a/b", "..", "A", "a", 'x"y', "é", "é"])
        ).filter(str.strip),
        split=st.sampled_from(["train", "test"]),
        source=st.sampled_from(["human", "accepted", "bulk", "import"]),
        by=some_text,
        at=st.just("") | st.datetimes().map(lambda time: f"{time.isoformat()}Z"),
        seconds=st.none() | st.floats(0, allow_infinity=False),
        round=st.none() | st.integers(-(2**63), 2**63 - 1),
        strategy=st.none() | some_text,
        suggestion=st.none() | some_text,
        probability=st.none() | st.floats(0, 1),
        sha256=st.none() | st.just(hashlib.sha256(THIS_FILE.read_bytes()).hexdigest()),
        note=st.none() | some_text,
        path=st.just(THIS_FILE),
    ),
    min_size=1,
    max_size=6,
)


@every_format
@settings(deadline=None)
@given(written=some_records)
def test_what_is_read_is_what_was_written(name, written):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        assert formats.get(name).write(iter(written), out) == len(written)
        read = list(formats.get(name).read(out))
        assert read == written
        if formats.get(name).folder:
            assert [record.path.read_bytes() for record in read] == [THIS_FILE.read_bytes()] * len(written)


@every_format
def test_progress_counts_records_and_nothing_but_the_export_is_left(tmp_path, name):
    seen: list[int] = []
    written = records(tmp_path)
    formats.get(name).write(written, tmp_path / "out", progress=seen.append)
    assert seen == [1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out"]


@every_format
def test_nothing_is_not_exported(tmp_path, name):
    with pytest.raises(BadInput, match="nothing to export"):
        formats.get(name).write([], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@every_format
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, BadInput])
def test_an_interrupted_export_leaves_nothing(tmp_path, name, error):
    def interrupted() -> Iterator[Record]:
        yield from records(tmp_path)
        raise error

    with pytest.raises(error):
        formats.get(name).write(interrupted(), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@every_format
def test_records_are_not_gathered_before_they_are_written(tmp_path, name):
    taken: list[str] = []

    def one_by_one() -> Iterator[Record]:
        for k, record in enumerate(records(tmp_path)):
            taken.append(f"read {k}")
            yield record

    formats.get(name).write(one_by_one(), tmp_path / "out", progress=lambda done: taken.append(f"wrote {done}"))
    assert taken == ["read 0", "wrote 1", "read 1", "wrote 2", "read 2", "wrote 3"]


@every_format
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, name):
    resource = pytest.importorskip("resource")
    written = records(tmp_path, 400)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))  # the system's way to say "no further"
    try:
        with pytest.raises(LabelloopError, match=r"cannot write '.*out': file too large; nothing was left behind"):
            formats.get(name).write(written, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@every_format
def test_what_is_there_is_never_overwritten(tmp_path, name):
    out = tmp_path / "out"
    write = formats.get(name).write
    write(records(tmp_path), out)
    with pytest.raises(BadInput, match="cannot write"):
        write(records(tmp_path), out)
    assert list(formats.get(name).read(out)) == records(tmp_path)


@every_format
def test_an_empty_target_is_taken(tmp_path, name):
    out = tmp_path / "out"
    out.mkdir() if formats.get(name).folder else out.touch()
    assert formats.get(name).write(records(tmp_path), out) == 3
    assert list(formats.get(name).read(out)) == records(tmp_path)


@every_format
def test_a_missing_parent_is_told(tmp_path, name):
    with pytest.raises(BadInput, match=r"there is no folder '.*gone'; make it first"):
        formats.get(name).write(records(tmp_path), tmp_path / "gone/out")


@every_format
def test_a_missing_file_is_told(tmp_path, name):
    with pytest.raises(BadInput, match=r"cannot read '.*gone': "):
        list(formats.get(name).read(tmp_path / "gone"))


@every_format
def test_an_export_is_for_others_to_read(tmp_path, name):
    out = tmp_path / "out"
    formats.get(name).write(records(tmp_path), out)
    beside = tmp_path / "beside"
    beside.mkdir() if formats.get(name).folder else beside.touch()
    assert out.stat().st_mode == beside.stat().st_mode


@every_format
def test_numpy_numbers_are_written_as_numbers(tmp_path, name):
    path = photo(tmp_path / "x.png")
    odd = Record(file_name="x", label="a", probability=np.float64(0.1), seconds=np.float32(0.5), round=3, path=path)
    formats.get(name).write([odd], tmp_path / "out")
    [read] = formats.get(name).read(tmp_path / "out")
    assert (read.probability, read.seconds, read.round) == (0.1, 0.5, 3)


def test_an_unknown_format_lists_the_known_ones():
    with pytest.raises(BadInput, match="there is no format 'coco'; wanted csv, jsonl, imagefolder"):
        formats.get("coco")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label": " "}, "label is empty"),
        ({"file_name": ""}, "file_name is empty"),
        ({"split": "val"}, "split is 'val', wanted train or test"),
        ({"source": "me"}, "source is 'me', wanted human or accepted or bulk or import"),
        ({"seconds": float("nan")}, "seconds is nan, wanted a number"),
        ({"label": "\udce9"}, r"label is '\udce9', which is not valid text (UTF-8)"),
        ({"file_name": "\ud800"}, r"file_name is '\ud800', which is not valid text (UTF-8)"),
    ],
)
def test_what_no_file_could_hold_is_no_record(values, message):
    with pytest.raises(BadInput) as caught:
        Record(**{"file_name": "x", "label": "a", **values})
    assert str(caught.value) == message


# ------------------------------------------------------------------------------------------------------------- tables

FULL = Record(
    file_name='fält/"1", 2\n.jpg',
    label="=rust",
    split="test",
    source="accepted",
    by="anna",
    at="2026-11-20T10:00:00Z",
    seconds=1.25,
    round=4,
    strategy="margin",
    suggestion="mildew",
    probability=0.1,
    sha256="ab12",
    note="a, b",
)
BARE = Record(file_name="caf\udce9.jpg", label="🌾")


def test_csv_known_bytes(tmp_path):
    formats.get("csv").write([FULL, BARE], tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_bytes() == (
        b"file_name,label,split,source,by,at,seconds,round,strategy,suggestion,probability,sha256,note\n"
        b'"f\xc3\xa4lt/""1"", 2\n.jpg",=rust,test,accepted,anna,2026-11-20T10:00:00Z,1.25,4,margin,mildew,0.1,ab12,'
        b'"a, b"\n'
        b"caf\xe9.jpg,\xf0\x9f\x8c\xbe,train,import,,,,,,,,,\n"
    )


def test_jsonl_known_bytes(tmp_path):
    formats.get("jsonl").write([FULL, BARE], tmp_path / "x.jsonl")
    assert (tmp_path / "x.jsonl").read_bytes() == (
        b'{"file_name": "f\xc3\xa4lt/\\"1\\", 2\\n.jpg", "label": "=rust", "split": "test", "source": "accepted", '
        b'"by": "anna", "at": "2026-11-20T10:00:00Z", "seconds": 1.25, "round": 4, "strategy": "margin", '
        b'"suggestion": "mildew", "probability": 0.1, "sha256": "ab12", "note": "a, b"}\n'
        b'{"file_name": "caf\\udce9.jpg", "label": "\xf0\x9f\x8c\xbe", "split": "train", "source": "import", '
        b'"by": "", "at": "", "seconds": null, "round": null, "strategy": null, "suggestion": null, '
        b'"probability": null, "sha256": null, "note": null}\n'
    )


def test_the_columns_in_order():
    assert list(COLUMNS) == [
        *("file_name", "label", "split", "source", "by", "at"),
        *("seconds", "round", "strategy", "suggestion", "probability", "sha256", "note"),
    ]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("csv", b"label,file_name\nrust,x.jpg\n"),
        ("csv", b"\xef\xbb\xbflabel,weather,file_name\r\nrust,dry,x.jpg\r\n\r\n"),
        ("csv", b"file_name,label,source,round,weather,weather\nx.jpg,rust,,,,"),
        ("jsonl", b'\xef\xbb\xbf{"label": "rust", "file_name": "x.jpg", "weather": 1}'),
        ("jsonl", b'\n{"file_name": "x.jpg", "label": "rust", "source": null, "by": ""}\r\n\n'),
    ],
)
def test_a_minimal_foreign_table_is_read(tmp_path, name, data):
    (tmp_path / "x").write_bytes(data)
    assert list(formats.get(name).read(tmp_path / "x")) == [Record(file_name="x.jpg", label="rust", source="import")]


@pytest.mark.parametrize("name", ["csv", "jsonl"])
def test_whole_numbers_as_pandas_writes_them(tmp_path, name):
    (tmp_path / "csv").write_bytes(b"file_name,label,round\nx,a,3.0\n")
    (tmp_path / "jsonl").write_bytes(b'{"file_name":"x","label":"a","round":3.0}\n')
    [record] = formats.get(name).read(tmp_path / name)
    assert record.round == 3 and isinstance(record.round, int)


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"", 1, "column 'file_name' is missing; the first line names the columns, and it holds nothing"),
        (b"file_name;label\n", 1, "column 'file_name' is missing"),
        (b"file_name,class\n", 1, "column 'label' is missing; the first line names the columns, and it holds "),
        (b"file_name,label,label\n", 1, "column 'label' is there twice"),
        ("file_name,label\n".encode("utf-16"), 1, "the text is not UTF-8"),
        (b"file_name,label\nx,a\ny,caf\xe9\n", 3, r"label is 'caf\udce9', which is not valid text"),
        (b"file_name,label\nx,a\ny\n", 3, "1 cells, wanted 2 as in the header"),
        (b"file_name,label\nx,a,b\n", 2, "3 cells, wanted 2 as in the header"),
        (b"file_name,label\nx,\n", 2, "label is empty"),
        (b'file_name,label\n"x\ny",a\nz,"a\n', 4, "unexpected end of data"),
        (b"file_name,label,seconds\nx,a,soon\n", 2, "seconds is 'soon', wanted a number"),
        (b"file_name,label,seconds\nx,a,inf\n", 2, "seconds is inf, wanted a number"),
        (b"file_name,label,seconds\nx,a,-5\n", 2, "seconds is -5.0, wanted 0 or more"),
        (b"file_name,label,probability\nx,a,17\n", 2, "probability is 17.0, wanted a number from 0 to 1"),
        (b"file_name,label,probability\nx,a,-0.1\n", 2, "probability is -0.1, wanted a number from 0 to 1"),
        (b"file_name,label,at\nx,a,yesterday\n", 2, "at is 'yesterday', wanted a time as in 2026-11-20T10:00:00Z"),
        (b"file_name,label,at\nx,a,9999-99-99\n", 2, "at is '9999-99-99', wanted a time"),
        (b"file_name,label,round\nx,a,1.5\n", 2, "round is 1.5, wanted a whole number"),
        (b"file_name,label,split\nx,a,valid\n", 2, "split is 'valid', wanted train or test"),
    ],
)
def test_csv_errors_name_file_and_line(tmp_path, data, line, message):
    (tmp_path / "x.csv").write_bytes(data)
    with pytest.raises(BadInput) as caught:
        list(formats.get("csv").read(tmp_path / "x.csv"))
    assert str(caught.value).startswith(f"{str(tmp_path / 'x.csv')!r}, line {line}: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "broken JSON: "),
        (b"[" * 100_000, "broken JSON: "),
        (b"[1, 2]", "a JSON list, wanted an object {…}"),
        (b'{"label": "a"}', "column 'file_name' is missing; found 'label'"),
        (b'{"file_name": "x", "label": null}', "label is empty"),
        (b'{"file_name": "x", "label": ""}', "label is empty"),
        (b'{"file_name": "x", "label": 3}', "label is 3, wanted text"),
        (b'{"file_name": "x", "label": "a", "label": "b"}', "key 'label' is there twice"),
        (b'{"file_name": "x", "label": "a", "seconds": "1"}', "seconds is '1', wanted a number"),
        (b'{"file_name": "x", "label": "a", "seconds": true}', "seconds is True, wanted a number"),
        (b'{"file_name": "x", "label": "a", "seconds": NaN}', "seconds is nan, wanted a number"),
        (b'{"file_name": "x", "label": "a", "seconds": -1}', "seconds is -1, wanted 0 or more"),
        (b'{"file_name": "x", "label": "caf\xe9"}', "the text is not UTF-8"),
    ],
)
def test_jsonl_errors_name_file_and_line(tmp_path, text, message):
    (tmp_path / "x.jsonl").write_bytes(b'{"file_name": "x", "label": "a"}\n\n' + text + b"\n")
    with pytest.raises(BadInput) as caught:
        list(formats.get("jsonl").read(tmp_path / "x.jsonl"))
    assert str(caught.value).startswith(f"{str(tmp_path / 'x.jsonl')!r}, line 3: {message}")


def test_what_an_earlier_version_let_into_a_log_can_still_be_taken_out(tmp_path):
    odd = Record(file_name="x.jpg", label="rust", at="yesterday", seconds=-5, probability=17)
    assert formats.get("csv").write([odd], tmp_path / "x.csv") == 1


@pytest.mark.parametrize(
    "at", ["2026-11-20T10:00:00Z", "2026-11-20T10:00:00.123+02:00", "2026-11-20 10:00", "2026-11-20"]
)
def test_times_as_other_programs_write_them(tmp_path, at):
    (tmp_path / "x.csv").write_text(f"file_name,label,at,probability\nx,a,{at},1.0000001\n")
    assert [record.at for record in formats.get("csv").read(tmp_path / "x.csv")] == [at]


@every_table
def test_a_table_is_read_line_by_line(tmp_path, name):
    formats.get(name).write([BARE], tmp_path / "x")
    with (tmp_path / "x").open("ab") as file:
        file.write(b"{broken\n")
    reading = formats.get(name).read(tmp_path / "x")
    assert next(reading) == BARE
    with pytest.raises(BadInput, match="line "):
        next(reading)


# ------------------------------------------------------------------------------------------------------ image folders


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_the_tree_is_what_torchvision_reads_file_by_file(tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    written = [
        Record(file_name="b1/x.png", label="oak/ash", path=photo(tmp_path / "i/1.png", 1)),
        Record(file_name="b2/x.png", label="oak/ash", path=photo(tmp_path / "i/2.png", 2)),
        Record(file_name="b2/X.PNG", label="Beech", path=photo(tmp_path / "i/3.png", 3)),
        Record(file_name="b3/x.png", label="beech", path=photo(tmp_path / "i/4.png", 4)),
        Record(file_name="b4/x.png", label="Beech", split="test", path=photo(tmp_path / "i/5.png", 5)),
    ]
    out = tmp_path / "out"
    formats.get("imagefolder").write(written, out)
    of_b2, of_beech = (hashlib.sha256(text).hexdigest()[:8] for text in (b"b2/x.png", b"beech"))
    assert tree(out) == [
        "classes.json",
        "labelloop.jsonl",
        "test/Beech/x.png",
        "train/Beech/X.PNG",
        f"train/beech-{of_beech}/x.png",
        f"train/oak_ash/x-{of_b2}.png",
        "train/oak_ash/x.png",
    ]
    name_of = {entry["folder"]: entry["name"] for entry in json.loads((out / "classes.json").read_bytes())}
    assert name_of == {"oak_ash": "oak/ash", "Beech": "Beech", f"beech-{of_beech}": "beech"}
    train = datasets.ImageFolder(out / "train")
    found = {(name_of[train.classes[label]], Path(file).read_bytes()) for file, label in train.samples}
    assert found == {(record.label, record.path.read_bytes()) for record in written[:4]}
    assert sorted(image.getpixel((0, 0))[0] for image, _ in train) == [1, 2, 3, 4]
    assert len(datasets.ImageFolder(out / "test")) == 1
    read = list(formats.get("imagefolder").read(out))
    assert read == written
    assert [r.path.read_bytes() for r in read] == [r.path.read_bytes() for r in written]


@pytest.mark.parametrize("link", ["copy", "hardlink", "symlink"])
def test_each_way_to_bring_the_images_in(tmp_path, link):
    [record] = records(tmp_path, 1)
    formats.get("imagefolder").write([record], tmp_path / "out", link=link)
    [read] = formats.get("imagefolder").read(tmp_path / "out")
    assert read.path.read_bytes() == record.path.read_bytes()
    assert read.path.samefile(record.path) == (link != "copy")
    assert read.path.is_symlink() == (link == "symlink")


def test_a_copy_can_be_changed_without_touching_the_photo(tmp_path):
    [record] = records(tmp_path, 1)
    before = record.path.read_bytes()
    record.path.chmod(0o400)
    formats.get("imagefolder").write([record], tmp_path / "out")
    [read] = formats.get("imagefolder").read(tmp_path / "out")
    read.path.write_bytes(b"changed")
    assert record.path.read_bytes() == before


def test_a_hard_link_to_another_disk_proposes_a_copy(tmp_path):
    other = Path("/dev/shm")
    if not other.is_dir() or not os.access(other, os.W_OK) or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    with tempfile.TemporaryDirectory(dir=other) as folder:
        record = Record(file_name="x.png", label="a", path=photo(Path(folder, "x.png")))
        with pytest.raises(BadInput, match=r"cannot hardlink '.*x\.png' into the export: .*; choose link copy"):
            formats.get("imagefolder").write([record], tmp_path / "out", link="hardlink")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_link_is_refused(tmp_path):
    with pytest.raises(BadInput, match="link is 'move', wanted copy or hardlink or symlink"):
        formats.get("imagefolder").write(records(tmp_path), tmp_path / "out", link="move")


def test_an_image_that_is_gone_stops_the_export(tmp_path):
    gone = Record(file_name="x.png", label="a", path=tmp_path / "gone.png")
    with pytest.raises(BadInput, match=r"cannot export 'x\.png': no file that can be read at '.*gone\.png'"):
        formats.get("imagefolder").write([*records(tmp_path), gone], tmp_path / "out")
    with pytest.raises(BadInput, match="it has no image file"):
        formats.get("imagefolder").write([BARE], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@pytest.mark.parametrize("link", ["copy", "hardlink", "symlink"])
def test_a_photo_that_is_not_the_labeled_one_any_more_stops_the_export(tmp_path, link):
    path = photo(tmp_path / "images/9.png", 9)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    labeled = Record(file_name="9.png", label="rust", sha256=digest, path=path)
    assert formats.get("imagefolder").write([labeled], tmp_path / "out", link=link) == 1
    photo(path, 200)
    with pytest.raises(BadInput, match=r"'9\.png': '.*' was changed since it was labeled.* labelloop add PROJECT"):
        formats.get("imagefolder").write([*records(tmp_path), labeled], tmp_path / "again", link=link)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out"]


@pytest.mark.parametrize("root", ["", "train/"])
def test_a_foreign_tree_is_read_with_hashes(tmp_path, root):
    data = photo(tmp_path / f"{root}rust/deep/1.png", 1).read_bytes()
    photo(tmp_path / f"{root}mildew/2.JPG", 2)
    photo(tmp_path / f"{root}mildew/.hidden.png")
    photo(tmp_path / ".thumbs/x/3.png")
    (tmp_path / f"{root}rust/notes.txt").touch()
    (tmp_path / "README.txt").touch()
    read = list(formats.get("imagefolder").read(tmp_path))
    assert [(r.file_name, r.label, r.split, r.source) for r in read] == [
        (f"{root}mildew/2.JPG", "mildew", "train", "import"),
        (f"{root}rust/deep/1.png", "rust", "train", "import"),
    ]
    assert (read[1].sha256, read[1].path) == (hashlib.sha256(data).hexdigest(), tmp_path / f"{root}rust/deep/1.png")


def test_a_foreign_tree_with_a_test_folder(tmp_path):
    photo(tmp_path / "train/a/1.png")
    photo(tmp_path / "test/a/2.png")
    read = list(formats.get("imagefolder").read(tmp_path))
    assert [(r.file_name, r.split) for r in read] == [("test/a/2.png", "test"), ("train/a/1.png", "train")]


def test_classes_called_train_and_test(tmp_path):
    photo(tmp_path / "train/1.png")
    photo(tmp_path / "test/2.png")
    assert [r.label for r in formats.get("imagefolder").read(tmp_path)] == ["test", "train"]


def test_a_third_split_and_an_empty_folder_are_told(tmp_path):
    with pytest.raises(BadInput, match="holds no folders: wanted one for each class"):
        list(formats.get("imagefolder").read(tmp_path))
    photo(tmp_path / "train/a/1.png")
    photo(tmp_path / "val/a/1.png")
    with pytest.raises(BadInput, match="holds 'val' beside train and test: move or rename it"):
        list(formats.get("imagefolder").read(tmp_path))


@pytest.mark.parametrize("correct", [lambda path, to: path.rename(to), lambda path, to: path.unlink()])
def test_a_tree_that_was_corrected_by_hand_is_not_read_as_it_was(tmp_path, correct):
    written = [*records(tmp_path, 2), Record(file_name="b.png", label="oak/ash", path=photo(tmp_path / "b.png", 9))]
    out = tmp_path / "out"
    formats.get("imagefolder").write(written, out)
    correct(out / "train/rust/1.png", out / "train/oak_ash/1.png")
    with pytest.raises(
        BadInput, match=r"1 files are not where '.*labelloop\.jsonl' says \(first 'train/rust/1\.png'\)"
    ):
        list(formats.get("imagefolder").read(out))
    assert [record.label for record in formats.get("jsonl").read(out / "labelloop.jsonl")] == [
        "rust",
        "rust",
        "oak/ash",
    ]
    (out / "labelloop.jsonl").unlink()
    corrected = {record.file_name: record.label for record in formats.get("imagefolder").read(out)}
    here = [path.relative_to(out).as_posix() for path in out.rglob("*.png")]
    assert corrected == {file: {"oak_ash": "oak/ash"}.get(file.split("/")[1], "rust") for file in here}


def test_a_link_is_in_its_place_though_its_photo_went(tmp_path):
    [record] = records(tmp_path, 1)
    formats.get("imagefolder").write([record], tmp_path / "out", link="symlink")
    record.path.unlink()
    assert list(formats.get("imagefolder").read(tmp_path / "out")) == [record]


@pytest.mark.parametrize("text", ['["a", "b"]', '{"0": "a"}', "{", '[{"name": "a"}]', "3"])
def test_the_classes_json_of_another_program_is_no_obstacle(tmp_path, text):
    photo(tmp_path / "a/1.png")
    (tmp_path / "classes.json").write_text(text)
    assert [record.label for record in formats.get("imagefolder").read(tmp_path)] == ["a"]


@pytest.mark.parametrize("exported", ["../x.png", "a/../../x.png", "/x.png", "..\\x.png", 3, None])
def test_a_list_that_leads_out_of_its_folder_is_refused(tmp_path, exported):
    line = {"file_name": "x", "label": "a", "exported": exported}
    (tmp_path / "labelloop.jsonl").write_text(json.dumps(line))
    with pytest.raises(BadInput, match=r"labelloop\.jsonl', line 1: exported is "):
        list(formats.get("imagefolder").read(tmp_path))


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("rust", "rust"),
        ("oak/ash\\elm", "oak_ash_elm"),
        ("a:b*c?", "a_b_c_"),
        ("new\nline\0", "new_line_"),
        (" ends. . ", "ends"),
        ("..", "_"),
        (".hidden", "_hidden"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("con .jpg", "_con.jpg"),
        ("CONIN$", "_CONIN$"),
        ("console", "console"),
        ("caf\udce9.jpg", "caf_.jpg"),
        ("e\u0301", "é"),
        ("x" * 300 + ".jpeg", "x" * 115 + ".jpeg"),
        ("🌾" * 100, "🌾" * 30),
    ],
)
def test_safe_names(name, safe):
    assert safe_name(name) == safe


@settings(deadline=None)
@given(st.lists(st.text(max_size=200) | st.sampled_from(["a.jpg", "A.JPG", "a.jpg ", "ß", "ss", "é"]), max_size=30))
def test_names_always_differ_and_fit(wanted):
    names = Names()
    given_out = [names.new(name, name) for name in wanted]
    assert len({name.casefold() for name in given_out}) == len(wanted)
    assert all(0 < len(name.encode()) <= 200 and not set(name) & set('/\\:*?"<>|') for name in given_out)
    assert not any(name.startswith(".") or name.endswith((".", " ")) for name in given_out)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["csv", "imagefolder"])
def test_a_pipe_or_device_is_not_replaced_by_a_file(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="neither a file nor a folder"):
        formats.get(name).write(iter(()), tmp_path / "pipe")
    assert [(path.name, path.is_fifo()) for path in tmp_path.iterdir()] == [("pipe", True)]
