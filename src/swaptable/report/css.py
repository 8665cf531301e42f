# How the page of a report looks: on a screen, on a phone, on paper.
# Imports nothing.
# Used by page.py.
"""The style sheet of a report."""

CSS = """
:root { color: #1a1a1a; background: #fff; font: 15px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
body { margin: 0 auto; padding: 1rem; max-width: 84rem; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .3rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
p { margin: .3rem 0 .8rem; max-width: 52rem; }
code { font: .9em ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: minmax(5rem, max-content) 1fr; gap: .15rem .9rem; margin: .6rem 0; }
dt { font-weight: 600; max-width: 15rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.2rem;
  margin-top: 1.2rem; align-items: start; }
figure { margin: 0; }
figure svg { display: block; width: 100%; max-width: 34rem; height: auto; }
figcaption { font-size: .8rem; color: #444; }
.wide { overflow-x: auto; -webkit-overflow-scrolling: touch; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
th, td { padding: .16rem .55rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
tbody th, thead th:first-child { text-align: left; font-weight: 500; position: sticky; left: 0; background: #fff; }
thead th { font-weight: 600; border-bottom: 2px solid #888; }
tbody tr:hover td, tbody tr:hover th { background: #f2f6fa; }
details { margin: .6rem 0; }
summary { cursor: pointer; color: #0060a0; }
.refused { font-size: .85rem; color: #555; }
@media (max-width: 40rem) { body { padding: .6rem; } :root { font-size: 14px; } dl { grid-template-columns: 1fr; }
  dt { margin-top: .3rem; } }
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  :root { font-size: 10px; }
  body { max-width: none; padding: 0; }
  .wide { overflow: visible; }
  th, td { padding: .08rem .3rem; }
  tbody th, thead th:first-child { position: static; }
  figure, tr, dl { break-inside: avoid; }
  .plots { grid-template-columns: 1fr 1fr 1fr; }
  h2, h3 { break-after: avoid; }
  details > summary { display: none; }
  details::details-content { content-visibility: visible; display: block; }
}
"""
