# SPDX-License-Identifier: Apache-2.0
"""The cache of samples: bounded, whole whatever happens to writers and disks, and dispensable."""

import hashlib
import logging
import os
import subprocess
import sys

import pytest

from neuro_ros.gestures.datasets import MemoryCache, SampleCache
from neuro_ros.gestures.datasets import cache as cache_module

# Run by itself in the child processes: it needs the standard library only, and starts at once.
MODULE = cache_module.__file__


def key(number):
    return hashlib.sha256(str(number).encode()).hexdigest()


def held(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


def test_what_is_put_is_got_by_anybody(tmp_path):
    cache = SampleCache(tmp_path / "deep" / "er")
    assert cache.get(key(1)) is None
    for content in (b"", b"abc", os.urandom(100_000)):
        cache.put(key(1), content)
        assert SampleCache(tmp_path / "deep" / "er").get(key(1)) == content
    assert (cache.hits, cache.misses, cache.damaged) == (0, 1, 0)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "head"])
def test_damage_is_noticed_and_thrown_away(tmp_path, damage):
    cache = SampleCache(tmp_path)
    cache.put(key(1), b"x" * 1000)
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    path.write_bytes(
        {"cut": data[:500], "flip": data[:700] + b"y" + data[701:], "empty": b"", "head": data[:10]}[damage]
    )
    assert cache.get(key(1)) is None
    assert (cache.hits, cache.damaged) == (0, 1)
    assert not list(tmp_path.iterdir())


def test_the_folder_keeps_within_its_bound_and_what_is_used_stays(tmp_path):
    cache = SampleCache(tmp_path, max_bytes=10_000)
    for number in range(100):
        cache.put(key(number), bytes(1000))
        for path in tmp_path.iterdir():  # as if each took a second
            os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 1_000_000_000))
        assert cache.get(key(0)) is not None  # used all the time
        assert held(tmp_path) <= 10_000
    assert cache.get(key(99)) is not None
    assert cache.get(key(1)) is None
    cache.put(key(1000), bytes(20_000))  # larger than all
    assert cache.get(key(1000)) is None
    assert cache.get(key(99)) is not None


def test_what_others_have_written_counts_too(tmp_path):
    for number in range(5):
        SampleCache(tmp_path, max_bytes=1 << 20).put(key(number), bytes(2000))
    SampleCache(tmp_path, max_bytes=5000).put(key(9), bytes(2000))
    assert held(tmp_path) <= 5000


def test_partial_files_of_the_dead_go_and_those_of_the_living_and_foreign_ones_stay(tmp_path):
    old, young, foreign = (tmp_path / name for name in ("a.partial", "b.partial", "notes.txt"))
    for path in (old, young, foreign):
        path.write_bytes(b"half")
        os.utime(path, (1000.0, 1000.0))
    os.utime(young, (9000.0, 9000.0))
    SampleCache(tmp_path, clock_s=lambda: 10_000.0).put(key(1), b"x")
    assert not old.exists()
    assert young.exists()
    assert foreign.exists()


def test_without_space_work_goes_on_without_the_cache(tmp_path, monkeypatch, caplog):
    cache = SampleCache(tmp_path)
    cache.put(key(1), b"one")

    def no_space(self, path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SampleCache, "_write", no_space)
    with caplog.at_level(logging.WARNING):
        for number in range(2, 6):
            cache.put(key(number), b"more")
    assert cache.trouble == "No space left on device"
    assert len(caplog.records) == 1
    assert cache.get(key(1)) == b"one"
    assert cache.get(key(2)) is None


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path):
    # A file system with room for the first part only: the limit on the size of files is the kernel's own refusal.
    code = (
        "import resource, runpy, signal, sys\n"
        "SampleCache = runpy.run_path(sys.argv[2])['SampleCache']\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "cache = SampleCache(sys.argv[1])\n"
        "cache.put('a' * 64, bytes(100_000))\n"
        "print(cache.trouble, cache.get('a' * 64))\n"
    )
    result = subprocess.run([sys.executable, "-c", code, tmp_path, MODULE], capture_output=True, text=True, timeout=120)
    assert result.stdout == "File too large None\n", result.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_is_trouble_and_no_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    cache = SampleCache(tmp_path / "file")
    cache.put(key(1), b"x")
    assert cache.trouble
    assert cache.get(key(1)) is None


WRITER = """
import hashlib, runpy, sys
SampleCache = runpy.run_path(sys.argv[3])["SampleCache"]
cache = SampleCache(sys.argv[1], max_bytes=200_000)
print("up", flush=True)
for turn in range(int(sys.argv[2])):
    for number in range(40):
        name = hashlib.sha256(str(number).encode()).hexdigest()
        content = name.encode() * (100 + number)
        found = cache.get(name)
        if found is not None and found != content:
            sys.exit("torn")
        cache.put(name, content)
print("damaged", cache.damaged, cache.trouble, flush=True)
"""


def test_writers_beside_each_other_and_a_killed_one_leave_whole_entries(tmp_path, counts):
    turns = counts("turns of cache writers", reduced=10, full=200)
    run = [sys.executable, "-c", WRITER, str(tmp_path)]
    victim = subprocess.Popen([*run, "1000000", MODULE], stdout=subprocess.PIPE, text=True)
    try:
        assert victim.stdout.readline() == "up\n"
        others = [subprocess.Popen([*run, str(turns), MODULE], stdout=subprocess.PIPE, text=True) for _ in range(2)]
        first, _ = others[0].communicate(timeout=300)
    finally:
        victim.kill()
        victim.communicate()
    second, _ = others[1].communicate(timeout=300)
    assert first == second == "up\ndamaged 0 \n"
    cache = SampleCache(tmp_path, max_bytes=200_000)
    for number in range(40):
        content = cache.get(key(number))
        assert content in (None, key(number).encode() * (100 + number))
    assert cache.damaged == 0
    assert cache.hits > 5


def test_memory_keeps_what_came_first_and_leaves_the_rest_to_the_cache_behind(tmp_path):
    behind = SampleCache(tmp_path)
    cache = MemoryCache(max_bytes=250, behind=behind)
    for number in range(4):
        cache.put(key(number), bytes(100))
    assert [cache.get(key(number)) for number in range(4)] == [bytes(100)] * 4
    assert behind.hits == 2  # two fit into memory
    assert cache.get(key(9)) is None
    again = MemoryCache(max_bytes=250, behind=SampleCache(tmp_path))
    assert [again.get(key(number)) for number in (0, 0, 1, 2)] == [bytes(100)] * 4
    assert again.behind.hits == 3
    alone = MemoryCache(max_bytes=50)
    alone.put(key(0), bytes(100))
    assert alone.get(key(0)) is None
