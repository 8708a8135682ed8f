import dataclasses
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from rich.console import Console

from idfsr_jax.data import prepare as prepare_module
from idfsr_jax.data.index import FaceImages, load_index
from idfsr_jax.data.prepare import prepare
from idfsr_jax.face import central_face, find_faces, read_image
from idfsr_jax.face.chip import ARCFACE_CHIP, cut_chip
from idfsr_jax.io.errors import InputError
from idfsr_jax.networks.id_encoder import chip_descriptors, load_id_encoder

KEPT = ["Ann/1.jpg", "Ann/2.jpg", "Ann/3.png", "Bea/1.jpg", "Bea/2.jpg", "Cid/1.jpg"]


@pytest.fixture(scope="module")
def prepared(photographs, tmp_path_factory):
    """The report and folder of one run over the good and the bad."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    return prepare(photographs, out, workers=0, progress=False), out


def test_one_bad_file_never_stops_the_rest(prepared):
    report, out = prepared
    assert report.by_reason() == {
        "unreadable": ["Bea/cut.jpg", "Bea/empty.jpg", "Cid/gone.jpg", "Cid/notes.txt"],
        "copy of another": ["Ann/4.jpg"],
        "face too small": ["Dot/small.png"],
        "no face": ["Dot/wall.png"],
    }
    assert all(refusal.photo in refusal.message for refusal in report.refusals)
    assert report.stray == ("Cid/deeper", "list.csv")
    assert report.people_lost == ("Dot",)
    assert (report.photographs, report.kept) == (13, 6)
    assert (report.splits["train"].people, report.splits["train"].people_with_two) == (3, 2)
    assert load_index(out, "train").photos == tuple(KEPT)
    assert sorted(path.name for path in out.iterdir()) == ["identity_faces", "report.json"]


def test_the_report_can_be_printed_and_read(prepared):
    report, out = prepared
    text = io.StringIO()
    report.print(Console(file=text, width=140))
    for expected in (
        "lost: all photographs refused",
        "Dot",
        "6 of 13 photographs kept",
        "refused: no face",
        "Dot/wall.png",
        "photographs a second",
    ):
        assert expected in text.getvalue()
    assert json.loads((out / "report.json").read_text())["kept"] == 6


def test_descriptors_are_dlibs(prepared, photographs):
    import dlib
    import face_recognition_models

    recogniser = dlib.face_recognition_model_v1(face_recognition_models.face_recognition_model_location())
    index = load_index(prepared[1], "train")
    image = read_image(photographs / index.photos[1])
    face = central_face(find_faces(image), image, "photo")
    points = [dlib.point(*(int(v) for v in np.floor(point))) for point in face.landmarks]
    x, y, w, h = face.box
    shape = dlib.full_object_detection(dlib.rectangle(x, y, x + w - 1, y + h - 1), points)
    theirs = np.array(recogniser.compute_face_descriptor(image, shape))
    # dlib's own points are whole pixels; another person would be 0.6 away or more.
    assert np.linalg.norm(index.embeddings[1] - theirs) < 0.12


def test_descriptors_are_the_chosen_encoders(photographs, tiny_arcface, prepared, tmp_path):
    choice = f"arcface:{tiny_arcface}"
    report = prepare(photographs, tmp_path / "out", workers=0, encoder=choice, progress=False)
    encoder, index = load_id_encoder(choice), load_index(tmp_path / "out", "train")
    assert report.encoder == index.encoder == encoder.name and index.photos == tuple(KEPT)
    image = read_image(photographs / index.photos[1])
    face = central_face(find_faces(image), image, "photo")
    chip = cut_chip(image, face.landmarks, ARCFACE_CHIP)
    expected = chip_descriptors(encoder, jnp.asarray(chip[None], jnp.float32))[0]
    np.testing.assert_allclose(index.embeddings[1], expected, atol=1e-4)
    # dlib's data set of the same photographs is another one.
    assert prepared[0].fingerprint != report.fingerprint


def test_landmarks_lie_on_the_stored_picture(prepared):
    index, images = load_index(prepared[1], "train"), FaceImages(prepared[1], "train")
    image = images.read(0)
    found = central_face(find_faces(image), image, "crop").landmarks / len(image)
    assert np.linalg.norm(found - index.landmarks[0], axis=1).mean() < 0.015


def test_a_finished_data_set_is_left_alone(prepared, photographs, monkeypatch):
    report, out = prepared
    monkeypatch.setattr(prepare_module, "extract_all", None)  # Reading anything would fail.
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = prepare(photographs, out, workers=0, progress=False)
    assert again == report
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(InputError, match="other photographs or settings"):
        prepare(photographs, out, workers=0, val_people=0.4, progress=False)


def test_splits(prepared, photographs, tmp_path):
    splits = tmp_path / "splits"
    splits.mkdir()
    (splits / "train.txt").write_text("Ann\nNobody\n")
    (splits / "val.txt").write_text("Cid\n")
    report = prepare(photographs, tmp_path / "out", splits=splits, workers=0, progress=False)
    assert {split: count.photographs for split, count in report.splits.items()} == {"train": 3, "val": 1}
    assert report.people_left_out == 2 and report.people_missing == ("Nobody",)
    whole, part = load_index(prepared[1], "train"), load_index(tmp_path / "out", "val")
    assert part.people == ("Cid",)
    # Another place in the batch, the same descriptor.
    np.testing.assert_allclose(part.embeddings[0], whole.embeddings[-1], atol=1e-6)


def test_a_split_without_a_usable_photograph_is_refused(photographs, tmp_path):
    splits = tmp_path / "splits"
    splits.mkdir()
    (splits / "train.txt").write_text("Cid\n")
    (splits / "val.txt").write_text("Dot\n")
    with pytest.raises(InputError, match="no photograph of the split val") as error:
        prepare(photographs, tmp_path / "out", splits=splits, workers=0, progress=False)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "identity_faces").exists()


def test_senseless_places_are_refused(photographs, tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", photographs / "out"):
        with pytest.raises(InputError):
            prepare(photographs, out, progress=False)


# However slow whoever is to kill it may be, it is not done by then: it stops by itself before one of the results.
SCRIPT = """
    import sys, time
    if __name__ == "__main__":
        from idfsr_jax.data import prepare as module
        module._PHOTOGRAPHS_A_PART = 2
        real = module.extract_all
        def counted(photographs, *rest):
            print("READS", len(photographs), flush=True)
            for number, result in enumerate(real(photographs, *rest)):
                if number == int(sys.argv[4]):
                    time.sleep(600)
                yield result
        module.extract_all = counted
        report = module.prepare(sys.argv[1], sys.argv[2], workers=int(sys.argv[3]), progress=False)
        print("KEPT", report.kept, flush=True)
