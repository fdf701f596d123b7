"""Malformed methods, values, bodies and headers for the fuzz tests."""

from uuid import uuid4

METHODS = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "get",
    "",
    "X" * 500,
]
JUNK = [
    "", "\0", "a\0b", "\r\n", "\x1b[0m", "..", "../..", "%", "%00", "%zz", "%ff%fe", "%c0%ae", "%ed%a0%80",
    "%F0%9F%98%80",
    "null", "undefined", "None", "true", "NaN", "Infinity", "-1", "0", "1e400",
    "9" * 30, "9" * 5000, "-" + "9" * 30, "٣",
    "'", '"', "\\", "';--", "<script>", "{{7*7}}", "${7*7}", "{}", "[]",
    '{"a":', "x" * 5000, "é" * 2000, "\U0001f600",
    "\u202e", "\ufeff", "\ufffd", str(uuid4()), "0" * 32, "report", "csv", "xlsx", "Europe/Berlin",
    "../../etc/passwd",
]  # fmt: skip
# No charset such as rot13, which is not a text encoding: Django then fails before any view, see project.charsets.
TYPES = [
    "application/x-www-form-urlencoded", "application/json", "multipart/form-data", "multipart/form-data; boundary=x",
    'multipart/form-data; boundary="', "multipart/form-data; boundary=" + "x" * 500, "multipart/mixed; boundary=x",
    "application/x-www-form-urlencoded; charset=utf-16",
    "text/plain",
    "text/plain; charset=nowhere",

    "multipart/form-data; boundary=x; charset=utf-7", "", "/", ";", "\x00", "é",
]  # fmt: skip
BODIES = [
    b"", b"\0", b"&", b"=", b"=&=&=", b"month=4&month=5", b"month", b"month=%00", b"month=%ff", b"month=\xff\xfe",
    b"format=nowhere&month=4", b"format=%00&month=4", b"month=4&format=csv&option_%00=1",
    b"month=4&format=csv&option_=x",
    b"month=4&format=csv&option_delimiter=%00", b"month=4&format=xlsx&option_nowhere=true", b"month=-1", b"month=1e5",
    b"month=4&format=csv&time_zone=../../etc/passwd", b"month=4&format=csv&time_zone=%00", b"fresh=%00",
    b"note=%00&month=4",
    b"month=" + b"9" * 5000, b"note=" + b"x" * 3_000_000, b"&".join(b"a%d=1" % n for n in range(2000)),
    b'{"month": 4}',
    b"[" * 5000, b"--x\r\n", b"--x\r\nContent-Disposition: form-data; name=month\r\n\r\n4", b"--x--",
    b"--x\r\n\r\n\r\n--x--\r\n",
    b'--x\r\nContent-Disposition: form-data; name="month"; filename="../x"\r\n\r\n4\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name="\xff"\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name*=utf-8\'\'%ff; filename*=nowhere\'\'x\r\n\r\n4\r\n--x--\r\n',
    b"csrfmiddlewaretoken=\0", bytes(range(256)) * 20,
]  # fmt: skip
HEADERS = {
    "accept": ["application/json", "text/html", "*/*;q=x", ";;;", "a" * 5000, "text/html;q=1e999", ",,,,", "\0",
    "application/*;q=0"],
    "accept_language": ["", "x" * 600, "de;q=", "de;q=2,en;q=-1", "*", "\0", "zh-" * 100, "../..", "en-" + "9" * 50],
    "range": [
        "bytes=", "bytes=-", "bytes=9-1", "bytes=-0", "bytes=" + "9" * 400 + "-", "bytes=0-0,1-1", "rows=1-2",
        "bytes=\0", "b" * 5000,
        "bytes=99999999999-", "bytes=-99999999999", "bytes=0-" + "9" * 30,
    ],
    "if_none_match": ['"', '""', "*", "W/", 'W/"x", ', "x" * 5000, "\0", '"' * 500, ",,,"],
    "if_range": ["x", '"', "Sun, 99 Nov 2026 99:99:99 GMT", "\0"],
    "if_modified_since": ["x", "Sun, 99 Nov 9999999 99:99:99 GMT", "\0"],
    "cookie": ["sessionid", "sessionid=", "sessionid=\0", "sessionid=" + "x" * 5000, "=;=;",
    'sessionid="', "csrftoken=\0; sessionid=../../x"],
    "referer": ["http://[", "\0", "x" * 5000],
    "origin": ["null", "http://[::1", "\0", "http://" + "x" * 500],
    "x_forwarded_for": ["\0", "x" * 5000, "::1%eth0, ,"],
    "x_csrftoken": ["\0", "x" * 5000],
    "x_requested_with": ["XMLHttpRequest", "\0"],
    "content_length": ["-1", "x", "99999999999", "0"],
    "host": ["testserver", "testserver:99999", "[", "a" * 500, "\0", "evil.example", "testserver:x"],
}  # fmt: skip
