from __future__ import annotations


def render(report, created):
    return "<html></html>"


def summary(report, created):
    return "x"
