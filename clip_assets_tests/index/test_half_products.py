"""Products of stored vectors with a query are what plain arithmetic says, in every thread."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from clip_assets.index.engine.half_products import products


def test_products_are_those_of_the_numbers() -> None:
    random = np.random.default_rng(0)
    for dim in (3, 64, 512):
        rows = random.normal(size=(300, dim)).astype(np.float16)
        rows[7] = rows[3]
        rows[11, 0] = np.float16(6e-8)  # the least that there is
        queries = random.normal(size=(8, dim)).astype(np.float32)
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(products, [rows] * len(queries), queries))
        expected = queries @ rows.astype(np.float32).T
        assert np.allclose(found, expected, atol=1e-4 * dim**0.5)
    assert products(rows[:0], queries[0]).shape == (0,)


def test_a_row_without_a_number_has_no_product() -> None:
    rows = np.ones((3, 8), np.float16)
    rows[1, 2] = np.nan
    assert np.isnan(products(rows, np.ones(8, np.float32))).tolist() == [False, True, False]
