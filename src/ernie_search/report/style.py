"""The report's style sheet: light and dark, phone, desktop and paper; no font or picture from elsewhere."""

from pathlib import Path

LIGHT = (
    "--bg:#f6f7f9;--card:#fff;--text:#1c2430;--soft:#5c6675;--line:#dfe3e9;--faint:#eef1f5;--accent:#2457d6;"
    "--good:#157a48;--bad:#b3261e;"
    "--c0:#2457d6;--c1:#c2570c;--c2:#15803d;--c3:#8b3fc4;--c4:#be185d;--c5:#0e7490"
)
DARK = (
    "--bg:#10141b;--card:#181e27;--text:#e6eaf0;--soft:#9aa6b6;--line:#2c3542;--faint:#222a35;--accent:#86a9ff;"
    "--good:#5fd39a;--bad:#ff9189;"
    "--c0:#86a9ff;--c1:#ffa45c;--c2:#5fd39a;--c3:#c99cff;--c4:#ff8ab8;--c5:#5ecbe0"
)
"""Text and lines reach WCAG AA (4.5 : 1 for text, 3 : 1 for lines) on ``--card`` in both."""

SERIES = 6
"""Colours of curves; further ones take them again, dashed."""

STYLE = "".join(
    (
        f":root{{color-scheme:light dark;{LIGHT}}}",
        f"@media screen and (prefers-color-scheme:dark){{:root{{{DARK}}}}}",
        *(f".s{number}{{--c:var(--c{number})}}" for number in range(SERIES)),
        Path(__file__).with_name("style.css").read_text(encoding="utf-8"),
    )
)
