from pathlib import Path

import pytest

from app import Freehold
from bench import floor, floor_data
from bench.floor import OpenFiles
from bench.seed import Journal, seed
from bench.village import organisations, post_paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    floor_data.fill(tmp_path / "floor", "localhost", organisations(3))
    return tmp_path / "floor"


def test_the_floor_shows_the_very_page_that_the_product_shows(folder: Path, app: Freehold, tmp_path: Path):
    with app.app_context():
        list(seed(list(organisations(2)), Journal(tmp_path / "journal"), app.config["FREEHOLD"].tenants_data))
    bare = floor.create_app(folder).test_client()
    for organisation in organisations(2):
        for path in post_paths():
            host = {"Host": f"{organisation.slug}.localhost"}
            assert bare.get(path, headers=host).text == app.test_client().get(path, headers=host).text


def test_the_floor_opens_no_more_files_than_it_may(folder: Path):
    files = OpenFiles(folder, limit=2)
    for organisation in organisations(3):
        with files.lease(f"{organisation.slug}.localhost") as connection:
            assert connection.execute("SELECT name FROM site").fetchone() == (organisation.name,)
    assert len(files.idle) == 2


def test_two_visits_at_once_to_one_house_do_not_share_a_connection(folder: Path):
    files = OpenFiles(folder)
    (host,) = (f"{organisation.slug}.localhost" for organisation in organisations(1))
    with files.lease(host) as one, files.lease(host) as other:
        assert one is not other
    assert len(files.idle) == 1
