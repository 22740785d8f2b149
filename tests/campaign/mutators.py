"""Changes of files, one or two at a time, each a function of the seed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

ODD = (
    *("0_4", "١", "1e400", "-1e400", "nan", "NaN", "inf", "-inf", "-5", "-5.0", "-5.00001", "-1", "-1.0", "-0"),
    *("+1", "1.", "1e-3", "0x1", "01", "007", "2", "8", "9", "1.5", "0.5", "99999999999999999999", str(2**63)),
    *(str(-(2**63) - 1), "1" * 400, "", " ", "\t", "1 ", "１", "−1", "0,1", "1;0", "1e", "--1", "True", "null"),
    *("None", '"', "'1'", '"1"', "\0", "\x0c", "\x85", "\u2028", "\u200b", "\ufeff", "\xa01", "é", "😀", "a/b"),
    *("..", ".", "/", "~", "$HOME", "${oc.env:HOME}", "\\${oc.env:HOME}", "!!python/name:os.system", "&a", "*a"),
    *("[", "]", "{", "}", "{a: 1}", "[1, 2]", "#", "%", "yes", "no", "1_0", "1:30"),
)  # fmt: skip
PATHS = (
    *("/abs/x/00001.jpg", "a/../../../x/00001.jpg", "../x/00001.jpg", "./a/00001.jpg", "a/./00001.jpg"),
    *("a//00001.jpg", "..", ".", "/", "~/x/00001.jpg", "C:\\x\\00001.jpg", "a\\00001.jpg", "/abs/x", "../x"),
    *("a/b/00001.jpg", "a/00001", "a/1.jpg", "a/0.jpg", "a/-1.jpg", "a/١.jpg", "a/1_0.jpg", "a/00001.JPG"),
    *("a/00001.png", "a/00001.jpg\0", "a/ 1.jpg", "a/1e1.jpg", "a/" + "9" * 30 + ".jpg"),
    *("a" * 300 + "/00001.jpg", "file:///x/00001.jpg", "a/00001.jpg.", "$HOME/1.jpg"),
)  # fmt: skip
_TOKEN = re.compile(r"""[^,\s:"'\[\]{}]+""")
Lines = list[str]
Random = random.Random


def mutate(data: bytes, rng: Random, *, text: bool) -> tuple[bytes, str]:
    """Changes a file once, or in a quarter of the cases twice.

    Returns:
        The changed content, and what was done.
    """
    done = []
    for _ in range(2 if rng.random() < 0.25 else 1):
        if text and rng.random() < 0.8:
            change = rng.choice(TEXT)
            lines = data.decode("utf-8", errors="surrogateescape").split("\n")
            data = "\n".join(change(lines, rng)).encode("utf-8", errors="surrogateescape")
        else:
            change = rng.choice(BINARY)
            data = change(data, rng)
        done.append(change.__name__)
    return data, " + ".join(done)


