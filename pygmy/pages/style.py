"""The one style sheet: light and dark, wide windows and phones."""

STYLE = """
:root{--bg:#fff;--ink:#1c2330;--soft:#5b6675;--faint:#e4e8ee;--card:#f6f8fa;--link:#1f5fae;
--c0:#2466b0;--c1:#c45a12;--c2:#23845a;--c3:#9a3c8f;--c4:#8a7410;--c5:#5551bd;--c6:#0b8292;--c7:#7a5a46;
--good:#23845a;--warn:#b37400;--bad:#c22f35;--off:#8b95a3;--info:#2466b0}
@media(prefers-color-scheme:dark){:root{--bg:#12161c;--ink:#e4e9f0;--soft:#9aa6b5;--faint:#2a323d;--card:#1a2028;
--link:#7db4f0;--c0:#6aa9ea;--c1:#f0925a;--c2:#5cc491;--c3:#d98acf;--c4:#d0b84a;--c5:#a09df2;--c6:#4fc3d1;--c7:#c79c82;
--good:#5cc491;--warn:#e5ac45;--bad:#f27a7a;--off:#6d7886;--info:#6aa9ea}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:820px;margin:0 auto;padding:20px 16px 48px}
h1{font-size:1.7rem;line-height:1.2;margin:.4em 0 .3em}
h2{font-size:1.2rem;line-height:1.3;margin:0 0 .5em}
.lead{color:var(--soft);margin:.2em 0 1.4em}
section{border-top:1px solid var(--faint);padding:20px 0 8px;scroll-margin-top:8px}
p{margin:.5em 0;overflow-wrap:anywhere}
a{color:var(--link)}
.small,small,footer{color:var(--soft);font-size:.85rem}
.note{border-left:3px solid var(--c);padding:2px 0 2px 10px}
.badge{display:inline-block;font-size:.8rem;font-weight:600;padding:1px 9px;border-radius:10px;
color:var(--bg);background:var(--c);vertical-align:2px;margin-left:4px}
.word{color:var(--c);font-weight:600;white-space:nowrap}
dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 14px;margin:.6em 0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:.6em 0}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{padding:5px 10px 5px 0;border-bottom:1px solid var(--faint);text-align:left;vertical-align:top}
th{color:var(--soft);font-weight:500}.r{text-align:right}
td:has(a){white-space:nowrap}td.r:first-child,th.r:first-child{width:1%}td.r{font-variant-numeric:tabular-nums;white-space:nowrap}
pre{background:var(--card);border-radius:6px;padding:10px 12px;overflow-x:auto;font-size:.82rem;line-height:1.45}
details{margin:.7em 0}summary{cursor:pointer;color:var(--link)}
figure{margin:1em 0;background:var(--card);border-radius:8px;padding:12px}
figcaption{font-weight:600;font-size:.95rem;margin-bottom:4px}
.legend,.marks{list-style:none;display:flex;flex-wrap:wrap;gap:2px 16px;margin:4px 0 6px;padding:0;font-size:.85rem}
.legend li::before{content:"";display:inline-block;width:10px;height:10px;border-radius:2px;background:var(--c);
margin-right:6px}
.marks{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));margin-top:8px}
.marks b{display:inline-block;min-width:18px;height:18px;line-height:18px;border-radius:9px;background:var(--c);
color:var(--bg);text-align:center;font-size:.72rem;margin-right:3px}
svg{display:block;width:100%;height:auto}
svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--ink)}
.narrow{display:none}
.name{font-size:12px;font-weight:600}.lane{font-size:11px}
svg .tick{font-size:11px;fill:var(--soft)}
.grid{stroke:var(--faint)}.axis{stroke:var(--soft)}
.line{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round}.dashed{stroke-dasharray:5 4}
.spot{fill:var(--c)}.dots{fill:none;stroke:var(--c);stroke-width:4;stroke-linecap:round;opacity:.75}
.band{fill:var(--c);opacity:.22}.stack{fill:var(--c);opacity:.8}.bar,.span{fill:var(--c)}
svg .said,svg .order{font-size:11px;fill:var(--bg)}svg .order{font-weight:600}
.mark{stroke:var(--c);stroke-dasharray:3 3}.flag{fill:var(--c)}
.c-0{--c:var(--c0)}.c-1{--c:var(--c1)}.c-2{--c:var(--c2)}.c-3{--c:var(--c3)}.c-4{--c:var(--c4)}.c-5{--c:var(--c5)}
.c-6{--c:var(--c6)}.c-7{--c:var(--c7)}.c-good{--c:var(--good)}.c-warn{--c:var(--warn)}.c-bad{--c:var(--bad)}
.c-off{--c:var(--off)}.c-info{--c:var(--info)}
@media(max-width:600px){.narrow{display:block}figure .wide,.two .wide{display:none}h1{font-size:1.4rem}
main{padding:12px 12px 40px}figure{padding:10px 8px}dl{grid-template-columns:1fr}dd{margin-bottom:5px}}
"""
