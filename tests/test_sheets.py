"""Tables of text as spreadsheets and other systems write them."""

import pytest

from nas.files import decoded
from nas.sheets import read_lines, read_names, read_sheet

PLAIN = 'name,ms,count\n"conv(a=1,b=2)",3.5,4\npool,12,1\n'
ROWS = [("conv(a=1,b=2)", 3.5, "4"), ("pool", 12.0, "1")]


def values(text):
    sheet = read_sheet(text)
    assert sheet.columns == ("name", "ms", "count")
    return [(row["name"], sheet.number(row, "ms"), row["count"]) for row in sheet.rows]


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.removesuffix("\n"),
        PLAIN + ",,\n\n",
        'name;ms;count\n"conv(a=1,b=2)";3,5;4\npool;12;1\n',
        "name;ms;count\nconv(a=1,b=2);3.5;4\npool;12;1\n",
        "name\tms\tcount\nconv(a=1,b=2)\t3,5\t4\npool\t12\t1\n",
        "sep=;\nname;ms;count\nconv(a=1,b=2);3,5;4\npool;12;1\n",
        '"sep=|"\r\nname|ms|count\r\nconv(a=1,b=2)|3.5|4\r\npool|12|1\r\n',
        'name,ms,count,,\n"conv(a=1,b=2)",3.5,4,,\npool,12,1,,\n',
        '"name" , "ms","count"\n'.replace(" ", "") + '"conv(a=1,b=2)","3,5",4\npool, 12 ,1\n',
    ],
)
def test_a_table_is_read_as_spreadsheets_write_it(text):
    assert values(text) == ROWS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_text(encoding):
    text = PLAIN.replace("pool", "größe")
    assert values(decoded(text.replace("\n", "\r\n").encode(encoding)))[1][0] == "größe"


def test_another_encoding_is_told_with_the_way_out():
    with pytest.raises(ValueError, match="byte 2 is not utf-8: save it as UTF-8, in a spreads"):
        decoded("größe".encode("cp1252"))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("a;b\n1,234;x\n", 1.234),  # semicolons: commas are decimal
        ("a\tb\n1,234\tx\n1,5\ty\n", 1.234),  # by the other row
        ("a\tb\n0,123\tx\n", 0.123),
        ("a\tb\n1,2e3\tx\n", 1200.0),
        ("a;b\n-3,25;x\n", -3.25),
    ],
)
def test_a_decimal_comma_is_read_where_nothing_else_can_be_meant(text, number):
    sheet = read_sheet(text)
    assert sheet.number(sheet.rows[0], "a") == number


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\n1,234\tx\n", "a '1,234' may be a fraction or thousands"),
        ('a,b\n"1,234",x\n', "a '1,234' may be a fraction or thousands"),
        ("a;b\n1,5;x\n1.5;y\n", "a has decimal points and commas, such as '1,5'"),
        ("a;b\n1.234,5;x\n", "a must be a number, not '1.234,5'"),
        ("a;b\n1_000;x\n", "a must be a number, not '1_000'"),
        ("a;b\n;x\n", "a must be a number, not ''"),
    ],
)
def test_a_number_that_may_mean_two_things_is_refused(text, message):
    sheet = read_sheet(text)
    with pytest.raises(ValueError, match=message):
        sheet.number(sheet.rows[0], "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1\n", "line 2: 1 columns where 2 are due"),
        ("\na,b\n\n1,2,5\n", "line 4: 3 columns where 2 are due; a comma inside a cell needs"),
        ('a,b\n"1,2\n3,4\n', "line 3: unexpected end of data"),
        ("a,b,a\n1,2,3\n", "line 1: column 'a' stands twice"),
        ("sep=;\na;b\n1\n", "line 3: 1 columns where 2 are due"),
    ],
)
def test_a_broken_table_is_told_with_its_line(text, message):
    with pytest.raises(ValueError, match=message):
        read_sheet(text)


def test_columns_are_checked_before_rows():
    def refuse(columns):
        raise KeyError(columns)

    with pytest.raises(KeyError, match="x"):
        read_sheet("x,y\n1\n", refuse)


def test_lines_and_names():
    assert [line.cells for line in read_lines("a/b, c;p0\n\na/d;p1")] == [
        ("a/b, c", "p0"),
        ("a/d", "p1"),
    ]
    assert read_names('traffic light\n"a, b"\r\n\nc;d\n') == ("traffic light", "a, b", "c;d")
    assert read_lines("") == []
    assert read_sheet("").columns == ()
