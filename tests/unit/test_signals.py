"""Signals that ask a training to end."""

from __future__ import annotations

import os
import signal

import pytest

from trm.runtime.signals import signals_noted


def test_ctrl_c_is_answered_at_once(capfd: pytest.CaptureFixture) -> None:
    """A step may take a minute."""
    with signals_noted() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.noted == signal.SIGINT
    assert "stopping after this step; Ctrl-C again ends at once" in capfd.readouterr().err
