"""How the labelling screen looks: the style sheet inside the label configuration.

Drawn for 1366 x 768 and up. Class names on the dialogue's side are written by :mod:`annotate.tasks`.
"""

from __future__ import annotations

__all__ = ["SCREEN_STYLE"]

SCREEN_STYLE = """
.sem-row { display:flex; gap:16px; border-top:2px solid #b8c4d0; padding:8px 0; }
.sem-ctx { flex:1 1 0; min-width:0; }
.sem-lab { flex:0 0 440px; position:sticky; top:0; align-self:flex-start; }
.sem-f { display:flex; align-items:flex-start; gap:8px; margin:0 0 4px; }
.sem-t { padding:4px 10px; margin:0 0 4px; border-radius:6px; color:#111; background:#f1f3f5; font-size:14px; line-height:1.4; }
.sem-t b { font-size:11px; letter-spacing:.04em; color:#445; margin-right:6px; }
.sem-x { white-space:pre-wrap; overflow-wrap:anywhere; }
.sem-u { background:#e3eefc; }
.sem-cur { border-left:5px solid #d9580d; }
.sem-cur .sem-x { font-weight:600; }
.sem-i { display:flex; flex-wrap:wrap; gap:6px; margin-top:4px; }
.sem-i figure { margin:0; width:104px; font-size:11px; line-height:1.25; text-align:center; color:#333; }
.sem-i img { height:104px; max-width:104px; object-fit:contain; background:#fff; border:1px solid #ccd; border-radius:4px; }
.sem-none { box-sizing:border-box; height:104px; display:flex; align-items:center; justify-content:center; padding:6px; border:1px dashed #99a; border-radius:4px; color:#667; background:#fff; }
.sem-past { max-height:170px; overflow:auto; display:flex; flex-direction:column-reverse; }
.sem-head { font-size:12px; color:#556; margin:0 0 4px; }
"""  # noqa: E501
