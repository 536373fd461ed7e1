"""Officers over HTTP: states with their reason, records from the field that arrive once, photos without metadata, rights of each."""

import datetime as dt
import io
import threading
import uuid
from typing import Any

import openpyxl
import pytest
import sqlalchemy as sa
from PIL import Image

DAY = dt.date(2025, 6, 30)
NOON = dt.datetime(2025, 6, 30, 12, tzinfo=dt.UTC)


@pytest.fixture
def outfalls(served: Any) -> Any:
    """Adds outfalls by name, with inspections at days before `DAY`; all are taken away afterwards."""
    made: dict[str, str] = {}

    def add(name: str, *, inspections: tuple[tuple[int, int], ...] = (), admin_code: str = "420502001001", **fields: Any) -> str:
        values: dict[str, Any] = {"name_zh": name, "code_local": name, "admin_code": admin_code, "cat1": "other", **fields}
        names = ", ".join(values)
        with served.database.begin() as connection:
            made[name] = connection.execute(
                sa.text(
                    f"INSERT INTO baige.outfall ({names}, classification, geom) VALUES ({', '.join(':' + n for n in values)}, 'internal',"
                    " ST_SetSRID(ST_Point(111.3, 30.7), 4490)) RETURNING id::text"
                ),
                values,
            ).scalar_one()
            for days, state in inspections:
                connection.execute(
                    sa.text(
                        "INSERT INTO baige.outfall_inspection (outfall_id, inspected_at, discharging, admin_code, classification)"
                        " VALUES (:o, :t, :s, :a, 'internal')"
                    ),
                    {"o": made[name], "t": NOON - dt.timedelta(days=days), "s": state, "a": admin_code},
                )
        return made[name]

    yield add
    with served.database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM baige.outfall_inspection")
        connection.exec_driver_sql("DELETE FROM baige.outfall")


def status(served: Any, *, role: str = "planner", day: dt.date = DAY) -> dict[str, dict[str, Any]]:
    answer = served.get("/portal/outfalls", role=role, day=str(day))
    assert answer.status_code == 200, answer.text
    return {f["properties"]["name_zh"]: f["properties"] for f in answer.json()["features"]}


def test_state_is_the_youngest_observation_that_still_holds(served: Any, outfalls: Any) -> None:
    # In the built-in city an inspection holds 92 days, a monitor 24 hours.
    outfalls("fresh", inspections=((1, 1), (5, 0)))
    outfalls("clean", inspections=((10, 0),))
    outfalls("old", inspections=((100, 0),))
    outfalls("nothing", discharge_state=0)
    outfalls("said-unknown", inspections=((1, -1),))
    outfalls("monitor", inspections=((2, 1),), discharge_state=0, state_at=NOON, monitor_state="on")
    outfalls("monitor-before", inspections=((0, 1),), discharge_state=0, state_at=NOON - dt.timedelta(hours=6), monitor_state="on")
    outfalls("monitor-silent", discharge_state=0, state_at=NOON - dt.timedelta(hours=40), monitor_state="on")
    outfalls("monitor-off", discharge_state=0, state_at=NOON, monitor_state="off")
    outfalls("monitor-undated", discharge_state=0, monitor_state="on")
    found = {name: (row["state"], row["state_basis"]) for name, row in status(served).items()}
    assert found == {
        "fresh": (1, "inspection"), "clean": (0, "inspection"), "old": (-1, "stale"), "nothing": (-1, "none"),
        "said-unknown": (-1, "inspection"), "monitor": (0, "monitor"), "monitor-before": (1, "inspection"),
        "monitor-silent": (-1, "stale"), "monitor-off": (-1, "offline"), "monitor-undated": (-1, "none"),
    }  # fmt: skip
    earlier = status(served, day=DAY - dt.timedelta(days=3))
    assert (earlier["fresh"]["state"], earlier["fresh"]["state_basis"]) == (0, "inspection")
    assert earlier["monitor"]["state_basis"] == "none"  # neither the monitor's word nor the inspection was there yet


