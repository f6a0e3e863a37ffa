// The look of report.html. Colours after Okabe and Ito, which colour-blind readers can tell apart; lighter
// ones on dark.
#pragma once

namespace statescope {

inline constexpr const char* kReportStyle = R"css(
:root{--paper:#fff;--card:#fff;--ink:#1b1f24;--soft:#5b6470;--rule:#e3e6ea;--limit:#7a828c;
--c0:#c4500a;--c1:#0069a8;--c2:#00805c;--c3:#a3497a;--c4:#e08a4f;--c5:#5aa6d6;--c6:#8a6d00;--c7:#5b6470}
@media (prefers-color-scheme:dark){:root{--paper:#14171b;--card:#1b1f24;--ink:#e8eaed;--soft:#a3abb5;--rule:#30363d;--limit:#8b949e;
--c0:#ff8a4c;--c1:#58b6f0;--c2:#3ecf9f;--c3:#e59ac4;--c4:#b9683a;--c5:#3a7ea8;--c6:#e2c044;--c7:#a3abb5}}
*{box-sizing:border-box}
body{margin:0 auto;padding:28px 32px 48px;max-width:1280px;background:var(--paper);color:var(--ink);
font:14px/1.45 system-ui,"Segoe UI","DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums}
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:32px 0 12px}
header p{margin:0 0 20px;color:var(--soft);max-width:90ch}
.wide{grid-column:1/-1}
.grid2{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,520px),1fr));gap:16px;align-items:stretch}
.chart{margin:0;padding:16px 18px 12px;border:1px solid var(--rule);border-radius:8px;background:var(--card);display:flex;flex-direction:column}
.chart>svg{margin-top:auto;width:100%;height:auto}
figcaption{font-weight:600;font-size:15px}
.note{margin:2px 0 8px;color:var(--soft);font-size:13px}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;margin-bottom:6px}
.legend span{display:inline-flex;align-items:center;gap:6px}
svg text{font-size:12px;fill:var(--soft)}svg .label{fill:var(--ink)}
.grid{stroke:var(--rule);fill:none}.axis{stroke:var(--soft);fill:none}
.curve{fill:none;stroke:currentColor;stroke-width:2}.dashed{stroke-dasharray:6 4}
.mark{fill:currentColor;stroke:var(--card);stroke-width:1.2}.mark.hollow{fill:none;stroke:currentColor;stroke-width:1.8}
.cross{fill:none;stroke:currentColor;stroke-width:2.4;pointer-events:all}
.limit path{stroke:var(--limit);stroke-dasharray:2 3;fill:none}.limit text{font-size:12px;fill:var(--soft)}
.s0{color:var(--c0)}.s1{color:var(--c1)}.s2{color:var(--c2)}.s3{color:var(--c3)}
.s4{color:var(--c4)}.s5{color:var(--c5)}.s6{color:var(--c6)}.s7{color:var(--c7)}
table{border-collapse:collapse;width:100%;font-size:13px}
th{text-align:left;font-weight:600;color:var(--soft)}th,td{padding:5px 14px 5px 0;border-bottom:1px solid var(--rule);vertical-align:top}
details{margin-top:28px}summary{cursor:pointer;font-weight:600}.scroll{overflow-x:auto;margin-top:8px}
.scroll td,.scroll th{white-space:nowrap}
)css";

}  // namespace statescope
