import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scene_r1.keyframes.observation import FULL, Observation
from scene_r1.keyframes.voxel_table import VoxelTable
from scene_r1_engines.errors import BadConfig


def seen(keys, q):
    return Observation(np.asarray(keys, np.int64), np.broadcast_to(np.asarray(q, np.uint16), len(keys)).copy())


def packed(rng, count):
    """Keys as packed coordinates of a room's worth of neighbouring voxels, negative ones among them."""
    ijk = np.unique(rng.integers(-40, 40, (count, 3)), axis=0) & ((1 << 20) - 1)
    return rng.permutation((ijk[:, 0] << 40) | (ijk[:, 1] << 20) | ijk[:, 2])


def held_keys(table):
    return table._keys[: len(table)]


def test_a_voxel_has_one_row_for_ever_while_nothing_is_dropped():
    table = VoxelTable(2, 128)
    rows, q = table.rows_of(seen([5, 9, 7], [1, 2, 3]))
    again, _ = table.rows_of(seen([7, 5, 11], [9, 9, 9]))
    assert again[0] == rows[2]
    assert again[1] == rows[0]
    assert len({*rows, *again}) == len(table) == 4
    assert q.tolist() == [1, 2, 3]
    assert table.value_ever() == 9 + 2 + 9 + 9
    assert table.sampled == 1.0


def test_values_are_of_the_columns_that_are_set():
    table = VoxelTable(3, 128)
    a, qa = table.rows_of(seen([1, 2, 3], [10, 20, 30]))
    b, qb = table.rows_of(seen([3, 4], [50, 5]))
    table.set_column(0, a, qa)
    table.set_column(2, b, qb)
    assert table.rank().tolist() == [10 + 20, 0, 20 + 5]
    assert (table.value(), table.covered()) == (10 + 20 + 50 + 5, 4)
    table.set_column(2, a, qa)
    table.rank()
    assert (table.value(), table.covered()) == (60, 3)
    table.clear_column(0)
    table.clear_column(2)
    assert table.rank().tolist() == [0, 0, 0]
    assert (table.value(), table.covered(), table.value_ever()) == (0, 0, 85)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 5), capacity=st.sampled_from([64, 100, 256, 1000]))
