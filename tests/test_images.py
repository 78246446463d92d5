"""Odd files, one by one: what is found, what is said about them, what is shown."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelloop import images
from labelloop.errors import BadInput
from labelloop.images import MAX_PIXELS, Checked, NotReadNow, check, find_files, open_for, open_upright, thumbnail

RED, GREEN, WHITE = (255, 0, 0), (0, 128, 0), (255, 255, 255)
NOT_AN_IMAGE = "not an image (JPEG, PNG, WebP, BMP, GIF or TIFF)"


def corner(size=(64, 32), mode="RGB") -> Image.Image:
    """Green, with a red upper left quarter."""
    image = Image.new("RGB", size, GREEN)
    image.paste(RED, (0, 0, size[0] // 2, size[1] // 2))
    return image.convert(mode)


def noise(size=(64, 48)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    data = BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def close(a, b, within=6) -> bool:
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) <= within


# ---------------------------------------------------------------------------------------------------- finding files


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_files_are_found_recursively_sorted_and_with_slashes(tmp_path):
    for name in ("b/2.jpg", "a.png", "b/1.txt", "b/c/3.tif"):
        touch(tmp_path / name)
    assert find_files(tmp_path) == ["a.png", "b/1.txt", "b/2.jpg", "b/c/3.tif"]


def test_hidden_files_and_litter_are_left_out(tmp_path):
    for name in (
        ".hidden.jpg",
        ".git/x.jpg",
        "Thumbs.db",
        "a/desktop.ini",
        "@eaDir/x.jpg",
        "__MACOSX/x.jpg",
        "a/x.jpg",
    ):
        touch(tmp_path / name)
    assert find_files(tmp_path) == ["a/x.jpg"]


def test_a_hidden_folder_can_itself_be_the_place(tmp_path):
    touch(tmp_path / ".photos/x.jpg")
    assert find_files(tmp_path / ".photos") == ["x.jpg"]


def test_odd_names_survive(tmp_path):
    names = sorted(["a b.jpg", "new\nline.jpg", "🌻.jpg", 'it\'s, "so".jpg', "b\\c.jpg"])
    for name in names:
        touch(tmp_path / name)
    assert find_files(tmp_path) == names


def test_an_undecodable_name_survives(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(encoded(corner(), "JPEG"))
    except OSError:
        pytest.skip("this file system stores Unicode names only")
    assert find_files(tmp_path) == ["caf\udce9.jpg"]
    assert check(tmp_path, "caf\udce9.jpg").problem is None
    assert open_upright(tmp_path / "caf\udce9.jpg").size == (64, 32)


def test_links_are_followed_and_loops_end(tmp_path):
    touch(tmp_path / "elsewhere/deep/1.jpg")
    pool = tmp_path / "pool"
    touch(pool / "own.jpg")
    (pool / "linked").symlink_to(tmp_path / "elsewhere")
    (pool / "file.jpg").symlink_to(tmp_path / "elsewhere/deep/1.jpg")
    (pool / "up").symlink_to(pool)
    (tmp_path / "elsewhere/back").symlink_to(pool)
    (pool / "dangling.jpg").symlink_to(tmp_path / "gone")
    assert find_files(pool) == ["file.jpg", "linked/deep/1.jpg", "own.jpg"]


def test_the_real_path_of_a_folder_wins_over_a_link_to_it(tmp_path):
    touch(tmp_path / "real/1.jpg")
    (tmp_path / "a-link").symlink_to(tmp_path / "real")
    assert find_files(tmp_path) == ["real/1.jpg"]


def test_a_link_to_itself_is_listed_and_checking_it_tells_why(tmp_path):
    (tmp_path / "me.jpg").symlink_to("me.jpg")
    assert find_files(tmp_path) == ["me.jpg"]
    assert check(tmp_path, "me.jpg").problem == "cannot be read: too many levels of symbolic links"


def test_a_missing_folder_and_a_file_are_refused(tmp_path):
    with pytest.raises(BadInput, match=r"'.*nowhere' is missing: wanted a folder"):
        find_files(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"'.*x\.jpg' is not a folder: wanted a folder"):
        find_files(touch(tmp_path / "x.jpg"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_forbidden_folders_and_files_are_told(tmp_path):
    touch(tmp_path / "x.jpg").chmod(0)
    assert check(tmp_path, "x.jpg").problem == "cannot be read: permission denied"
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        with pytest.raises(BadInput, match=r"folder '.*closed' cannot be read: permission denied"):
            find_files(tmp_path)
    finally:
        closed.chmod(0o700)


# ---------------------------------------------------------------------------------------------------- checking files


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_good_file_is_described_and_any_cut_is_noticed(tmp_path, kind):
    data = encoded(noise(), kind)
    path = tmp_path / "x"
    path.write_bytes(data)
    os.utime(path, ns=(1, 1_700_000_000_123_456_700))
    sha256 = hashlib.sha256(data).hexdigest()
    assert check(tmp_path, "x") == Checked("x", len(data), path.stat().st_mtime_ns, sha256, 64, 48, kind, None)
    path.write_bytes(data[: len(data) // 2])
    cut = check(tmp_path, "x")
    assert cut.problem is not None and cut.sha256 == hashlib.sha256(data[: len(data) // 2]).hexdigest()
    with pytest.raises(BadInput, match=r"image '.*x': "):
        open_upright(path)
    assert path.read_bytes() == data[: len(data) // 2]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_cut_photo_is_called_truncated(tmp_path, kind):
    (tmp_path / "x").write_bytes(encoded(noise(), kind)[:-2000])
    assert check(tmp_path, "x").problem == "truncated"


def test_a_cut_progressive_photo_is_noticed(tmp_path):
    (tmp_path / "x").write_bytes(encoded(noise(), "JPEG", progressive=True)[:-500])
    assert check(tmp_path, "x").problem == "truncated"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty file"),
        (b"this is text", NOT_AN_IMAGE),
        (b"BMW is a car, not a picture", NOT_AN_IMAGE),
        (b"BM" + b"\0" * 12 + b"\x07\0\0\0" + b"\0" * 100, "damaged: Unsupported BMP header type (7)"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC or AVIF image: convert it to JPEG or PNG"),
    ],
)
def test_what_is_no_image_is_said_in_plain_words(tmp_path, data, problem):
    (tmp_path / "x.jpg").write_bytes(data)
    assert check(tmp_path, "x.jpg").problem == problem
    with pytest.raises(BadInput) as caught:
        open_upright(tmp_path / "x.jpg")
    assert str(caught.value) == f"image {str(tmp_path / 'x.jpg')!r}: {problem}"


def test_a_missing_file_and_a_folder_are_values_too(tmp_path):
    assert check(tmp_path, "gone.jpg") == Checked("gone.jpg", problem="cannot be read: no such file or directory")
    (tmp_path / "folder.jpg").mkdir()
    assert check(tmp_path, "folder.jpg").problem == "cannot be read: is a directory"


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (OSError(5, "Input/output error"), NotReadNow, "cannot be read: input/output error"),
        (MemoryError(), NotReadNow, "cannot be read: not enough memory is left for it"),
        (
            MemoryError("Unable to allocate"),
            NotReadNow,
            "cannot be read: not enough memory is left for it (Unable to allocate)",
        ),
        (OSError("image file is truncated (3 bytes not processed)"), BadInput, "truncated"),
        (OSError(22, "Invalid argument"), BadInput, "cannot be read: invalid argument"),  # a place before the beginning
    ],
)
def test_what_is_wrong_with_a_file_is_told_from_what_is_wrong_with_the_machine(
    tmp_path, monkeypatch, error, kind, said
):
    def fail(image):
        raise error

    corner().save(tmp_path / "x.png")
    monkeypatch.setattr(images, "_rgb", fail)
    with pytest.raises(BadInput) as caught:
        open_upright(tmp_path / "x.png")
    assert type(caught.value) is kind
    assert str(caught.value) == f"image {str(tmp_path / 'x.png')!r}: {said}"


def png_bomb(width: int, height: int) -> bytes:
    """A PNG that promises this many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_bomb_is_never_decoded(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_bomb(30_000, 30_000))
    checked = check(tmp_path, "bomb.png")
    assert (checked.width, checked.height) == (30_000, 30_000)
    assert (
        checked.problem == "too large: 30000 × 30000 pixels, at most 178 megapixels; scale it down or cut it into tiles"
    )
    with pytest.raises(BadInput, match="30000 × 30000"):
        open_upright(tmp_path / "bomb.png", 100)


