"""Pickles of plain data are read whatever wrote them, and a hostile one runs nothing."""

import collections
import contextlib
import functools
import operator
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from flp_base.errors import SourceError
from flp_datasets import plain_pickle
from flp_datasets.plain_pickle import load_plain_pickle

ADVICE = "write HDF5"
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 writes a ``str``."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, value: str | bytes) -> None:
        content = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def as_python_2(path: Path, value: object) -> Path:
    with path.open("wb") as file:
        Python2Pickler(file, protocol=2).dump(value)
    path.write_bytes(path.read_bytes().replace(b"numpy._core", b"numpy.core"))
    return path


def load(tmp_path: Path, content: bytes) -> object:
    path = tmp_path / "some.pkl"
    path.write_bytes(content)
    return load_plain_pickle(path, ADVICE)


def refused(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(SourceError) as caught:
        load(tmp_path, content)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(str(tmp_path / "some.pkl"))
    assert message.endswith(ADVICE)
    return message


def plain_data() -> dict[str, object]:
    default = collections.defaultdict(list)
    default["a"].append(1)
    return {
        "images": np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3),
        "columns first": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "big-endian": np.arange(3, dtype=">i4"),
        "words": np.array(["n01532829", "ü"]),
        "bytes": np.array([b"ab", b"c"]),
        "objects": np.array([b"abc", [1, 2], None], dtype=object),
        "nothing": np.zeros((0, 3), np.uint8),
        "number": np.int64(-3),
        "flag": np.bool_(True),
        "word": np.str_("n01532829"),
        "ordered": collections.OrderedDict(b=1, a=2),
        "default": default,
        "plain": [1, 2.5, None, True, "text", b"\x00\xff", b"", (1, 2), {3}, -(2**70)],
    }


def assert_same(a: object, b: object) -> None:
    if isinstance(a, np.ndarray):
        # numpy gives some big-endian arrays back in the machine's own order.
        assert (a.shape, a.dtype.newbyteorder("=")) == (b.shape, b.dtype.newbyteorder("="))
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    else:
        assert a == b
        assert isinstance(b, type(a))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_comes_back(tmp_path, protocol):
    assert_same(plain_data(), load(tmp_path, pickle.dumps(plain_data(), protocol)))


def test_pickles_of_python_2_come_back(tmp_path):
    data = plain_data()
    data["objects"], data["plain"] = np.array(["abc", None], dtype=object), ["text", "\x00\xff", 2**70]
    assert_same(data, load_plain_pickle(as_python_2(tmp_path / "old.pkl", data), ADVICE))


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_hostile_pickle_runs_nothing(tmp_path, protocol):
    marker = tmp_path / "it ran"
    write = f"open({str(marker)!r}, 'w').close()"
    for hostile in (
        Calls(os.system, f"touch '{marker}'"),
        Calls(eval, write),
        Calls(exec, write),
        Calls(functools.partial(eval, write)),
        Calls(operator.methodcaller("touch"), marker),
        {"image_data": np.array([Calls(eval, write)], dtype=object), "class_dict": {}},
        [Calls(getattr, Calls(__import__, "os"), "system")],
    ):
        content = pickle.dumps(hostile, protocol)
        message = refused(tmp_path, content)
        assert "it may run code: it names" in message
        assert not marker.exists()
        pickle.loads(content)  # which is what an unsafe reader does
        if not isinstance(hostile, list):
            assert marker.exists()
            marker.unlink()


def test_the_first_class_refused_is_named(tmp_path):
    assert f"it names {os.system.__module__}.system;" in refused(tmp_path, pickle.dumps(Calls(os.system, "true")))
    assert "it names pathlib." in refused(tmp_path, pickle.dumps(Path("a")))


@pytest.mark.parametrize(
    "name",
    [
        b"numpy\ndtype.__init__.__globals__",
        b"numpy\nload",
        b"numpy\nfromfile",
        b"numpy.core.multiarray\nfromfile",
        b"flp_datasets.plain_pickle\nos.system",
        b"builtins\ngetattr",
        b"__builtin__\napply",
        b"builtins\n" + b"long name " * 1000,
        b"evil\x1b[2Jmodule\nname",
    ],
)
def test_names_that_only_look_allowed_are_refused(tmp_path, name):
    message = refused(tmp_path, b"c" + name + b"\n.")
    assert "it names" in message
    assert len(message) < 400 + len(str(tmp_path))
    assert message.isprintable()


def test_a_dotted_name_leads_nowhere(tmp_path):
    for name in (b"dtype.mro", b"dtype.__class__", b"ndarray.__init__.__globals__"):
        content = b"\x80\x04\x8c\x05numpy\x8c" + bytes([len(name)]) + name + b"\x93."
        assert f"it names numpy.{name.decode()};" in refused(tmp_path, content)


def array_pickle(dtype: bytes, shape: bytes, content: bytes) -> bytes:
    """A pickle of an array, in opcodes: ``dtype`` is what leaves one on the stack."""
    return (
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
        b"(K\x01" + shape + dtype + b"I00\n" + content + b"tb."
    )


def dtype_pickle(code: bytes, fields: bytes = b"NNN", flags: int = 0) -> bytes:
    end = b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK" + bytes([flags])
    return (
        b"cnumpy\ndtype\n(X"
        + struct.pack("<I", len(code))
        + code
        + b"I00\nI01\ntR(K\x03X\x01\x00\x00\x00<"
        + fields
        + end
        + b"tb"
    )