def test_the_cap_holds_and_the_kept_columns_survive_every_halving(seed, k, capacity):
    rng = np.random.default_rng(seed)
    table = VoxelTable(k, capacity)
    columns: dict[int, dict[int, int]] = {}
    ever: dict[int, int] = {}
    for step in range(12):
        keys = packed(rng, int(rng.integers(0, 150)))
        q = rng.integers(1, FULL + 1, len(keys), dtype=np.uint16)
        for key, value in zip(keys.tolist(), q.tolist(), strict=True):
            ever[key] = max(ever.get(key, 0), value)
        observation = seen(keys, q)
        rows, held_q = table.rows_of(observation)
        assert len(table) <= capacity
        assert len(rows) == len(held_q) == len(set(rows.tolist()))
        by_key = dict(zip(keys.tolist(), q.tolist(), strict=True))
        assert [by_key[key] for key in table._keys[rows].tolist()] == held_q.tolist()
        if step % 2 == 0:
            table.set_column(step // 2 % k, rows, held_q)
            columns[step // 2 % k] = by_key
        table.rank()
        keys_held = held_keys(table).tolist()
        assert len(set(keys_held)) == len(keys_held)
        assert table.best_ever[: len(table)].tolist() == [ever[key] for key in keys_held]
        for column in range(k):
            wanted = [columns.get(column, {}).get(key, 0) for key in keys_held]
            assert table.q[: len(table), column].tolist() == wanted
        assert not table.q[len(table) :].any()
        assert set(keys_held) == {key for key in ever if table.rows_of(seen([key], 1))[0].size}


def test_a_dropped_voxel_never_comes_back():
    rng = np.random.default_rng(0)
    table = VoxelTable(1, 64)
    keys = packed(rng, 200)
    table.rows_of(seen(keys, 1))
    assert table.sampled <= 0.25
    held = set(held_keys(table).tolist())
    table.rows_of(seen(keys, FULL))
    assert set(held_keys(table).tolist()) == held


@pytest.mark.parametrize("halvings", [1, 3, 5])
def test_half_of_a_room_tells_what_the_whole_is_worth(halvings):
    """Weights that differ from place to place, as in a room; the sample must not lean to either."""
    errors = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        ijk = np.unique(rng.integers(-60, 60, (30_000, 3)), axis=0)
        keys = ((ijk[:, 0] & 0xFFFFF) << 40) | ((ijk[:, 1] & 0xFFFFF) << 20) | (ijk[:, 2] & 0xFFFFF)
        q = np.where(ijk[:, 0] > 0, FULL, FULL // 8).astype(np.uint16)
        table = VoxelTable(1, int(len(keys) * 0.75 * 0.5 ** (halvings - 1)))
        rows, held = table.rows_of(seen(rng.permutation(keys), 1))
        rows, held = table.rows_of(seen(keys, q))
        table.set_column(0, rows, held)
        table.rank()
        assert table.sampled == 0.5**halvings
        assert table.value() == table.value_ever()
        errors.append(table.value() / table.sampled / int(q.sum(dtype=np.int64)) - 1.0)
    share = 0.5**halvings
    one = np.sqrt((1.0 - share) / (share * 15_000))  # of one estimate, from the heavy half of the voxels
    assert np.abs(errors).max() < 4.0 * one < 0.2
    assert abs(np.mean(errors)) < 4.0 * one / np.sqrt(len(errors))


def test_an_observation_larger_than_the_table_is_sampled():
    rng = np.random.default_rng(3)
    keys = packed(rng, 5000)
    table = VoxelTable(2, 64)
    rows, q = table.rows_of(seen(keys, FULL))
    assert 0 < len(rows) == len(table) <= 64
    assert q.tolist() == [FULL] * len(rows)
    assert table.value_ever() / table.sampled == pytest.approx(len(keys) * FULL, rel=0.5)


def test_nothing_seen_is_nothing_held():
    table = VoxelTable(1, 64)
    rows, q = table.rows_of(seen([], 1))
    assert (len(rows), len(q), len(table)) == (0, 0, 0)
    table.set_column(0, rows, q)
    assert table.rank().tolist() == [0]
    assert (table.value(), table.value_ever(), table.covered()) == (0, 0, 0)


def test_one_place_loses_all_it_covers():
    table = VoxelTable(1, 64)
    rows, q = table.rows_of(seen([3, 4], [7, 8]))
    table.set_column(0, rows, q)
    assert table.rank().tolist() == [15]
    assert not table.second.any()


def test_sums_do_not_overflow_when_everything_is_seen_perfectly():
    """2^20 voxels at q = 1 are worth 2^34: beyond 32 bits, and 2^24 of them would be worth 2^38 of 2^63."""
    table = VoxelTable(2, 1 << 20)
    keys = np.arange(1 << 20, dtype=np.int64)
    rows, q = table.rows_of(seen(keys, FULL))
    table.set_column(1, rows, q)
    assert table.rank().tolist() == [0, 1 << 34]
    assert table.value() == table.value_ever() == 1 << 34
    assert table.sampled == 1.0
    table.set_column(0, rows, q)
    assert table.rank().tolist() == [0, 0]
    assert table.best.dtype.itemsize == 2
    assert np.iinfo(table.best.dtype).max >= FULL


def test_the_last_of_the_most_places_can_own_a_voxel():
    table = VoxelTable(1024, 64)
    rows, q = table.rows_of(seen([1, 2], 9))
    table.set_column(1023, rows, q)
    losses = table.rank()
    assert losses[1023] == 18
    assert table.owner[rows].tolist() == [1023, 1023]


def test_the_memory_is_what_is_stated_and_does_not_grow():
    table = VoxelTable(16, 1 << 16)

    def nbytes():
        return sum(a.nbytes for a in vars(table).values() if isinstance(a, np.ndarray))

    assert nbytes() == (1 << 16) * (2 * 16 + 24)
    for start in range(0, 400_000, 20_000):
        table.rows_of(seen(np.arange(start, start + 20_000), 1))
    assert nbytes() == (1 << 16) * (2 * 16 + 24)
    assert len(table) <= 1 << 16


def test_the_order_of_the_frames_does_not_change_the_sample():
    rng = np.random.default_rng(8)
    parts = [packed(rng, 60) for _ in range(10)]
    tables = [VoxelTable(1, 64), VoxelTable(1, 64)]
    for table, order in zip(tables, (parts, parts[::-1]), strict=True):
        for part in order:
            table.rows_of(seen(part, 5))
    assert tables[0].sampled == tables[1].sampled
    assert set(held_keys(tables[0]).tolist()) == set(held_keys(tables[1]).tolist())


@pytest.mark.parametrize(("k", "capacity", "named"), [(0, 64, "k must"), (1025, 64, "k must"), (4, 63, "capacity"),
                                                      (4, (1 << 24) + 1, "capacity")])  # fmt: skip
def test_an_impossible_size_is_refused(k, capacity, named):
    with pytest.raises(BadConfig, match=named):
        VoxelTable(k, capacity)
