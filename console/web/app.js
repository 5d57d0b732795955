"use strict";
// The page only shows what the run folders hold; text reaches it as text, never as markup.

const POLL_MS = 2000;
const WORDS = { pass: "PASS", fail: "FAIL", refused: "REFUSED", "under way": "UNDER WAY" };
const STEP_WORDS = { done: "done", refused: "refused", waiting: "not yet", damaged: "damaged" };
let chosen = decodeURIComponent(location.hash.slice(1));
let shown = "";

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "onclick" || name === "onsubmit" || name === "oninput") node[name] = value;
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
  return node;
}

const fixed = (value, digits = 1) => (typeof value === "number" ? value.toFixed(digits) : "–");
const plain = (name) => String(name).replaceAll("_", " ");

function table(heads, rows, kind = null) {
  const body = rows.map(({ cells, kind }) => make("tr", { class: kind || null }, cells.map((c) => make("td", {}, String(c)))));
  return make("div", { class: "wide" }, make("table", { class: kind },
    make("thead", {}, make("tr", {}, heads.map((h) => make("th", {}, h)))), make("tbody", {}, body)));
}

function reasons(lines) {
  return lines && lines.length ? make("ul", { class: "reasons" }, lines.map((line) => make("li", {}, line))) : null;
}

async function get(path) {
  const response = await fetch(path, { cache: "no-store" });
  if (!response.ok) throw new Error(`${response.status}`);
  return response.json();
}

function listRuns(runs) {
  document.getElementById("count").textContent = runs.length ? `${runs.length} run${runs.length > 1 ? "s" : ""}, newest first` : "No run yet: needlework run";
  document.getElementById("runs").replaceChildren(...runs.map((run) => make("li", {},
    make("a", { href: `#${encodeURIComponent(run.name)}`, class: `is-${run.outcome.replace(" ", "-")}`, "aria-current": run.name === chosen ? "page" : null },
      run.name, make("span", {}, `${run.case}, seed ${run.seed} · ${WORDS[run.outcome]}${run.next_step ? ` · next: ${run.next_step}` : ""}`)))));
}

function steps(run) {
  return make("ol", { class: "steps" }, run.steps.map((step) => make("li", { class: step.name === run.next_step ? "next" : step.state },
    make("b", {}, step.name), make("span", {}, step.name === run.next_step ? "next" : STEP_WORDS[step.state]),
    reasons(step.state === "done" ? [] : step.reasons))));
}

function nextAction(run) {
  if (!run.next_step) return null;
  const box = make("div", { class: "next-box" }, make("b", {}, `Next: ${run.next_step}`), make("p", { class: "muted" }, make("code", {}, run.command)));
  if (run.next_step !== "approve" || !run.can_approve) return box;
  const name = make("input", { placeholder: "your name", "aria-label": "operator's name", maxlength: "120", required: true });
  const said = make("p", { class: "muted" });
  const button = make("button", { disabled: true }, "Approve this plan");
  name.oninput = () => { button.disabled = !name.value.trim(); };
  const form = make("form", {}, make("p", {}, "What is approved is what moves: plan ", make("code", {}, run.plan_sha256.slice(0, 16))), name, " ", button, said);
  form.onsubmit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    const response = await fetch(`/api/runs/${encodeURIComponent(run.name)}/approve`, {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ operator: name.value.trim(), plan_sha256: run.plan_sha256 }) });
    if (response.ok) { shown = ""; refresh(); return; }
    const detail = (await response.json()).detail;
    said.textContent = typeof detail === "string" ? detail : "not approved";
  };
  box.append(form);
  return box;
}