def test_many_pixels_within_the_limit_are_only_limited_by_memory(tmp_path):
    (tmp_path / "wide.png").write_bytes(encoded(Image.new("1", (100_000, 1000)), "PNG"))  # Pillow would warn
    assert check(tmp_path, "wide.png").problem is None
    assert MAX_PIXELS <= 2 * Image.MAX_IMAGE_PIXELS


def test_odd_metadata_is_no_reason_to_refuse_good_pixels(tmp_path):
    damaged_exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x0f\x01\x02\0\xff\xff\0\0\xff\xff\0\0\x12\x01"
    (tmp_path / "x.jpg").write_bytes(encoded(corner(), "JPEG", exif=damaged_exif))
    assert check(tmp_path, "x.jpg").problem is None
    assert open_upright(tmp_path / "x.jpg").size == (64, 32)


SEEDS = [encoded(noise((9, 7)), kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")]
SEEDS += [encoded(noise((9, 7)), "TIFF", compression=name) for name in ("tiff_lzw", "jpeg", "tiff_adobe_deflate")]
SEEDS += [encoded(noise((9, 7)), kind, exif=Image.Exif()) for kind in ("JPEG", "PNG", "WEBP")]


@settings(deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=8),
    st.integers(0, 400),
)
def test_no_damaged_file_raises_anything_unforeseen(tmp_path_factory, data, changes, cut):
    folder = tmp_path_factory.getbasetemp()
    changed = bytearray(data[: len(data) - cut] if cut < len(data) else data)
    for position, value in changes:
        changed[position % len(changed)] = value
    (folder / "fuzzed").write_bytes(changed)
    problem = check(folder, "fuzzed").problem
    assert problem != ""
    try:
        assert open_upright(folder / "fuzzed", 5).mode == "RGB"
    except BadInput as error:
        assert "fuzzed" in str(error)


# ----------------------------------------------------------------------------------------------------- opening files


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})],
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_brought_upright(tmp_path, kind, options, orientation):
    stored_from_upright = {
        1: lambda i: i,
        2: lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda i: i.transpose(Image.Transpose.ROTATE_180),
        4: lambda i: i.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda i: i.transpose(Image.Transpose.TRANSPOSE),
        6: lambda i: i.transpose(Image.Transpose.ROTATE_90),  # the viewer turns it by 270 degrees
        7: lambda i: i.transpose(Image.Transpose.TRANSVERSE),
        8: lambda i: i.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "x").write_bytes(encoded(stored_from_upright(corner()), kind, exif=exif, **options))
    for longest, size in ((None, (64, 32)), (32, (32, 16))):
        image = open_upright(tmp_path / "x", longest)
        assert image.size == size
        assert close(image.getpixel((2, 2)), RED, 30)
        assert close(image.getpixel((size[0] - 3, 2)), GREEN, 30)
        assert close(image.getpixel((2, size[1] - 3)), GREEN, 30)
    checked = check(tmp_path, "x")
    assert (checked.width, checked.height) == (64, 32)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("1", "PNG"),
        ("L", "JPEG"),
        ("L", "TIFF"),
        ("P", "GIF"),
        ("P", "PNG"),
        ("P", "BMP"),
        ("LA", "PNG"),
        ("LA", "TIFF"),
        ("RGBA", "PNG"),
        ("RGBA", "WEBP"),
        ("RGBA", "TIFF"),
        ("RGBX", "TIFF"),
        ("CMYK", "JPEG"),
        ("CMYK", "TIFF"),
        ("YCbCr", "TIFF"),
        ("YCbCr", "JPEG"),
        ("LAB", "TIFF"),
    ],
)
def test_every_mode_becomes_rgb_of_the_same_picture(tmp_path, mode, kind):
    plain = Image.new("RGB", (40, 40), "black")
    plain.paste("white", (0, 0, 20, 40))
    (tmp_path / "x").write_bytes(encoded(plain.convert(mode), kind))
    assert check(tmp_path, "x").problem is None
    for longest in (None, 20):
        image = open_upright(tmp_path / "x", longest)
        assert image.mode == "RGB"
        assert close(image.getpixel((2, 5)), (255, 255, 255), 5)
        assert close(image.getpixel((image.width - 3, 5)), (0, 0, 0), 5)


