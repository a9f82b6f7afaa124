"""How a feedback page looks."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root { --ink: #1d2125; --soft: #5b6470; --line: #d9dde2; --pale: #f5f7f9; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 24px 32px 64px; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 36px 0 10px; padding-top: 14px; border-top: 1px solid var(--line); }
h2 .soft { font-size: 14px; font-weight: 400; }
p { margin: 8px 0 12px; max-width: 90ch; }
.soft { color: var(--soft); }
.head { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0 12px; }
.card { flex: 1 1 150px; padding: 10px 14px; background: var(--pale); border: 1px solid var(--line);
  border-radius: 8px; }
.card b { display: block; font-size: 23px; line-height: 1.3; font-variant-numeric: tabular-nums; }
.card span { display: block; color: var(--soft); font-size: 13px; line-height: 1.35; }
table { border-collapse: collapse; width: 100%; margin: 12px 0; }
th, td { padding: 5px 14px 5px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-size: 12.5px; font-weight: 600; color: var(--soft); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
a { color: #1f4e79; }
.turn { break-inside: avoid; display: grid; grid-template-columns: minmax(0, 1fr) 330px; gap: 20px; margin: 12px 0;
  padding: 12px 14px; border: 1px solid var(--line); border-radius: 8px; }
.where { color: var(--soft); font-size: 12.5px; margin-bottom: 4px; overflow-wrap: anywhere; }
.u { padding: 4px 10px; margin: 0 0 4px; border-radius: 6px; background: #f1f3f5; font-size: 14px; line-height: 1.4; }
.u > b { font-size: 11px; letter-spacing: .04em; color: #445; margin-right: 8px; }
.x { white-space: pre-wrap; overflow-wrap: anywhere; }
.user { background: #e3eefc; }
.current { border-left: 5px solid #d9580d; }
.current .x { font-weight: 600; }
.images { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 4px; }
figure { margin: 0; width: 108px; font-size: 11px; line-height: 1.25; text-align: center; color: #333; }
.image, .none { width: 104px; height: 104px; margin: 0 auto 2px; border: 1px solid #ccd; border-radius: 4px;
  background: #fff center / contain no-repeat; }
.none { display: flex; align-items: center; justify-content: center; padding: 6px; border-style: dashed; color: #667; }
.label { padding: 6px 12px 8px; margin-bottom: 6px; border-left: 4px solid #8a94a0; background: var(--pale);
  border-radius: 0 6px 6px 0; }
.label b { display: block; font-size: 12px; color: var(--soft); }
.final { border-color: #2e6f9e; }
.chip { display: inline-block; margin: 2px 6px 2px 0; padding: 0 8px; border-radius: 4px; background: #e4e8ec;
  overflow-wrap: anywhere; }
.final .chip { background: #d5e6f3; }
.chip.empty { background: none; padding: 0; color: var(--soft); font-style: italic; }
.why { color: var(--soft); font-size: 13px; line-height: 1.4; }
@media (max-width: 800px) { .turn { grid-template-columns: 1fr; } body { padding: 16px; } }
@media print { body { max-width: none; padding: 0; } }
"""
