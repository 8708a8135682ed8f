"""The short form of `python -m benchmarks.hostile_files`: its files are read, and nothing is restored."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# In a process of its own, whose memory is nobody else's.
_READ = """
import json, re, sys
from pathlib import Path
from idfsr_jax.io.errors import UnreadableImage
from idfsr_jax.face import read_image

# The most so far; `resource` would tell the most of the process that started this one, if that is more.
megabytes = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before, came = megabytes(), {}
for name in sorted(json.loads(sys.argv[2])):
    try:
        came[name] = list(read_image(Path(sys.argv[1]) / name).shape)
    except UnreadableImage as error:
        came[name] = str(error)
print(json.dumps({"came": came, "grown": megabytes() - before}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="makes pipes and devices, and counts memory as Linux does")
def test_every_file_is_read_or_refused_in_a_sentence_and_memory_is_bounded(tmp_path):
    from benchmarks.hostile_files import make_files

    folder = tmp_path / "files"
    names = make_files(folder)
    command = [sys.executable, "-c", _READ, str(folder), json.dumps(names)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    came = facts["came"]
    assert len(came) == len(names) == 60
    sentences = {name: said for name, said in came.items() if isinstance(said, str)}
    for name, said in sentences.items():
        assert said.startswith(f"{folder / name}: ") and said.endswith(".") and "\n" not in said, name
    shapes = [shape for shape in came.values() if not isinstance(shape, str)]
    assert len(sentences) >= 25 and len(shapes) >= 30 and all(shape[2] == 3 for shape in shapes)
    assert facts["grown"] < 200, "megabytes"
