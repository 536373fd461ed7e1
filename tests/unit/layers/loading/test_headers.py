"""Headers to fields; personal columns and values."""

import pyarrow as pa
import pytest

from gis.errors import InputError, UnknownField
from layers.catalogue import built_in
from layers.declaration import LayerDeclaration, read_declaration
from layers.loading.headers import match_headers, score
from layers.loading.personal import is_personal_header, personal_values

CAMERA = built_in()["camera_site"]


def match(
    *headers: str, declaration: LayerDeclaration = CAMERA, positions: bool = True, **more: object
) -> dict[str, str]:
    found = match_headers(declaration, list(headers), positions=positions, **more)  # type: ignore[arg-type]
    return {header: field.name for header, field in found.columns.items()}


@pytest.mark.parametrize(
    "header",
    [
        "device_code",
        "设备编码",
        "Device code",
        "DEVICE CODE",
        "国标编码",
        "ｄｅｖｉｃｅ＿ｃｏｄｅ",
        " 设备 编码 ",
        "device-code",
        "设备编码*",
    ],
)
def test_a_field_by_all_its_names(header: str) -> None:
    assert match(header) == {header: "device_code"}


def test_units_in_brackets_do_not_matter() -> None:
    assert match("安装高度（米）", "方位角(°)", "可视距离[m]") == {
        "安装高度（米）": "mount_height_m",
        "方位角(°)": "azimuth_deg",
        "可视距离[m]": "view_dist_m",
    }


def test_every_field_of_every_layer_is_found_by_name_and_both_titles() -> None:
    for declaration in built_in().values():
        for field in declaration.all_fields:
            if field.name in ("src_crs", "geom_repaired"):
                continue
            for header in (field.name, field.title_zh, field.title_en):
                if is_personal_header(header):
                    raise AssertionError(f"{declaration.name}.{field.name}: {header!r} looks personal")
                assert match(header, declaration=declaration, positions=False) == {header: field.name}, (
                    declaration.name,
                    header,
                )


def test_two_columns_for_one_field_are_ambiguous() -> None:
    with pytest.raises(InputError, match="both look like 'owner_org'"):
        match("建设单位", "产权单位")
    assert match("建设单位", "产权单位", maps={"产权单位": "owner_org"}) == {"产权单位": "owner_org"}


def test_a_better_name_goes_before_an_alias() -> None:
    assert match("管理单位", "建设单位") == {"管理单位": "owner_org"}


def test_one_column_for_two_fields_is_ambiguous() -> None:
    text = """
name = "bench"
title_zh = "长椅"
title_en = "Benches"
geometry = "Point"
[[fields]]
name = "made_on"
type = "date"
title_zh = "日期"
title_en = "Made on"
[[fields]]
name = "seen_on"
type = "date"
title_zh = "日期"
title_en = "Seen on"
"""
    with pytest.raises(InputError, match="could be made_on or seen_on"):
        match("日期", declaration=read_declaration(text))


def test_position_columns() -> None:
    for lon, lat in (("经度", "纬度"), ("Longitude", "LATITUDE"), ("lng", "lat"), ("X", "Y"), ("ｘ坐标", "ｙ坐标")):
        found = match_headers(CAMERA, ["设备编码", lon, lat], positions=True)
        assert (found.lon, found.lat) == (lon, lat)
    found = match_headers(CAMERA, ["经度", "纬度", "x", "y"], positions=True)
    assert (found.lon, found.lat) == ("经度", "纬度")
    assert match_headers(CAMERA, ["WKT"], positions=True).wkt == "WKT"
    with pytest.raises(InputError, match="--lon-column"):
        match_headers(CAMERA, ["lon", "LON ", "lat"], positions=True)
    with pytest.raises(UnknownField):
        match_headers(CAMERA, ["a", "b"], positions=True, lon="c")


def test_names_cut_by_a_shapefile() -> None:
    assert match("mount_heig", "device_cod", "view_dist_", positions=False, cut=True) == {
        "mount_heig": "mount_height_m",
        "device_cod": "device_code",
        "view_dist_": "view_dist_m",
    }


def test_a_personal_column_cannot_be_mapped() -> None:
    with pytest.raises(InputError, match="persons or access"):
        match("负责人", maps={"负责人": "owner_org"})


def test_wrong_maps() -> None:
    with pytest.raises(UnknownField, match="no column 'x'"):
        match("设备编码", maps={"x": "owner_org"})
    with pytest.raises(UnknownField, match="no field 'nothing'"):
        match("设备编码", maps={"设备编码": "nothing"})
    assert match("号", maps={"号": "设备编码"}) == {"号": "device_code"}


def test_a_header_twice_is_refused() -> None:
    with pytest.raises(InputError, match="stand twice"):
        match("名称", "名称")


@pytest.mark.parametrize(
    "header",
    [
        "联系人", "联系电话", "联系方式", "电话", "手机号", "责任人", "负责人", "负责人姓名", "用户名", "登录账号", "密码",
        "登录密码", "IP", "ip地址", "IP 地址", "设备IP",
        "MAC", "MAC地址", "mac_address", "身份证号", "人脸", "人脸卡口", "人员卡口", "contact", "contact_phone",
        "contactPhone", "Phone", "person in charge",
        "responsible_person", "login", "user_name", "UserName", "password", "PWD", "ip_address", "IPAddr", "ipv4", "id_card",
        "face_type", "email", "E-mail",
    ],
)  # fmt: skip
def test_personal_headers(header: str) -> None:
    assert is_personal_header(header)


@pytest.mark.parametrize(
    "header",
    [
        "管理单位",
        "责任主体",
        "名称",
        "responsible_org",
        "zip",
        "tip",
        "description",
        "machine",
        "surface",
        "人口",
        "户数",
        "operator",
    ],
)
def test_headers_of_things(header: str) -> None:
    assert not is_personal_header(header)


@pytest.mark.parametrize(
    ("text", "personal"),
    [
        ("西陵分局 13800138000", True), ("电话：138-0013-8000", True), ("+86 13800138000", True), ("0717-6445566", True),
        ("420502199001011234", True),
        ("42050219900101123X", True), ("10.20.30.40", True), ("设备 192.168.1.64 端口", True), ("00:1A:2B:3C:4D:5E", True), ("a.b@example.com", True),
        ("１３８００１３８０００", True), ("宜昌市公安局西陵分局", False), ("42050200001310000001", False),
        ("沿江大道 128 号", False), ("2024-03-01", False),
        ("1.2.3", False), ("GB/T 28181-2016", False), ("138001380001", False), ("K12+345", False), (None, False),
    ],
)  # fmt: skip
def test_personal_values(text: str | None, personal: bool) -> None:
    assert personal_values(CAMERA.field("owner_org"), pa.array([text], pa.string())).tolist() == [personal]


def test_identifiers_of_a_source_may_look_like_phones() -> None:
    assert personal_values(CAMERA.field("source_ref"), pa.array(["13800138000"])).tolist() == [False]


def test_the_header_row_is_the_one_with_known_headers() -> None:
    assert score(CAMERA, ["设备编码", "经度", "纬度"]) > score(CAMERA, ["宜昌市摄像机点位一览表", "", ""])
