"""Whatever a name holds, it is a name."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets.storage import sql

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)


@given(text=texts)
def test_literals_and_identifiers_come_back(text: str) -> None:
    with sql.connection(1 << 27) as database:
        name = text or "x"
        relation = database.execute(f"SELECT {sql.literal(text)} AS {sql.identifier(name)}")
        assert relation.description is not None
        assert relation.description[0][0] == name
        assert relation.fetchall() == [(text,)]


@pytest.mark.parametrize("name", ["a*.csv", "a?.csv", "a[1].csv", "it's.csv", "[a]*[b]?.csv"])
def test_files_are_read_by_their_exact_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x\nright\n")
    for other in ("ab.csv", "a1.csv", "aXb0.csv"):
        (tmp_path / other).write_text("x\nwrong\n")
    with sql.connection(1 << 27) as database:
        query = f"SELECT x FROM read_csv({sql.files([tmp_path / name])}, header=true)"
        assert database.execute(query).fetchall() == [("right",)]


def test_the_temporary_folder_goes_with_the_connection() -> None:
    with sql.connection(1 << 27) as database:
        folder = database.execute("SELECT current_setting('temp_directory')").fetchall()[0][0]
        assert Path(folder).is_dir()
    assert not Path(folder).exists()
