"""Contact sheets: real images and nearest pairs for the steward, no real pixel in the public edition."""

import base64
import io
import re
from collections.abc import Callable

import numpy as np
from PIL import Image

from synthgen.data.images import SyntheticImages
from synthgen.data.tables import Cohort
from synthgen.release.report import ReportContent, render_report
from synthgen.release.report.contact_sheets import COLUMNS
from synthgen.release.report.nearest_pairs import real_sheets
from tests.support.phantom_cohorts import cohort, synthetic

SIZE = 28


def tiles(page: str) -> dict[str, list[np.ndarray]]:
    """Return the images that each sheet of a page shows, by the sheet's words."""
    found = {}
    for text, words in re.findall(r'src="data:image/png;base64,([^"]+)"[^>]*alt="([^"]+)"', page):
        sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
        side = sheet.shape[1] // COLUMNS
        small = sheet[:: side // SIZE, :: side // SIZE]
        grid = small.reshape(-1, SIZE, COLUMNS, SIZE).swapaxes(1, 2).reshape(-1, SIZE, SIZE)
        n = int(re.search(r": (\d+) images", words)[1])  # type: ignore[index]
        assert not grid[n:].any()
        found[words] = list(grid[:n])
    return found


def among(tile: np.ndarray, pixels: np.ndarray) -> bool:
    return bool((pixels[:, 0] == tile).all(axis=(1, 2)).any())


def test_real_pixels_are_on_the_internal_edition_alone(make_content: Callable[..., ReportContent]) -> None:
    train, rest = cohort(90, seed=1, images=(1, 2), size=SIZE), cohort(20, seed=2, prefix="q", size=SIZE)
    drawn = synthetic(70, size=SIZE)
    made = make_content(
        table=drawn, real=(), results=(), sheets=real_sheets(Cohort(train, rest, rest, {}, 110, ""), drawn)
    )
    public, internal = (tiles(render_report(made, edition=e)) for e in ("public", "internal"))
    assert public
    assert all(among(tile, drawn.pixels) for sheet in public.values() for tile in sheet)
    assert not any(among(tile, train.pixels) for sheet in public.values() for tile in sheet)
    real = [sheet for words, sheet in internal.items() if words.startswith("Real")]
    assert len(real) == 2
    assert all(among(tile, train.pixels) for sheet in real for tile in sheet)
    assert render_report(make_content(table=drawn, real=(), results=()), edition="public") == render_report(
        made, edition="public"
    )


def test_the_nearest_pairs_are_a_synthetic_image_and_its_nearest_real_one_copies_first(
    make_content: Callable[..., ReportContent],
) -> None:
    train, drawn = cohort(60, seed=1, images=(1, 1), size=SIZE), synthetic(40, size=SIZE)
    copied = drawn.pixels.copy()
    copied[33] = train.pixels[17]
    leak = SyntheticImages(drawn.schema, drawn.frame, pixels=copied)
    made = make_content(
        table=leak, real=(), results=(), sheets=real_sheets(Cohort(train, train, train, {}, 60, ""), leak)
    )
    found = tiles(render_report(made, edition="internal"))
    pairs = next(sheet for words, sheet in found.items() if "pairs" in words)
    assert (pairs[0] == train.pixels[17, 0]).all()
    assert (pairs[1] == train.pixels[17, 0]).all()
    assert all(among(tile, copied if i % 2 == 0 else train.pixels) for i, tile in enumerate(pairs))