def test_cmyk_red_is_red(tmp_path):
    (tmp_path / "x.jpg").write_bytes(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    assert close(open_upright(tmp_path / "x.jpg").getpixel((8, 8)), RED)


def transparent_palette() -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    return encoded(image, "PNG", transparency=b"\xff\x00")


def half_transparent() -> bytes:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 255, 0))
    return encoded(image, "PNG")


def transparent_grey() -> bytes:
    image = Image.new("LA", (2, 1), (77, 255))
    image.putpixel((1, 0), (9, 0))
    return encoded(image, "PNG")


def colour_key() -> bytes:
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), (0, 0, 255))
    return encoded(image, "PNG", transparency=(0, 0, 255))


@pytest.mark.parametrize(
    ("data", "first"),
    [(transparent_palette(), RED), (half_transparent(), RED), (transparent_grey(), (77,) * 3), (colour_key(), RED)],
)
def test_transparency_lies_over_white(tmp_path, data, first):
    (tmp_path / "x.png").write_bytes(data)
    image = open_upright(tmp_path / "x.png")
    assert [image.getpixel((0, 0)), image.getpixel((1, 0))] == [first, WHITE]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_shown(tmp_path, kind):
    frames = [Image.new("RGB", (20, 10), colour) for colour in (RED, GREEN, WHITE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    (tmp_path / "x").write_bytes(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert check(tmp_path, "x").problem is None
    assert open_upright(tmp_path / "x").getpixel((5, 5)) == RED


@pytest.mark.parametrize(("kind", "dtype"), [("TIFF", "<u2"), ("TIFF", "<i4"), ("TIFF", "<f4"), ("PNG", "<u2")])
def test_a_deep_gradient_is_stretched_to_8_bits(tmp_path, kind, dtype):
    gradient = np.tile(np.arange(1000, 2001), (4, 1)).astype(dtype)  # 1000 … 2000
    gradient[0, 0] = 65535  # a hot pixel
    (tmp_path / "x").write_bytes(encoded(Image.fromarray(gradient), kind))
    grey = np.asarray(open_upright(tmp_path / "x"))[..., 0]
    assert grey.shape == (4, 1001)
    # Of 4004 values in order, the 0.5th percentile is number 20.015 (counted from 0), the 99.5th number 3982.985. The
    # hot pixel takes 1000 away from the bottom and adds one at the top: numbers 20 and 3982 are 1005 and 1995.
    expected = np.clip((np.arange(1000, 2001) - 1005) / (1995 - 1005), 0, 1) * 255
    assert np.abs(grey[1] - expected).max() <= 1
    assert grey[0, 0] == 255


def test_a_big_endian_tiff_of_16_bits_gives_the_same_picture(tmp_path):
    gradient = np.tile(np.arange(1000, 2001), (4, 1))
    (tmp_path / "little").write_bytes(encoded(Image.fromarray(gradient.astype("<u2")), "TIFF"))
    (tmp_path / "big").write_bytes(encoded(Image.fromarray(gradient.astype(">u2")), "TIFF"))
    assert (tmp_path / "big").read_bytes()[:2] == b"MM"
    assert open_upright(tmp_path / "big").tobytes() == open_upright(tmp_path / "little").tobytes()


def test_a_constant_deep_image_is_mid_grey_and_one_speck_stays_visible(tmp_path):
    flat = np.full((50, 50), 30_000, dtype=np.uint16)
    (tmp_path / "x.tif").write_bytes(encoded(Image.fromarray(flat), "TIFF"))
    assert open_upright(tmp_path / "x.tif").getcolors() == [(2500, (128, 128, 128))]
    flat[7, 9] = 30_001
    (tmp_path / "x.tif").write_bytes(encoded(Image.fromarray(flat), "TIFF"))
    assert sorted(open_upright(tmp_path / "x.tif").getcolors()) == [(1, (255, 255, 255)), (2499, (0, 0, 0))]


def test_holes_in_a_float_image_are_black_and_nothing_but_holes_is_refused(tmp_path):
    values = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    values[3, 3] = np.nan
    (tmp_path / "x.tif").write_bytes(encoded(Image.fromarray(values), "TIFF"))
    assert open_upright(tmp_path / "x.tif").getpixel((3, 3)) == (0, 0, 0)
    (tmp_path / "x.tif").write_bytes(encoded(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"))
    with pytest.raises(BadInput, match="no pixel holds a finite number"):
        open_upright(tmp_path / "x.tif")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_longest_shrinks_and_never_enlarges(tmp_path, kind):
    (tmp_path / "x").write_bytes(encoded(noise((400, 300)), kind))
    assert open_upright(tmp_path / "x", 100).size == (100, 75)
    assert open_upright(tmp_path / "x", 4000).size == (400, 300)
    (tmp_path / "x").write_bytes(encoded(noise((900, 1)), kind))
    assert open_upright(tmp_path / "x", 10).size == (10, 1)


def test_a_shrunken_photo_looks_like_the_whole_one_shrunken(tmp_path):
    smooth = noise((8, 6)).resize((800, 600), Image.Resampling.BICUBIC)
    (tmp_path / "x.jpg").write_bytes(encoded(smooth, "JPEG", quality=95))
    ours = np.asarray(open_upright(tmp_path / "x.jpg", 100), dtype=float)
    fair = np.asarray(open_upright(tmp_path / "x.jpg").resize((100, 75), Image.Resampling.LANCZOS), dtype=float)
    assert np.abs(ours - fair).mean() < 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("stored", "opened"),
    [
        ((300, 200), (300, 200)),  # not twice 150: left alone, and nothing is enlarged
        ((449, 300), (225, 150)),  # 100 × 1.5 is what the shorter side keeps
        ((1300, 900), (325, 225)),  # a sixth would be enough: the decoder has halves, quarters and eighths
        ((2000, 100), (400, 20)),  # at most four times 100
    ],
)
def test_an_image_for_a_network_is_made_smaller_by_whole_factors(tmp_path, kind, stored, opened):
    (tmp_path / "x").write_bytes(encoded(noise(stored), kind))
    if kind == "PNG" and stored == (1300, 900):
        opened = (217, 150)
    assert open_for(tmp_path / "x", 100).size == opened


def test_an_image_for_a_network_is_upright_and_looks_like_the_whole_one_shrunken(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    smooth = noise((8, 6)).resize((800, 600), Image.Resampling.BICUBIC)
    for kind in ("JPEG", "PNG"):
        (tmp_path / "x").write_bytes(encoded(smooth, kind, exif=exif))
        whole, small = open_upright(tmp_path / "x"), open_for(tmp_path / "x", 100)
        assert (whole.size, small.size) == ((600, 800), (150, 200))
        fair = whole.resize((150, 200), Image.Resampling.LANCZOS)
        assert np.abs(np.asarray(small, dtype=float) - np.asarray(fair, dtype=float)).mean() < 2


def test_an_image_for_a_network_that_is_cut_or_gone_is_told_by_name(tmp_path):
    (tmp_path / "x.jpg").write_bytes(encoded(noise((900, 700)), "JPEG")[:-2000])
    with pytest.raises(BadInput, match=r"image '.*x\.jpg': truncated"):
        open_for(tmp_path / "x.jpg", 100)
    with pytest.raises(BadInput, match="no such file"):
        open_for(tmp_path / "y.jpg", 100)


# --------------------------------------------------------------------------------------------------------- thumbnails


def test_a_small_thumbnail_is_lossless(tmp_path):
    (tmp_path / "x.png").write_bytes(encoded(noise((64, 48)), "PNG"))
    data, media = thumbnail(tmp_path / "x.png", 256)
    assert media == "image/png"
    assert np.array_equal(np.asarray(Image.open(BytesIO(data))), np.asarray(noise((64, 48))))


def test_a_thumbnail_is_a_small_jpeg_without_metadata(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "a camera that tells where it was"
    stored = encoded(noise((400, 300)), "JPEG", exif=exif, comment=b"secret", icc_profile=b"profile")
    (tmp_path / "x.jpg").write_bytes(stored)
    data, media = thumbnail(tmp_path / "x.jpg", 200)
    with Image.open(BytesIO(data)) as image:
        assert (media, image.format, image.size) == ("image/jpeg", "JPEG", (200, 150))
        assert not image.getexif() and "comment" not in image.info and "icc_profile" not in image.info
