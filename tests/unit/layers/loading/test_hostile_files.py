"""Files made to do harm: that lead GDAL to other files and servers, entities in a workbook's XML, archives that unpack to too much."""

import contextlib
import http.server
import threading
import tracemalloc
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
from affine import Affine
from pyogrio.errors import CRSError, DataSourceError

from gis.errors import BaigeError, LimitExceeded, UnreadableFile
from gis.heightfile import inspect_heights
from layers.loading.readers import sheet
from tests.unit.layers.loading.test_readers import TABLE, book, read, shapefile

SECRET = "not-for-the-asker"


class _Listening(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Listening) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{service.server_port}"
        service.shutdown()


@pytest.fixture
def listener(server: str) -> str:
    """A server that writes down whether it was called."""
    _Listening.asked.clear()
    return server


def leading(kind: str, target: str) -> str:
    """The text of a file that leads to another."""
    return {
        "vrt": f'<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>{target}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>',
        "gdalg": f'{{"type":"gdal_streamed_alg","command_line":"gdal vector pipeline ! read {target} ! write --of stream out"}}',
        "wfs": f"<OGRWFSDataSource><URL>{target}</URL></OGRWFSDataSource>",
        "address": target,
    }[kind]


@pytest.mark.parametrize("suffix", [".geojson", ".json", ".geojsonl", ".csv"])
@pytest.mark.parametrize("kind", ["vrt", "gdalg", "wfs", "address"])
def test_no_file_leads_to_another_file_or_server(tmp_path: Path, listener: str, kind: str, suffix: str) -> None:
    other = tmp_path / "a.csv"
    other.write_text(f"名称,经度,纬度\n{SECRET},111,30\n", encoding="utf-8")
    for target in (str(other), f"/vsicurl/{listener}/a.geojson", listener):
        path = tmp_path / f"given{suffix}"
        path.write_text(leading(kind, target), encoding="utf-8")
        if suffix == ".csv" and kind != "gdalg":  # a line of text, which leads nowhere
            assert SECRET not in str(read(path))
        else:
            with pytest.raises(UnreadableFile):
                read(path)
    assert _Listening.asked == []