function registration(value) {
  if (!value) return null;
  const tre = value.tre_p95_mm || {}, shares = value.shares || {}, suspects = value.suspects || [];
  const fiducials = value.fiducials.map((f) => ({ kind: suspects.includes(f.id) ? "broken" : null,
    cells: [suspects.includes(f.id) ? `${f.id} suspect` : f.id, f.tracked ? "yes" : "no", fixed(f.residual_mm, 2), fixed(f.leave_one_out_mm, 2), fixed(f.leave_one_out_p95_mm, 2)] }));
  const sources = Object.keys(shares.tumour || {}).sort((a, b) => shares.tumour[b] - shares.tumour[a])
    .map((name) => ({ cells: [plain(name), fixed(shares.tumour[name], 0), fixed((shares.entry_region || {})[name], 0)] }));
  return [make("h3", {}, "Registration"), reasons(value.reasons),
    table(["accepted", "fiducials", "matched", "residual mm", "error 95 % tumour mm", "entry region mm"],
      [{ cells: [value.accepted ? "yes" : "NO", value.fiducials.length, value.fiducials.filter((f) => f.tracked).length, fixed(value.fre_mm, 2), fixed(tre.tumour, 2), fixed(tre.entry_region, 2)] }]),
    fiducials.length ? table(["fiducial", "matched", "residual mm", "off the others mm", "95 % of sound ones mm"], fiducials) : null,
    sources.length ? table(["share of the predicted error", "tumour %", "worst entry %"], sources) : null];
}

function plan(value, verdict, run) {
  if (!value || value.status !== "ok") return null;
  const placed = new Map(((verdict && verdict.electrodes) || []).map((e) => [e.id, e]));
  const electrodes = value.electrodes.map((e) => {
    const m = placed.get(e.id) || {};
    return { cells: [e.id, fixed(e.depth_mm), fixed(e.exposure_mm, 0), fixed(e.clearance.mm), plain(e.clearance.structure), fixed(e.tre_p95_mm), fixed(m.tip_error_mm), fixed(m.angle_error_deg), fixed(m.least_clearance_mm)] };
  });
  const measured = new Map(((verdict && verdict.pairs) || []).map((p) => [`${p.a}–${p.b}`, p]));
  const pairs = value.pairs.map((p) => {
    const name = `${p.a}–${p.b}`, m = measured.get(name) || {};
    return { cells: [name, fixed(p.spacing_mm), fixed(m.spacing_mm), fixed(m.angle_deg), fixed(m.depth_mismatch_mm), fixed(p.voltage_v, 0), m.voltage_v === 0 ? "not fired" : fixed(m.voltage_v, 0)] };
  });
  const c = value.coverage || {}, seen = (verdict && verdict.coverage) || {};
  return [make("h3", {}, "Electrodes"), table(["", "depth mm", "exposure mm", "clear mm", "of", "error 95 % mm", "measured tip error mm", "angle °", "clearance mm"], electrodes),
    make("h3", {}, "Pairs"), table(["", "planned mm", "measured mm", "angle °", "depth mismatch mm", "planned V", "as placed V"], pairs),
    make("h3", {}, `Coverage at ${c.threshold_v_per_cm ?? "–"} V/cm`), table(["", "planned %", "as placed %"],
      [{ cells: ["tumour", fixed(c.tumour_percent), fixed(seen.tumour_percent)] }, { cells: ["tumour + margin", fixed(c.with_margin_percent), fixed(seen.with_margin_percent)] }]),
    ...alternatives(value.alternatives || [], run),
    ...(verdict ? [] : [make("h3", {}, "Rules, as planned"), rules(value.checks || [])])];
}

function alternatives(listed, run) {
  const named = listed.filter((a) => a.id);
  if (named.length < 2) return [];
  const rows = named.map((a) => ({ kind: a.chosen ? "chosen" : null,
    cells: [a.id, a.electrodes, fixed(a.spacing_mm), fixed(a.least_clearance_mm), fixed(a.tumour_percent), fixed(a.with_margin_percent), fixed(100 * a.plan_hit_probability, 2), fixed(a.score, 2), a.chosen ? "chosen" : a.why_not || "–"] }));
  const other = named.find((a) => !a.chosen && !a.device);
  const how = other ? make("p", { class: "muted" }, "Another one: ", make("code", {}, `needlework plan ${run.path} --choose ${other.id}`)) : null;
  return [make("h3", {}, "Alternatives"), table(["", "electrodes", "spacing mm", "least clearance mm", "tumour %", "+ margin %", "touching %", "score", "choice"], rows), run.executed ? null : how].filter(Boolean);
}

