"""Oracles: backward passes that are wrong at places known beforehand."""

import numpy as np
import pytest

from bncheck.telling.report import Heat
from bncheck.verdict.illustrations import _axes, _pooled

SOURCE = """
import numpy as np

def forward(x, gamma, beta, eps=1e-5):
    mean, var = x.mean(0), x.var(0)
    s = np.sqrt(var + eps)
    xhat = (x - mean) / s
    return gamma * xhat + beta, (xhat, s, gamma)

def backward(dy, cache):
    xhat, s, gamma = cache
    dx = gamma / s * (dy - dy.mean(0) - xhat * (dy * xhat).mean(0))
    {spoil}
    return dx, (dy * xhat).sum(0), dy.sum(0)
"""


def shown(bncheck, tmp_path, spoil):
    (tmp_path / "net.py").write_text(SOURCE.format(spoil=spoil))
    done = bncheck("verify", tmp_path / "net.py:backward")
    assert done.returncode == 1, done.stderr
    return done.stdout.splitlines()


def test_a_wrong_row_is_seen(bncheck, tmp_path):
    lines = shown(bncheck, tmp_path, "dx[-1] = 0")
    at = next(k for k, line in enumerate(lines) if line.startswith("  where"))
    assert "dx, D = 3 down, m = 7 across" in lines[at]
    assert len(lines[at]) <= 80
    rows = [line.split() for line in lines[at + 1 : at + 4]]
    assert all(row[:-1] == ["·"] * 6 and row[-1] in "░▒▓█" for row in rows)
    assert len(lines) <= 25


def test_what_is_wrong_everywhere_has_no_picture(bncheck, tmp_path):
    assert not [k for k in shown(bncheck, tmp_path, "dx = 2 * dx") if k.startswith("  where")]


def test_signs_by_size():
    picture = Heat("dx", "m = 2", "D = 3", ((0.0, 0.005, 0.05), (0.5, 2.0, float("inf"))))
    assert picture.lines[1:] == ("· ░ ▒", "▓ █ █")
    assert picture.lines[0].startswith("dx, m = 2 down, D = 3 across")
    assert Heat("dgamma", "", "D = 2", ((0.0, 1.0),)).lines[1:] == ("· ▓",)


@pytest.mark.parametrize(
    ("shape", "where", "axes"),
    [((7, 3), (-1,), (1, 0)), ((3, 7), (-1,), (0, 1)), ((2, 3, 2, 5), (..., 0), (0, 3)),
     ((4,), (0,), (None, 0))],
)  # fmt: skip
def test_the_longer_axis_lies_across(shape, where, axes):
    off = np.zeros(shape, bool)
    off[where] = True
    assert _axes(off) == axes


def test_a_large_picture_keeps_its_worst():
    rows = np.zeros((11, 2))
    rows[7, 1] = 3.0
    assert _pooled(rows, 5).shape == (5, 2)
    assert _pooled(rows, 5).max() == 3.0
    assert _pooled(rows, 11) is rows
