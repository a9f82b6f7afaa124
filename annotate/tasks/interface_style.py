"""How the labelling screen looks: the style sheet inside the label configuration.

Drawn for 1366 x 768 and up, in Label Studio's light and dark themes. Class names on the dialogue's side are written by
:mod:`annotate.tasks.dialogue_tasks`. The side panels are hidden: they list regions, of which this screen has none, and cost a quarter
of the width.
"""

# ruff: noqa: E501 - one rule a line
from __future__ import annotations

__all__ = ["SCREEN_STYLE"]

SCREEN_STYLE = """
.lsf-sidepanels { padding-right:0 !important; }
.lsf-sidepanels__wrapper_align_right { display:none; }
.sem-top { display:flex; justify-content:space-between; align-items:baseline; gap:16px; }
.sem-top p, .sem-f p { margin:0 !important; font-size:12px; line-height:1.3; }
.sem-top p { opacity:.75; }
.sem-row { display:flex; gap:20px; border-top:2px solid #b8c4d0; padding:8px 0 6px; }
.sem-ctx { flex:1 1 0; min-width:0; }
.sem-lab { flex:0 0 500px; align-self:flex-end; }
.sem-f { display:grid; grid-template-columns:76px 1fr; align-items:start; margin:0 0 4px; padding-left:8px; border-left:4px solid #8a94a0; }
.sem-l p { font-weight:600; line-height:32px !important; }
.sem-want { border-color:#2e8b57; }
.sem-dislike { border-color:#c0392b; }
.sem-op { border-color:#d9a400; }
.sem-f .lsf-taxonomy, .sem-f .lsf-text-area { margin:0 !important; min-width:0; }
.sem-f .ant-select { width:100%; }
.sem-f .ant-select-selection-item { background:#e8ebef !important; color:#111 !important; border:1px solid #a9b3bd !important; box-shadow:none !important; font-weight:500; padding:0 0 0 8px; margin:2px 4px 2px 0; }
.sem-want .ant-select-selection-item { background:#d9f0e2 !important; border-color:#2e8b57 !important; }
.sem-dislike .ant-select-selection-item { background:#fadfdb !important; border-color:#c0392b !important; }
.sem-op .ant-select-selection-item { background:#fdf0c8 !important; border-color:#d9a400 !important; }
.sem-f .ant-select-selection-item-content { max-width:340px; overflow:hidden !important; white-space:nowrap !important; text-overflow:ellipsis; }
.htx-taxonomy-dropdown .ant-select-tree-node-content-wrapper { overflow:hidden; white-space:nowrap; text-overflow:ellipsis; }
.sem-f .ant-select-selection-item-remove { display:flex !important; justify-content:center; width:24px; margin-left:2px; color:#333 !important; }
.sem-f .ant-select-selection-item-remove:hover { background:rgba(0,0,0,.12); }
.sem-f form, .sem-f .ant-form-item, .sem-f .ant-input { margin:0 !important; }
.sem-f .lsf-text-area, .sem-f form { padding:0 !important; }
.sem-f .ant-row, .sem-f .ant-form-item-control, .sem-f .ant-form-item-control-input, .sem-f .ant-form-item-control-input-content { padding:0 !important; margin:0 !important; }
.sem-f .ant-input { height:32px; padding:2px 11px !important; width:100%; }
.sem-f .ant-input::placeholder { color:#b0b0b0 !important; }
.sem-t { width:fit-content; max-width:100%; box-sizing:border-box; padding:4px 10px; margin:0 0 4px; border-radius:6px; color:#111; background:#f1f3f5; font-size:14px; line-height:1.4; }
.sem-t b { font-size:11px; letter-spacing:.04em; color:#445; margin-right:6px; }
.sem-x { white-space:pre-wrap; overflow-wrap:anywhere; }
.sem-u { background:#e3eefc; }
.sem-cur { border-left:5px solid #d9580d; }
.sem-cur .sem-x { font-weight:600; }
.sem-i { display:flex; flex-wrap:wrap; align-items:flex-start; gap:8px; margin-top:4px; }
.sem-i b { margin-right:4px; }
.sem-i figure { display:table; margin:0; font-size:11px; line-height:1.25; text-align:center; color:#333; }
.sem-i figcaption { display:table-caption; caption-side:bottom; min-width:64px; padding-top:2px; }
.sem-i a { display:block; cursor:zoom-in; }
.sem-i img { display:block; box-sizing:content-box; margin:0 auto; max-width:min(240px, 100%); max-height:240px; width:auto; height:auto; background:#fff; border:1px solid #ccd; border-radius:4px; }
.sem-none { padding:5px 9px; border:1px dashed #99a; border-radius:4px; color:#667; background:#fff; }
.sem-past { max-height:170px; overflow:auto; display:flex; flex-direction:column-reverse; }
.sem-past .sem-t { opacity:.85; }
.sem-past .sem-i img { max-height:110px; }
.sem-notice { margin:0 0 4px; padding:2px 10px; border-left:5px solid #2e8b57; background:#eef6f0; color:#111; font-size:13px; }
.sem-state { width:fit-content; margin:0 0 4px; padding:2px 10px; color:#333; background:#f7f7f2; border-left:5px solid #b7b48a; border-radius:0 6px 6px 0; font-size:13px; line-height:1.7; }
.sem-state b { font-size:11px; letter-spacing:.04em; color:#445; margin-right:8px; }
.sem-state .sem-like { background:#d9f0e2; }
.sem-state .sem-dislike { background:#fadfdb; border:0; }
.sem-take { border-color:#d9580d; }
.sem-take .lsf-choices { display:flex; flex-wrap:wrap; gap:0 14px; margin:0 !important; }
.sem-take .lsf-choice, .sem-take .lsf-choice__item, .sem-take label { margin:0 !important; padding:0; line-height:32px; font-size:13px; font-weight:400; }
.sem-take .lsf-hint { display:none; }
.sem-head { font-size:12px; opacity:.75; margin:0 0 4px; }
.sem-answers { width:fit-content; max-width:100%; box-sizing:border-box; margin:0 0 6px; padding:4px 10px 6px; border-left:5px solid #d9580d; background:#fdf3ec; color:#111; border-radius:0 6px 6px 0; }
.sem-answer { font-size:13px; line-height:1.7; }
.sem-answer b { font-size:11px; letter-spacing:.04em; color:#445; margin-right:8px; }
.sem-mark { display:inline-block; margin:0 6px 2px 0; padding:0 7px; border-radius:4px; background:#e4e8ec; overflow-wrap:anywhere; }
.sem-differs { background:#f6c9a8; font-weight:600; }
.sem-agreed { margin:-2px 0 6px 12px; font-size:12px; opacity:.75; overflow-wrap:anywhere; }
.lsf-modal-ls__body h2, .lsf-modal-ls__body h3, .lsf-modal-ls__body h4 { margin:1em 0 .3em; }
.lsf-modal-ls__body p { margin:.3em 0; }
.lsf-modal-ls__body ul { list-style:disc; margin:.3em 0; padding-left:1.3em; }
.lsf-modal-ls__body th, .lsf-modal-ls__body td { text-align:left; vertical-align:top; padding:2px 12px 2px 0; }
"""