"""


def _children(pid: int) -> list[int]:
    tasks = pathlib.Path(f"/proc/{pid}/task")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]


def _alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _all_records(out: pathlib.Path) -> list[dict]:
    builder = tfds.builder_from_directory(out / "identity_faces" / "1.1.0")
    return list(builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()}))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_killed_in_the_middle_it_goes_on_and_ends_with_the_same_data_set(photographs, tmp_path):
    album = tmp_path / "album"
    (album / "Ann").mkdir(parents=True)
    for number in range(12):
        image = read_image(photographs / KEPT[number % len(KEPT)])
        Image.fromarray(image[number // 6 :]).save(album / "Ann" / f"{number:02d}.jpg")
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))

    def command(out, workers, stops_at=-1):
        return [sys.executable, str(script), str(album), str(out), str(workers), str(stops_at)]

    def run(out):
        done = subprocess.run(command(out, 0), env=environment, capture_output=True, text=True, check=True, timeout=200)
        return done.stdout.split()

    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(prepare_module.__file__).parents[2])}
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command(broken, 2, stops_at=5), env=environment, **silent)
    deadline = time.monotonic() + 120
    while len(list((broken / "parts").glob("*.npz"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    workers = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(list((broken / "parts").glob("*.npz")))
    assert finished == 2 and workers
    assert not (broken / "report.json").exists()

    assert run(broken) == ["READS", str(12 - 2 * finished), "KEPT", "12"]
    assert run(whole) == ["READS", "12", "KEPT", "12"]
    # Record by record: the order of fields inside a protocol buffer, and so the files' bytes, are left to chance.
    first, second = (_all_records(out) for out in (broken, whole))
    assert len(first) == len(second) == 12
    for left, right in zip(first, second, strict=True):
        assert left.keys() == right.keys()
        for name in left:
            np.testing.assert_array_equal(left[name], right[name])
    assert not (broken / "parts").exists()
    assert not [pid for pid in workers if _alive(pid)]  # A dead parent's workers die too.


def test_a_data_set_without_its_report_is_written_anew(prepared, photographs, tmp_path):
    """As after a kill between the last two writes."""
    out = tmp_path / "out"
    shutil.copytree(prepared[1], out)
    (out / "report.json").unlink()
    (out / "identity_faces" / "incomplete.XYZ_1.1.0").mkdir()
    report = prepare(photographs, out, workers=0, progress=False)
    assert report.kept == 6
    assert [path.name for path in (out / "identity_faces").iterdir()] == ["1.1.0"]


def test_names_in_a_report_are_shown_as_they_are(prepared):
    report, _ = prepared
    refusals = tuple(dataclasses.replace(each, photo="[red]/[/b] :heart:.jpg") for each in report.refusals[:1])
    text = io.StringIO()
    dataclasses.replace(report, refusals=refusals, stray=("[bold]x",), people_lost=("[/i]",)).print(
        Console(file=text, width=160)
    )
    for name in ("[red]/[/b] :heart:.jpg", "[bold]x", "[/i]"):
        assert name in text.getvalue()


def test_people_and_photographs_whose_names_are_no_text(photographs, tmp_path):
    folder = tmp_path / "photos" / os.fsdecode(b"Ren\xe9 [b]")
    folder.mkdir(parents=True)
    for name in (b"\xff.jpg", b"b.jpg"):
        shutil.copy(photographs / "Ann" / f"{1 + (name == b'b.jpg')}.jpg", folder / os.fsdecode(name))
    report = prepare(tmp_path / "photos", tmp_path / "out", workers=0, progress=False)
    assert report.kept == 2
    index = load_index(tmp_path / "out", "train")
    assert index.people == ("Ren\\xe9 [b]",) and "Ren\\xe9 [b]/\\xff.jpg" in index.photos
    with pytest.raises(InputError, match=r"--val-people 0\.1"):
        load_index(tmp_path / "out", "val")