function scans(value) {
  const r = value && value.registration;
  if (!r) return null;
  return [make("h3", {}, "Check CT to planning CT"), reasons(value.reasons),
    table(["measured by", "fiducials", "residual mm", "error 95 % tumour mm", "image differs there mm", "its error 95 % mm"],
      [{ cells: [r.used, r.fiducials_used, fixed(r.fiducial_fre_mm, 2), fixed(r.fiducial_tre_p95_mm, 2), fixed(r.image_difference_mm, 2), fixed(r.image_p95_mm, 2)] }])];
}

function verdict(value) {
  if (!value) return null;
  return [make("h3", {}, "Rules, as placed"), reasons(value.advice), rules(value.checks)];
}

const SEVERITIES = { hard: ["FAIL", "broken"], warn: ["warning", "warned"], shown: ["noted", null] };
const SIGNS = { "at least": "≥", "at most": "≤", exactly: "" };

function rules(checks) {
  const weights = Object.keys(SEVERITIES);
  const rank = (c) => (c.severity === "shown" ? 2 * weights.length : 0) + (c.passed ? weights.length : weights.indexOf(c.severity));
  const digits = (c) => (!c.passed && Math.abs(c.value - c.limit) < 0.01 ? String(Number(c.value.toPrecision(9))) : c.unit ? fixed(c.value, 2) : String(Number(c.value.toFixed(2))));
  const said = (c, number) => (c.unit === "yes/no" ? (number ? "yes" : "no") : `${number} ${c.unit}`);
  const rows = [...checks].sort((a, b) => rank(a) - rank(b)).map((c) => ({
    kind: c.passed ? null : SEVERITIES[c.severity][1],
    cells: [c.passed ? "pass" : SEVERITIES[c.severity][0], c.name, said(c, c.unit === "yes/no" ? c.value : digits(c)),
      c.unit === "yes/no" ? said(c, c.limit) : `${SIGNS[c.sense] || ""} ${said(c, c.limit)}`, c.code || "", c.source || ""] }));
  return table(["", "rule", "value", "limit", "code", "source"], rows, "words");
}

function showRun(run) {
  const report = run.steps.find((s) => s.name === "report").state === "done";
  const base = `/runs/${encodeURIComponent(run.name)}`;
  document.getElementById("run").replaceChildren(
    make("h2", {}, run.name),
    make("p", { class: "muted" }, `case ${run.case}, seed ${run.seed}, version ${run.version}${run.operator ? `, approved by ${run.operator}` : ""}`),
    make("div", { class: `outcome ${run.outcome.replace(" ", "-")}` }, WORDS[run.outcome]),
    steps(run), nextAction(run) || "",
    ...(report ? [make("p", { class: "links" }, make("a", { href: `${base}/report.html`, target: "_blank" }, "Open the report"), run.has_pdf ? make("a", { href: `${base}/report.pdf`, target: "_blank" }, "PDF") : null)] : []),
    ...[registration(run.registration), plan(run.plan, run.verdict, run), scans(run.placement), verdict(run.verdict)].filter(Boolean).flat().filter(Boolean));
}

async function refresh() {
  try {
    listRuns(await get("/api/runs"));
    if (chosen) {
      const run = await get(`/api/runs/${encodeURIComponent(chosen)}`);
      const text = JSON.stringify(run);
      if (text !== shown) { shown = text; showRun(run); }
    }
    document.getElementById("lost").hidden = true;
  } catch (error) {
    document.getElementById("lost").hidden = error.message === "404";
    if (error.message === "404") document.getElementById("run").replaceChildren(make("p", { class: "muted" }, "There is no such run."));
  }
}

window.addEventListener("hashchange", () => { chosen = decodeURIComponent(location.hash.slice(1)); shown = ""; refresh(); });
refresh();
setInterval(refresh, POLL_MS);