def test_the_opcodes_written_here_are_an_array(tmp_path):
    content = b"C\x08" + np.arange(2, dtype="<i4").tobytes()
    np.testing.assert_array_equal(load(tmp_path, array_pickle(dtype_pickle(b"i4"), b"(K\x02t", content)), [0, 1])


@pytest.mark.parametrize(
    ("dtype", "shape", "content"),
    [
        # Bytes taken for pointers: by an object dtype, one whose flags say it holds none, one with object fields.
        (dtype_pickle(b"O8"), b"(K\x01t", b"C\x08AAAAAAAA"),
        (dtype_pickle(b"O8", flags=63), b"(K\x01t", b"C\x08AAAAAAAA"),
        (
            dtype_pickle(b"V8", b"N(X\x01\x00\x00\x00at}X\x01\x00\x00\x00a(" + dtype_pickle(b"O8") + b"K\x00ts"),
            b"(K\x01t",
            b"C\x08AAAAAAAA",
        ),
        (
            dtype_pickle(b"i8", b"N(X\x01\x00\x00\x00at}X\x01\x00\x00\x00a(" + dtype_pickle(b"O8") + b"K\x00ts"),
            b"(K\x01t",
            b"C\x08AAAAAAAA",
        ),
        (dtype_pickle(b"i8", b"(" + dtype_pickle(b"O8") + b"K\x01tNN"), b"(K\x01t", b"C\x08AAAAAAAA"),
        # A list shorter than the array of objects that it should fill; bytes shorter and longer than the array.
        (dtype_pickle(b"O8"), b"(K\x01t", b"C\x01A"),
        (dtype_pickle(b"O8"), b"(K\x09t", b"]K\x01a"),
        (dtype_pickle(b"i4"), b"(K\x02t", b"C\x04AAAA"),
        (dtype_pickle(b"i4"), b"(K\x01t", b"C\x08AAAAAAAA"),
        (dtype_pickle(b"i4"), b"(J\xff\xff\xff\xffJ\xff\xff\xff\xfft", b"C\x04AAAA"),
        (dtype_pickle(b"U1"), b"(K\x01t", b"C\x04\xff\xff\xff\x00"),
        (dtype_pickle(b"M8"), b"(K\x01t", b"C\x08AAAAAAAA"),
    ],
)
def test_forged_arrays_are_refused(tmp_path, dtype, shape, content):
    assert "no whole pickle of plain data (ValueError" in refused(tmp_path, array_pickle(dtype, shape, content))


def test_an_array_is_set_up_once_and_lends_no_memory(tmp_path):
    """Set up anew, numpy frees what was lent."""
    once = array_pickle(dtype_pickle(b"u1"), b"(K\x08t", b"C\x08AAAAAAAA")[:-1]
    again = b"(K\x01(K\x08t" + dtype_pickle(b"u1") + b"I00\nC\x08BBBBBBBBtb."
    assert "or was another before" in refused(tmp_path, once + again)
    lent = b"cnumpy._core.numeric\n_frombuffer\n(" + once + dtype_pickle(b"u1") + b"(K\x08tX\x01\x00\x00\x00CtR."
    assert "content is not 8 bytes" in refused(tmp_path, lent)
    own = lent.replace(once, b"C\x08AAAAAAAA")
    np.testing.assert_array_equal(load(tmp_path, own), [65] * 8)
    assert "or was another before" in refused(tmp_path, own[:-1] + again)


def test_one_pickle_cannot_spoil_the_next(tmp_path):
    """BUILD sets attributes on whatever was named, the constructors themselves included."""
    for name in (b"numpy._core.multiarray\n_reconstruct", b"numpy\ndtype", b"collections\ndefaultdict"):
        state = b"N}X\x0c\x00\x00\x00__defaults__K\x01K\x02\x86s\x86"
        spoilt = load(tmp_path, b"\x80\x02c" + name + b"\n" + state + b"b.")
        assert spoilt.__defaults__ == (1, 2)
        assert load(tmp_path, b"c" + name + b"\n.").__defaults__ != (1, 2)


def test_damaged_pickles_say_so(tmp_path):
    whole = pickle.dumps(plain_data())
    for length in (*range(0, 40), len(whole) // 2, len(whole) - 1):
        assert "is no whole pickle of plain data" in refused(tmp_path, whole[:length])
    for content in (b"PK\x03\x04 a zip", b"\x89HDF\r\n", b"<html>quota exceeded</html>"):
        assert "is no whole pickle of plain data" in refused(tmp_path, content)
    for code in (b"zlib", b"rot13"):
        encoded = b"c_codecs\nencode\n(X\x01\x00\x00\x00aX" + struct.pack("<I", len(code)) + code + b"tR."
        assert "not as latin1" in refused(tmp_path, encoded)


def test_random_damage_ends_in_an_error_or_in_data(tmp_path):
    rng = np.random.default_rng(0)
    whole = np.frombuffer(pickle.dumps(plain_data(), 2), np.uint8)
    for _ in range(300):
        damaged = whole.copy()
        damaged[rng.integers(len(whole), size=3)] = rng.integers(256, size=3)
        with contextlib.suppress(SourceError):
            load(tmp_path, damaged.tobytes())


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"absent\.pkl cannot be opened: No such file"):
        load_plain_pickle(tmp_path / "absent.pkl", ADVICE)


def test_text_from_files_is_made_fit_for_one_line():
    assert plain_pickle.one_line("a\nb\x1b") == "a\\nb\\x1b"
    assert len(plain_pickle.one_line("a" * 1000)) == 100
