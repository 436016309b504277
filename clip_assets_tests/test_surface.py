"""Names of packages that are imported when they are asked for."""

import subprocess
import sys

import pytest

import clip_assets
from clip_assets import bricks, streaming
from clip_assets.surface import surface

PACKAGES = (clip_assets, bricks, streaming)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_name_is_there_and_no_other(package: object) -> None:
    for name in getattr(package, "__all__"):  # noqa: B009  (of packages, which differ)
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nobody'"):
        getattr(package, "nobody")  # noqa: B009


def test_only_the_module_of_the_name_is_imported() -> None:
    code = (
        "import sys; from clip_assets.surface import surface;"
        "named = surface('clip_assets', {'Key': 'layout', 'Store': 'storage.store'});"
        "named('Key'); assert 'clip_assets.layout' in sys.modules;"
        "assert 'clip_assets.storage.store' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert surface("clip_assets", {"Key": "layout"})("Key") is clip_assets.layout.Key