def flip_bit(data: bytes, rng: Random) -> bytes:
    if not data:
        return data
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def set_byte(data: bytes, rng: Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(1) + data[place + 1 :]


def delete_bytes(data: bytes, rng: Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + data[place + rng.randint(1, 8) :]


def insert_bytes(data: bytes, rng: Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(rng.randint(1, 8)) + data[place:]


def truncate(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def append_bytes(data: bytes, rng: Random) -> bytes:
    return data + rng.randbytes(rng.randint(1, 64))


def zero_bytes(data: bytes, rng: Random) -> bytes:
    place, count = rng.randrange(len(data) + 1), rng.choice((1, 4, 64, 512))
    return data[:place] + bytes(len(data[place : place + count])) + data[place + count :]


def copy_bytes(data: bytes, rng: Random) -> bytes:
    start, place, count = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1), rng.choice((4, 16, 256))
    copied = data[start : start + count]
    return data[:place] + copied + data[place + len(copied) :]


def swap_lines(lines: Lines, rng: Random) -> Lines:
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return lines


def duplicate_line(lines: Lines, rng: Random) -> Lines:
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    return lines


def drop_line(lines: Lines, rng: Random) -> Lines:
    del lines[rng.randrange(len(lines))]
    return lines or [""]


def join_lines(lines: Lines, rng: Random) -> Lines:
    place = rng.randrange(len(lines))
    return [*lines[:place], "".join(lines[place : place + 2]), *lines[place + 2 :]]


def blank_line(lines: Lines, rng: Random) -> Lines:
    lines.insert(rng.choice((len(lines), rng.randrange(len(lines) + 1))), rng.choice(("", "", " ", "\t", ",")))
    return lines


def odd_field(lines: Lines, rng: Random) -> Lines:
    place = rng.randrange(len(lines))
    found = list(_TOKEN.finditer(lines[place]))
    if found:
        start, end = rng.choice(found).span()
        lines[place] = lines[place][:start] + rng.choice(ODD) + lines[place][end:]
    return lines


def odd_path(lines: Lines, rng: Random) -> Lines:
    place = rng.randrange(len(lines))
    first, *rest = lines[place].split(",")
    name = rng.choice(PATHS)
    if "/" in first and "/" not in name:
        name = rng.choice((name, f"{name}/00001.jpg"))
    lines[place] = ",".join((name, *rest))
    return lines


def swap_fields(lines: Lines, rng: Random) -> Lines:
    place = rng.randrange(len(lines))
    lines[place] = ",".join(_swapped(lines[place].split(","), rng))
    return lines


def drop_field(lines: Lines, rng: Random) -> Lines:
    place = rng.randrange(len(lines))
    fields = lines[place].split(",")
    del fields[rng.randrange(len(fields))]
    lines[place] = ",".join(fields)
    return lines


def repeat_field(lines: Lines, rng: Random) -> Lines:
    place = rng.randrange(len(lines))
    fields = lines[place].split(",")
    fields.insert(rng.randrange(len(fields) + 1), rng.choice(fields))
    lines[place] = ",".join(fields)
    return lines


def permute_header(lines: Lines, rng: Random) -> Lines:
    fields = lines[0].strip("\ufeff\r").split(",")
    lines[0] = ",".join(rng.sample(fields, len(fields)))
    return lines


def permute_columns(lines: Lines, rng: Random) -> Lines:
    """Header and rows alike: another file of the same values, where the header has a name for each field."""
    order = list(range(len(lines[0].split(","))))
    if rng.random() < 0.5:
        rng.shuffle(order)
    else:
        order = _swapped(order, rng)
    rows = [line.split(",") for line in lines]
    return [",".join(row[place] for place in order) if len(row) == len(order) else ",".join(row) for row in rows]


def other_separator(lines: Lines, rng: Random) -> Lines:
    sign, chosen = rng.choice((";", "\t", " ", ", ", " ,", ",,")), rng.randrange(len(lines))
    every = rng.random() < 0.3
    return [line.replace(",", sign) if every or place == chosen else line for place, line in enumerate(lines)]


def trailing_comma(lines: Lines, rng: Random) -> Lines:
    every, chosen, comma = rng.random() < 0.5, rng.randrange(len(lines)), rng.choice((",", ",", ",,"))
    return [line + comma if line and (every or place == chosen) else line for place, line in enumerate(lines)]


def carriage_return(lines: Lines, rng: Random) -> Lines:
    place = rng.randrange(len(lines))
    if rng.random() < 0.5:
        return [line.removesuffix("\r") + "\r" if line else line for line in lines]
    at = rng.randrange(len(lines[place]) + 1)
    lines[place] = lines[place][:at] + "\r" + lines[place][at:]
    return lines


def byte_order_mark(lines: Lines, rng: Random) -> Lines:
    place = rng.choice((0, 0, rng.randrange(len(lines))))
    lines[place] = "\ufeff" + lines[place]
    return lines


def other_digit(lines: Lines, rng: Random) -> Lines:
    place = rng.randrange(len(lines))
    digits = [at for at, sign in enumerate(lines[place]) if sign.isascii() and sign.isdigit()]
    if digits:
        at = rng.choice(digits)
        other = rng.choice("0123456789" + "".join(chr(0x0660 + value) + chr(0xFF10 + value) for value in range(10)))
        lines[place] = lines[place][:at] + other + lines[place][at + 1 :]
    return lines


def longer_number(lines: Lines, rng: Random) -> Lines:
    place = rng.randrange(len(lines))
    found = list(re.finditer(r"[0-9]+", lines[place]))
    if found:
        end = rng.choice(found).end()
        lines[place] = (
            lines[place][:end] + rng.choice(("0", "_0", "e0", "e5", ".0", ".", "٣", " ", "0" * 40)) + lines[place][end:]
        )
    return lines


def other_case(lines: Lines, rng: Random) -> Lines:
    place = rng.choice((0, rng.randrange(len(lines))))
    lines[place] = rng.choice((str.upper, str.lower, str.title))(lines[place])
    return lines


def _swapped(fields: list, rng: Random) -> list:
    one, other = rng.randrange(len(fields)), rng.randrange(len(fields))
    fields[one], fields[other] = fields[other], fields[one]
    return fields


Change = Callable[..., object]
BINARY = (
    *(flip_bit, flip_bit, flip_bit, set_byte, delete_bytes, insert_bytes, truncate, append_bytes, zero_bytes),
    *(copy_bytes,),
)  # fmt: skip
TEXT = (
    *(swap_lines, duplicate_line, drop_line, join_lines, blank_line, odd_field, odd_field, odd_field, odd_path),
    *(odd_path, swap_fields, drop_field, repeat_field, permute_header, permute_columns, other_separator),
    *(trailing_comma, carriage_return, byte_order_mark, other_digit, longer_number, other_case),
)  # fmt: skip
