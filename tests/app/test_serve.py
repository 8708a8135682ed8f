"""What a server that was killed leaves behind goes when the next one starts."""

import fcntl

from idfsr_jax.app.serve import remove_abandoned


def test_folders_of_killed_servers_go_and_those_of_others_stay(tmp_path):
    for name in ("idfsr-app-killed", "idfsr-app-running", "idfsr-app-starting", "other"):
        (tmp_path / name / "visit").mkdir(parents=True)
        (tmp_path / name / "visit" / "face.png").write_bytes(b"x")
    for name in ("idfsr-app-killed", "idfsr-app-running", "other"):
        (tmp_path / name / ".lock").touch()
    (tmp_path / "idfsr-app-link").symlink_to(tmp_path / "other")
    with open(tmp_path / "idfsr-app-running" / ".lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_abandoned(tmp_path)
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {"idfsr-app-running", "idfsr-app-starting", "idfsr-app-link", "other"}
    remove_abandoned(tmp_path)
    assert not (tmp_path / "idfsr-app-running").exists() and (tmp_path / "other" / "visit" / "face.png").is_file()