def test_due_dates_follow_the_city_file(served: Any, outfalls: Any) -> None:
    # default 90 days, industrial 30; the stage closed is exempt
    outfalls("never")
    outfalls("other", inspections=((100, 0),))
    outfalls("industrial", inspections=((40, 0),), cat1="industrial")
    outfalls("industrial-done", inspections=((10, 0),), cat1="industrial")
    outfalls("by-register", inspections=((20, 0),), inspect_due=DAY - dt.timedelta(days=5))
    outfalls("register-done", inspections=((20, 0),), inspect_due=DAY - dt.timedelta(days=25))
    outfalls("closed", workflow_stage="closed")
    rows = status(served)
    assert {name: row["days_overdue"] for name, row in rows.items()} == {
        "never": 0, "other": 10, "industrial": 10, "industrial-done": 0, "by-register": 5, "register-done": 0, "closed": 0,
    }  # fmt: skip
    assert rows["never"]["due_on"] == str(DAY) and rows["closed"]["due_on"] is None
    assert rows["register-done"]["due_on"] == str(DAY + dt.timedelta(days=70))
    assert list(rows)[:2] in (["other", "industrial"], ["industrial", "other"])


def test_bad_days_and_boxes_are_refused(served: Any) -> None:
    for query in ("day=yesterday", "bbox=1,2,3", "bbox=5,5,1,1", "bbox=a,b,c,d", "colour=red"):
        answer = served.client.get(f"/portal/outfalls?{query}", headers={"X-API-Key": served.keys["planner"]})
        assert answer.status_code == 400, query


def test_rights_are_those_of_the_layer(served: Any, outfalls: Any) -> None:
    outfalls("mine")
    other = outfalls("theirs", admin_code="420506001001")
    assert set(status(served)) == {"mine", "theirs"}
    assert set(status(served, role="officer")) == {"mine"}
    assert served.get("/portal/outfalls", day=str(DAY)).json()["features"] == []
    answer = put(served, uuid.uuid4(), record(other), role="officer")
    assert answer.status_code == 404
    assert put(served, uuid.uuid4(), record(other), role="viewer").status_code == 403
    assert served.client.put(f"/portal/inspections/{uuid.uuid4()}", json=record(other)).status_code == 401


def test_workbook_has_chinese_headers_and_no_formula(served: Any, outfalls: Any) -> None:
    outfalls("=1+1", chainage_m=12_345.0, inspections=((1, 0),))
    outfalls("second")
    answer = served.get("/portal/outfalls.xlsx", role="planner", day=str(DAY), lang="zh")
    sheet = openpyxl.load_workbook(io.BytesIO(answer.content)).worksheets[0]
    head = [cell.value for cell in sheet[1]]
    assert {"编码", "一级分类", "当前排放状态", "状态依据", "巡查期限", "桩号"} <= set(head)
    rows = {row[1].value: dict(zip(head, (cell.value for cell in row), strict=True)) for row in sheet.iter_rows(min_row=2)}
    first = rows["=1+1"]
    assert (first["当前排放状态"], first["状态依据"], first["桩号"]) == ("未排放", "巡查", "K12+345")
    assert all(cell.data_type != "f" for row in sheet.iter_rows() for cell in row)
    assert first["最近巡查（UTC）"] == (NOON - dt.timedelta(days=1)).replace(tzinfo=None)
    english = served.get("/portal/outfalls.xlsx", role="planner", day=str(DAY), lang="en", bbox="0,0,1,1")
    sheet = openpyxl.load_workbook(io.BytesIO(english.content)).worksheets[0]
    assert sheet.max_row == 1 and sheet["A1"].value == "Code"


def record(outfall: str, **more: Any) -> dict[str, Any]:
    return {"outfall_id": outfall, "inspected_at": "2025-06-30T08:00:00Z", "discharging": 1, "colour": "灰", "turbidity": "turbid", **more}


def put(served: Any, inspection: uuid.UUID, body: dict[str, Any], *, role: str = "officer") -> Any:
    return served.client.put(f"/portal/inspections/{inspection}", json=body, headers={"X-API-Key": served.keys[role]})


def stored(served: Any) -> int:
    with served.database.begin(readonly=True) as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM baige.outfall_inspection").scalar_one())


def test_a_record_sent_many_times_is_one_row(served: Any, outfalls: Any) -> None:
    outfall, inspection = outfalls("a"), uuid.uuid4()
    body = record(outfall, lon=111.3, lat=30.7, position_error_m=8, note="管口有泡沫")
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(put(served, inspection, body).status_code)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] * 5 + [201]
    assert stored(served) == 1
    assert put(served, inspection, {**body, "discharging": 0}).status_code == 409
    with served.database.begin(readonly=True) as connection:
        row = connection.exec_driver_sql("SELECT admin_code, classification, client_ref, note, lon FROM baige.outfall_inspection").one()
    assert tuple(row) == ("420502001001", "internal", str(inspection), "管口有泡沫", 111.3)
    assert status(served)["a"]["state"] == 1


