"""The log in pieces: which belong to a history, what is missing, and the files that are put together from them."""

from pathlib import Path

import pytest

from basalt.postgres.backup import Piece, WalFolder, cut_at_branches, find_gap, parse_history, reach_of

pytestmark = pytest.mark.req("P26")

SEGMENT = 16 * 1024 * 1024


def test_pieces_of_a_left_timeline_count_only_up_to_where_it_was_left() -> None:
    pieces = [Piece(1, 0, 100), Piece(1, 100, 200), Piece(2, 150, 300)]
    parts = [part for _, part in cut_at_branches(pieces, 2, [(1, 150)], 0)]
    assert parts == [Piece(1, 0, 100), Piece(1, 100, 150), Piece(2, 150, 300)]
    assert find_gap(parts, 0) is None
    assert reach_of(parts, 0) == 300


def test_pieces_of_a_timeline_that_is_no_ancestor_do_not_count() -> None:
    pieces = [Piece(1, 0, 100), Piece(2, 50, 300), Piece(3, 80, 120)]
    parts = [part for _, part in cut_at_branches(pieces, 3, [(1, 80)], 0)]
    assert parts == [Piece(1, 0, 80), Piece(3, 80, 120)]


def test_a_gap_is_found_and_ends_the_reach() -> None:
    parts = [Piece(1, 0, 100), Piece(1, 90, 150), Piece(1, 160, 200)]
    gap = find_gap(parts, 0)
    assert gap is not None
    assert (gap.start, gap.end) == (150, 160)
    assert reach_of(parts, 0) == 150


def test_history_files_name_ancestors_in_order() -> None:
    text = b"1\t0/3000110\tno recovery target specified\n\n2\t1/5000000\tbefore 2026-11-26\n"
    assert parse_history(text) == [(1, 0x3000110), (2, 0x1_0500_0000)]


def test_files_hold_the_bytes_of_their_timeline_and_begin_with_those_of_the_one_before(
    tmp_path: Path,
) -> None:
    folder = WalFolder(tmp_path)
    branches = [(2, SEGMENT + 30)]
    folder.add(Piece(1, 0, SEGMENT + 30), b"a" * (SEGMENT + 30), branches=branches)
    folder.add(Piece(2, SEGMENT + 30, SEGMENT + 40), b"b" * 10, branches=branches)
    first = (tmp_path / "000000010000000000000000").read_bytes()
    assert first == b"a" * SEGMENT
    left = (tmp_path / "000000010000000000000001").read_bytes()
    assert left == b"a" * 30 + bytes(SEGMENT - 30)
    taken = (tmp_path / "000000020000000000000001").read_bytes()
    assert taken == b"a" * 30 + b"b" * 10 + bytes(SEGMENT - 40)
    assert not (tmp_path / "000000020000000000000000").exists()