def test_the_listener_hears_gdal(tmp_path: Path, listener: str) -> None:
    """Without a named driver the same file does call it, so that the test above can fail."""
    path = tmp_path / "given.geojson"
    path.write_text(leading("vrt", f"/vsicurl/{listener}/a.geojson"))
    with contextlib.suppress(DataSourceError, CRSError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pyogrio.read_info(str(path))
    assert _Listening.asked


@pytest.mark.parametrize("name", ["heights.vrt", "heights.tif", "heights.asc"])
def test_a_height_file_is_a_file_of_heights(tmp_path: Path, listener: str, name: str) -> None:
    place = Affine(30, 0, 500_000, 0, -30, 3_400_000)
    with rasterio.open(
        tmp_path / "good.tif", "w", driver="GTiff", width=40, height=40, count=1, dtype="float32", crs="EPSG:4546", transform=place
    ) as made:
        made.write(np.ones((40, 40), np.float32), 1)
    assert inspect_heights(tmp_path / "good.tif").width == 40
    for target in (str(tmp_path / "good.tif"), f"/vsicurl/{listener}/good.tif"):
        (tmp_path / name).write_text(
            '<VRTDataset rasterXSize="40" rasterYSize="40"><SRS>EPSG:4546</SRS><GeoTransform>500000,30,0,3400000,0,-30</GeoTransform>'
            f'<VRTRasterBand dataType="Float32" band="1"><SimpleSource><SourceFilename>{target}</SourceFilename></SimpleSource>'
            "</VRTRasterBand></VRTDataset>"
        )
        with pytest.raises(UnreadableFile, match="names other files"):
            inspect_heights(tmp_path / name)
        (tmp_path / name).write_text(f'<GDAL_WMS><Service name="TMS"><ServerUrl>{listener}</ServerUrl></Service></GDAL_WMS>')
        with pytest.raises(UnreadableFile, match="names other files"):
            inspect_heights(tmp_path / name)
    assert _Listening.asked == []


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
DOCTYPES = {
    "laughs": f'<!DOCTYPE sst [<!ENTITY l0 "lol">{LAUGHS}<!ENTITY x "&l9;">]>',
    "file": '<!DOCTYPE sst [<!ENTITY x SYSTEM "file://{folder}/secret.txt">]>',
    "server": '<!DOCTYPE sst [<!ENTITY x SYSTEM "{listener}/x">]>',
    "parameter": '<!DOCTYPE sst [<!ENTITY % p SYSTEM "{listener}/x.dtd"> %p;]>',
}
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
CELL = "42050200001310000001"
INLINE = f't="inlineStr"><is><t>{CELL}</t></is>'


@pytest.mark.parametrize("part", ["xl/sharedStrings.xml", "xl/worksheets/sheet1.xml", "xl/workbook.xml"])
@pytest.mark.parametrize("kind", DOCTYPES)
def test_entities_of_a_workbook_are_not_expanded(tmp_path: Path, listener: str, kind: str, part: str) -> None:
    """Ten to the ninth laughs would be 3 GB; nothing of the sort may come to pass, whether the workbook is read or refused."""
    (tmp_path / "secret.txt").write_text(SECRET)
    doctype = DOCTYPES[kind].replace("{folder}", str(tmp_path)).replace("{listener}", listener)
    good, bad = book(tmp_path / "good.xlsx", TABLE), tmp_path / "bad.xlsx"
    put = 0
    with zipfile.ZipFile(good) as before, zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as after:
        for member in before.infolist():
            text = before.read(member).decode()
            if member.filename == "xl/worksheets/sheet1.xml" and part == "xl/sharedStrings.xml":
                assert INLINE in text
                text = text.replace(INLINE, 't="s"><v>0</v>')
                after.writestr(part, f'<?xml version="1.0"?>{doctype}<sst xmlns="{MAIN}" count="1"><si><t>&x;</t></si></sst>')
                put += 1
            if member.filename == part:
                head, mark, rest = text.partition("?>") if text.startswith("<?xml") else ("", "", text)
                text = head + mark + doctype + rest.replace(CELL, "&x;").replace('name="Sheet', 'name="&x;Sheet')
                assert "&x;" in text
                put += 1
            after.writestr(member.filename, text)
    assert put == 1
    tracemalloc.start()
    try:
        found = str(read(bad))
    except BaigeError as error:
        found = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert SECRET not in found and "lollol" not in found
    assert peak < 50_000_000
    assert _Listening.asked == []


def dense(path: Path, name: str, *, mb: int, others: dict[str, bytes] | None = None) -> Path:
    """An archive with one member of many zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archived:
        for other, data in (others or {}).items():
            archived.writestr(other, data)
        with archived.open(name, "w") as member:
            for _ in range(mb):
                member.write(bytes(1 << 20))
    return path


def test_a_workbook_or_shapefile_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(book(tmp_path / "good.xlsx", TABLE)) as good:
        parts = {m.filename: good.read(m) for m in good.infolist() if m.filename != "xl/worksheets/sheet1.xml"}
    with pytest.raises(LimitExceeded, match="unpack"):
        read(dense(tmp_path / "bomb.xlsx", "xl/worksheets/sheet1.xml", mb=120, others=parts))
    with pytest.raises(LimitExceeded, match="unpack"):  # called otherwise it is known by its content
        read(dense(tmp_path / "bomb.kmz", "xl/worksheets/sheet1.xml", mb=120, others=parts))
    shape = shapefile(tmp_path / "s")
    parts = {f"a{p.suffix}": p.read_bytes() for p in shape.parent.iterdir() if p.suffix != ".dbf"}
    with pytest.raises(LimitExceeded, match="unpack"):
        read(dense(tmp_path / "bomb.zip", "a.dbf", mb=120, others=parts))
    monkeypatch.setattr(sheet, "SHEET_MAX_BYTES", 50 << 20)  # below the density that is always refused, the size of a part counts
    with pytest.raises(LimitExceeded, match="save it as CSV"):
        read(dense(tmp_path / "large.xlsx", "xl/worksheets/sheet1.xml", mb=60, others=parts))


def test_a_member_that_is_larger_than_it_says(tmp_path: Path) -> None:
    path = tmp_path / "liar.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archived:
        archived.writestr("a.csv", "名称,经度,纬度\n" + "甲,111,30\n" * 50_000)
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = data.find(mark)
        data[start + at : start + at + 4] = (100).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    with pytest.raises(BaigeError):
        read(path)