@pytest.mark.parametrize(
    "change",
    [{"discharging": 7}, {"discharging": None}, {"turbidity": "muddy"}, {"colour": "x" * 41}, {"person": "n"}, {"lat": 91}, {"inspected_at": "soon"},
     {"inspected_at": "2999-01-01T00:00:00Z"}],
)  # fmt: skip
def test_bad_records_are_refused_with_the_field(served: Any, outfalls: Any, change: dict[str, Any]) -> None:
    answer = put(served, uuid.uuid4(), record(outfalls("b")) | change)
    assert answer.status_code in (400, 422)
    assert next(iter(change)) in answer.text
    assert stored(served) == 0


def picture(kind: str = "JPEG", size: tuple[int, int] = (640, 480), **more: Any) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", size, (90, 120, 60)).save(made, kind, **more)
    return made.getvalue()


def put_photo(served: Any, inspection: uuid.UUID, photo: uuid.UUID, data: bytes, *, role: str = "officer", media: str = "image/jpeg") -> Any:
    headers = {"X-API-Key": served.keys[role], "Content-Type": media}
    return served.client.put(f"/portal/inspections/{inspection}/photos/{photo}", content=data, headers=headers)


def test_photos_are_drawn_anew_and_follow_the_outfall(served: Any, outfalls: Any) -> None:
    inspection, photo = uuid.uuid4(), uuid.uuid4()
    outfall = outfalls("c")
    assert put_photo(served, inspection, photo, picture()).status_code == 404
    put(served, inspection, record(outfall))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif[0x010F] = "SECRET-MAKER"
    exif.get_ifd(0x8825)[1] = "N"
    sent = picture(exif=exif.tobytes())
    assert b"SECRET-MAKER" in sent
    assert put_photo(served, inspection, photo, sent).status_code == 201
    again = put_photo(served, inspection, photo, sent)
    assert again.status_code == 200 and again.json()["new"] is False
    assert put_photo(served, inspection, photo, picture(size=(10, 10))).status_code == 409
    kept = served.get(f"/portal/photos/{photo}", role="officer")
    assert kept.headers["content-type"] == "image/jpeg" and b"SECRET-MAKER" not in kept.content
    shown = Image.open(io.BytesIO(kept.content))
    assert shown.size == (480, 640) and not shown.getexif() and "exif" not in shown.info
    history = served.get(f"/portal/outfalls/{outfall}/inspections", role="officer").json()["inspections"]
    assert history[0]["photos"] == [str(photo)]
    assert served.get(f"/portal/photos/{photo}").status_code == 404
    # an outfall that moves to another district takes its photos along
    with served.database.begin() as connection:
        connection.execute(sa.text("UPDATE baige.outfall SET admin_code = '420506001001' WHERE id = :i"), {"i": outfall})
    assert served.get(f"/portal/photos/{photo}", role="officer").status_code == 404
    assert put_photo(served, inspection, uuid.uuid4(), picture()).status_code in (403, 404)
    assert served.get(f"/portal/photos/{photo}", role="planner").status_code == 200


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a" + bytes(40), b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", picture()[:300], b"%PDF-1.4"],
    ids=["empty", "gif", "svg", "cut", "pdf"],
)
def test_what_is_no_photo_is_refused(served: Any, outfalls: Any, data: bytes) -> None:
    inspection = uuid.uuid4()
    put(served, inspection, record(outfalls("d")))
    assert put_photo(served, inspection, uuid.uuid4(), data).status_code == 400


def test_limits_of_photos(served: Any, outfalls: Any) -> None:
    inspection = uuid.uuid4()
    put(served, inspection, record(outfalls("e")))
    assert put_photo(served, inspection, uuid.uuid4(), bytes(15_000_001)).status_code == 400
    assert put_photo(served, inspection, uuid.uuid4(), picture("PNG", (9000, 9000)), media="image/png").status_code == 400
    assert put_photo(served, inspection, uuid.uuid4(), b"x", media="text/html").status_code == 415
    large = put_photo(served, inspection, uuid.uuid4(), picture("WEBP", (3000, 1000)), media="image/webp")
    assert Image.open(io.BytesIO(served.get(f"/portal/photos/{large.json()['id']}", role="officer").content)).size == (2048, 683)
    for _ in range(11):
        assert put_photo(served, inspection, uuid.uuid4(), picture(size=(20, 20))).status_code == 201
    assert put_photo(served, inspection, uuid.uuid4(), picture(size=(20, 20))).status_code == 400
