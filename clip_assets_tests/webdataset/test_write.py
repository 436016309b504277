"""Tars are written as the standard library writes them."""

import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from clip_assets.webdataset.write import end_tar, write_member

names = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/"),
    min_size=1,
    max_size=100,
)


@given(st.dictionaries(names, st.binary(max_size=2000), max_size=20))
def test_tars_are_those_of_the_standard_library(members: dict[str, bytes]) -> None:
    expected, found = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o444
            info.uname = info.gname = "bigdata"
            tar.addfile(info, io.BytesIO(content))
    for name, content in members.items():
        write_member(found, name, content)
    end_tar(found)

    assert found.getvalue() == expected.getvalue()
