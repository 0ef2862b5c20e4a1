// The operators' page: asks this router's own endpoints once a second and shows what they tell.
// All text is put in as text, never as markup: it holds what workers, guests and clients sent.
'use strict';

const PERIOD_MS = 1000;
const KEPT_LOOKS = 300;
const WINDOW_LOOKS = 10;
const TOKEN_KEY = 'sgl-router-token';

const looks = [];
let token = sessionStorage.getItem(TOKEN_KEY) || '';
let mayChange = false;
let openDecisions = new Set();

const at = id => document.getElementById(id);

function element(name, content, attributes = {}) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === 'onclick') made.addEventListener('click', value);
    else if (value !== undefined) made.setAttribute(key, value);
  }
  for (const part of [content].flat()) if (part !== undefined && part !== null) made.append(part);
  return made;
}

// ---------------------------------------------------------------- what is asked

class Refusal extends Error {
  constructor(status, detail) { super(detail); this.status = status; }
}

async function ask(path, options = {}) {
  const headers = { accept: 'application/json' };
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(path, { ...options, headers, cache: 'no-store' });
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const problem = await answer.json().catch(() => ({}));
  throw new Refusal(answer.status, problem.detail || problem.title || `status ${answer.status}`);
}

// What may be gone by now: a plugin that was unloaded.
const optional = path => ask(path).catch(error => {
  if (error instanceof Refusal && error.status === 404) return null;
  throw error;
});

async function look() {
  const status = await ask('v1/status');
  const [workers, sources, plugins, events, fleet, decisions, plugin] = await Promise.all([
    ask('workers'), ask('v1/sources'), ask('v1/plugins'), ask('v1/events?limit=40'), ask('v1/fleet'),
    status.records_decisions ? ask('v1/decisions?limit=12') : null,
    status.policy_is_plugin ? optional(`v1/plugins/${encodeURIComponent(status.policy)}`) : null,
  ]);
  return { time: Date.now(), status, workers: workers.workers, sources: sources.sources, plugins: plugins.plugins, decisions, events: events.events, fleet: fleet.fleet, plugin };
}

async function change(method, path, what) {
  show('problem', '');
  try {
    await ask(path, { method });
    show('done', `${what}: done`);
  } catch (error) {
    show('problem', `${what}: ${error.message}`);
  }
  await turn();
}

function show(id, text) {
  at(id).textContent = text;
  at(id).hidden = !text;
  if (text) at(id === 'done' ? 'problem' : 'done').hidden = true;
}

// ---------------------------------------------------------------- numbers

const number = (value, digits = 0) => value.toLocaleString('en', { maximumFractionDigits: digits });

function seconds(value) {
  if (value === null || value === undefined) return '–';
  if (value < 1e-6) return `${number(value * 1e9)} ns`;
  if (value < 1e-3) return `${number(value * 1e6, value < 1e-5 ? 1 : 0)} µs`;
  if (value < 1) return `${number(value * 1e3, value < 1e-2 ? 1 : 0)} ms`;
  return `${number(value, 1)} s`;
}

function span(ms) {
  const minutes = Math.floor(ms / 60000);
  if (minutes < 1) return `${Math.floor(ms / 1000)} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

const clock = ms => new Date(ms).toLocaleTimeString('en-GB');

function growth(now, then) {
  if (!now) return null;
  if (!then || then.bounds_secs.length !== now.bounds_secs.length) return now;
  return { bounds_secs: now.bounds_secs, counts: now.counts.map((count, place) => count - then.counts[place]) };
}

// As LatencyView::quantile of sgl-api.
function quantile(times, share) {
  const total = times ? times.counts.reduce((sum, count) => sum + count, 0) : 0;
  if (!total) return null;
  let below = 0, from = 0;
  for (const [place, bound] of times.bounds_secs.entries()) {
    const within = times.counts[place];
    if (within > 0 && below + within >= share * total) {
      return from + (bound - from) * Math.min(1, Math.max(0, (share * total - below) / within));
    }
    below += within;
    from = bound;
  }
  return times.bounds_secs[times.bounds_secs.length - 1];
}

const answered = status => status.requests.succeeded + status.requests.client_errors + status.requests.server_errors;
const broken = status => status.requests.server_errors + status.requests.broken;

// What happened between two looks.
function between(then, now) {
  const time = (now.time - then.time) / 1000;
  const first = growth(now.status.first_byte, then.status.first_byte);
  const decided = growth(now.status.decision, then.status.decision);
  return {
    rate: (answered(now.status) - answered(then.status)) / time,
    failed: (broken(now.status) - broken(then.status)) / time,
    ttft: [quantile(first, 0.5), quantile(first, 0.99)],
    decision: [quantile(decided, 0.5), quantile(decided, 0.99)],
  };
}

const back = count => looks[Math.max(0, looks.length - 1 - count)];

// ---------------------------------------------------------------- pictures

const SVG = 'http://www.w3.org/2000/svg';

function drawn(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function curve(id, lines, unit) {
  const svg = at(id), width = svg.clientWidth || 300, height = svg.clientHeight || 110;
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const values = lines.flat().filter(value => value !== null && Number.isFinite(value));
  const top = values.length ? Math.max(...values) : 0;
  const parts = [drawn('line', { class: 'grid', x1: 0, x2: width, y1: height - 14, y2: height - 14 })];
  parts.push(drawn('text', { x: 0, y: 11 }, top ? unit(top) : 'nothing yet'));
  parts.push(drawn('text', { x: 0, y: height - 2 }, '5 min ago'), drawn('text', { x: width - 22, y: height - 2 }, 'now'));
  lines.forEach((line, place) => {
    const points = [];
    line.forEach((value, step) => {
      if (value === null || !Number.isFinite(value)) return;
      const x = width - (line.length - 1 - step) * width / (KEPT_LOOKS - 1);
      points.push(`${x.toFixed(1)},${(height - 14 - (top ? value / top : 0) * (height - 32)).toFixed(1)}`);
    });
    parts.push(drawn('polyline', { class: `l${place + 1}`, points: points.join(' ') }));
  });
  svg.replaceChildren(...parts);
}

function curves() {
  const steps = [];
  for (let place = 1; place < looks.length; place++) steps.push(between(looks[Math.max(0, place - 5)], looks[place]));
  curve('curve-rate', [steps.map(step => step.rate)], value => number(value, value < 10 ? 1 : 0));
  for (const what of ['ttft', 'decision']) {
    curve(`curve-${what}`, [0, 1].map(part => steps.map(step => step[what][part])), seconds);
  }
}

// ---------------------------------------------------------------- parts of the page

function table(id, heads, rows, none) {
  const cell = (name, content, isNumber) => element(name, content, isNumber ? { class: 'number' } : {});
  const head = element('tr', heads.map(([title, isNumber]) => cell('th', title, isNumber)));
  const body = rows.map(({ cells, className }) =>
    element('tr', cells.map((content, place) => cell('td', content, heads[place][1])), { class: className }));
  if (!rows.length) body.push(element('tr', element('td', none, { colspan: heads.length, class: 'dim' })));
  at(id).replaceChildren(element('thead', head), element('tbody', body));
}

const button = (title, action) => element('button', title, { type: 'button', onclick: action });

function sure(method, path, what) {
  return () => { if (confirm(`${what}?`)) change(method, path, what); };
}

function tiles(now) {
  const step = between(back(WINDOW_LOOKS), now), { workers, requests } = now.status;
  const has = looks.length > 1;
  at('rate').textContent = has ? number(step.rate, step.rate < 10 ? 1 : 0) : '–';
  at('rate-note').textContent = `a second · ${number(answered(now.status))} in all`;
  at('ttft').textContent = step.ttft.map(seconds).join(' · ');
  at('decision').textContent = now.status.decision ? step.decision.map(seconds).join(' · ') : 'built in';
  at('decision-note').textContent = now.status.decision ? 'median · 99 %, last 10 s' : 'only plugins are measured';
  at('in-flight').textContent = number(workers.in_flight);
  at('waiting-note').textContent = `${number(requests.waiting)} wait in the router`;
  at('workers-count').textContent = `${workers.healthy} / ${workers.all}`;
  at('workers-count').className = workers.healthy === workers.all ? '' : workers.healthy ? 'warn' : 'bad';
  at('workers-note').textContent = workers.draining ? `ready of all · ${workers.draining} draining` : 'ready of all';
  at('failed').textContent = has ? number(step.failed, 1) : '–';
  at('failed').className = step.failed > 0 ? 'bad' : '';
}

function bound(name, share, text, isBroken) {
  const bar = element('progress', [], { max: 1, value: Math.min(1, Math.max(0, share)) });
  bar.setAttribute('aria-label', name);
  return element('li', [element('span', name), bar, element('span', text, { class: isBroken ? 'bad' : '' })]);
}

const failures = one => Object.values(one.failures).reduce((sum, count) => sum + count, 0);
const failureShare = one => one.decisions ? failures(one) / one.decisions : 0;
const percent = value => `${number(value * 100, 2)} %`;

function canary(plugin) {
  const trial = plugin.generations.find(one => one.role === 'canary');
  const stable = plugin.generations.find(one => one.role === 'stable');
  const bounds = trial && trial.rollout;
  if (!trial || !stable || !bounds) return [];
  const served = Date.now() / 1000 - trial.loaded_at_secs;
  const more = failureShare(trial) - failureShare(stable);
  const [mine, theirs] = [trial.latency_ns.p99 || 0, stable.latency_ns.p99 || 0];
  const allowed = Math.max(theirs * bounds.max_p99_ratio, theirs + bounds.p99_slack_us * 1000);
  return [
    element('p', `Generation ${trial.generation} is on trial with ${number(plugin.canary_percent, 1)} % of the decisions.`),
    element('ul', [
      bound('Time', served / bounds.min_secs, `${span(served * 1000)} of at least ${bounds.min_secs} s`),
      bound('Decisions', trial.decisions / bounds.min_decisions, `${number(trial.decisions)} of at least ${number(bounds.min_decisions)}`),
      bound('More failed decisions', more / (bounds.max_failure_rate_increase || 1), `${percent(Math.max(0, more))} of at most ${percent(bounds.max_failure_rate_increase)}`, more > bounds.max_failure_rate_increase),
      bound('Decision time (99 %)', allowed ? mine / allowed : 0, `${seconds(mine / 1e9)} of at most ${seconds(allowed / 1e9)}`, allowed > 0 && mine > allowed),
    ], { class: 'bounds' }),
  ];
}

// Another policy that has a share of the decisions: its bounds are those of a plugin's canary.
function policyTrial(trial) {
  const { own, stable, bounds } = trial;
  const share = (some, all) => (all ? some / all : 0);
  const more = share(own.failures, own.decisions) - share(stable.failures, stable.decisions);
  const errors = share(own.request_errors, own.requests) - share(stable.request_errors, stable.requests);
  const rows = [
    bound('Time', trial.for_secs / (bounds.min_secs || 1), `${span(trial.for_secs * 1000)} of at least ${bounds.min_secs} s`),
    bound('Decisions', own.decisions / (bounds.min_decisions || 1), `${number(own.decisions)} of at least ${number(bounds.min_decisions)}`),
    bound('More failed decisions', more / (bounds.max_failure_rate_increase || 1), `${percent(Math.max(0, more))} of at most ${percent(bounds.max_failure_rate_increase)}`, more > bounds.max_failure_rate_increase),
    bound('More failed requests', errors / (bounds.max_request_error_rate_increase || 1), `${percent(Math.max(0, errors))} of at most ${percent(bounds.max_request_error_rate_increase)}`, errors > bounds.max_request_error_rate_increase),
  ];
  if (own.p99_ns !== null && stable.p99_ns !== null) {
    const allowed = Math.max(stable.p99_ns * bounds.max_p99_ratio, stable.p99_ns + bounds.p99_slack_us * 1000);
    rows.push(bound('Decision time (99 %)', own.p99_ns / allowed, `${seconds(own.p99_ns / 1e9)} of at most ${seconds(allowed / 1e9)}`, own.p99_ns > allowed));
  }
  return [
    element('p', `The policy ${trial.name} is on trial with ${number(bounds.percent, 1)} % of the decisions.`),
    element('ul', rows, { class: 'bounds' }),
  ];
}

function shadow(plugin) {
  if (!plugin.shadow) return [];
  const { compared, agreed, skipped } = plugin.shadow;
  return [element('p', `A shadow was shown ${number(compared)} decisions and agrees on ${compared ? percent(agreed / compared) : 'none yet'}; it was too slow for ${number(skipped)}.`)];
}

function policy(now) {
  const { plugin, status } = now;
  const trial = status.policy_trial, standIn = status.policy_stand_in;
  const inPlace = standIn ? `, ${standIn.policy ? `${standIn.policy} decides` : 'requests are refused'}` : '';
  const state = plugin && standIn && standIn.because === 'breaker_open' ? 'breaker open' : plugin && plugin.state;
  at('policy').textContent = `· ${status.policy}${plugin ? ` · ${state}${inPlace}` : ' · built in'}${trial ? ` · ${trial.name} on trial` : ''}`;
  at('rollout').replaceChildren(...(trial ? policyTrial(trial) : []), ...(plugin ? [...canary(plugin), ...shadow(plugin)] : []));
  at('generations').hidden = !plugin;
  at('policy-note').textContent = plugin ? policyNote(plugin) : 'A policy that is built in has no generations.';
  const buttons = [...(trial ? trialButtons(trial) : []), ...(plugin ? policyButtons(plugin) : [])];
  at('policy-buttons').replaceChildren(...(mayChange ? buttons : []));
  if (!plugin) return;
  const rows = plugin.generations.map(one => ({
    cells: [one.generation, one.role, one.version || '–', one.digest.slice(0, 12) || '–', number(one.decisions), number(failures(one)),
      seconds(one.latency_ns.p50 === undefined ? null : one.latency_ns.p50 / 1e9), seconds(one.latency_ns.p99 === undefined ? null : one.latency_ns.p99 / 1e9)],
  }));
  table('generations', [['Generation', true], ['Role'], ['Version'], ['Module'], ['Decisions', true], ['Failures', true], ['Median', true], ['99 %', true]], rows, 'none lives');
}

function policyNote(plugin) {
  const blind = (plugin.unreported || []).map(one => `${one.never + one.not_now} of ${one.workers} workers do not report ${one.input}`);
  return [plugin.last_event, plugin.last_failure && `last failure: ${plugin.last_failure}`, `${number(plugin.fallbacks)} decisions by the fallback`, ...blind]
    .filter(Boolean).join(' · ');
}

function trialButtons(trial) {
  const made = (title, action) => button(`${title} ${trial.name}`, sure('POST', `v1/policy/${action}`, `${title} ${trial.name}`));
  return [made('Promote', 'promote'), made('Roll back', 'rollback')];
}

function policyButtons(plugin) {
  const path = `v1/plugins/${encodeURIComponent(plugin.name)}`;
  const made = [];
  const add = (title, action) => made.push(button(title, sure('POST', `${path}/${action}`, `${title} ${plugin.name}`)));
  if (['canary', 'shadow'].includes(plugin.state)) add('Promote', 'promote');
  if (['canary', 'shadow', 'probation'].includes(plugin.state)) add('Roll back', 'rollback');
  if (plugin.state === 'paused') add('Resume', 'resume'); else add('Pause', 'pause');
  return made;
}

function workerState(worker) {
  const words = [];
  if (worker.draining) words.push(['draining', 'warn']);
  if (worker.circuit !== 'closed') words.push([`circuit ${worker.circuit.replace('_', ' ')}`, 'bad']);
  if (!worker.passing) words.push(worker.checked === false ? ['not checked yet', 'warn'] : ['fails its checks', 'bad']);
  if (worker.full) words.push(['full', 'warn']);
  if (!words.length) words.push(worker.healthy ? ['ready', 'good'] : ['not ready', 'bad']);
  return words.map(([word, className], place) => element('span', `${place ? ', ' : ''}${word}`, { class: className }));
}

function shares(now) {
  const then = new Map(back(WINDOW_LOOKS).workers.map(worker => [worker.url, worker.succeeded + worker.failed]));
  const grew = now.workers.map(worker => Math.max(0, worker.succeeded + worker.failed - (then.get(worker.url) || 0)));
  const all = grew.reduce((sum, count) => sum + count, 0);
  return grew.map(count => (all ? count / all : null));
}

function workers(now) {
  const parts = shares(now);
  const known = value => (value === null || value === undefined || value < 0 ? '–' : number(value));
  const rows = now.workers.map((worker, place) => {
    const share = parts[place], report = worker.report || {};
    const bar = share === null ? '–' : element('span', [element('i', [], { 'data-share': share }), element('b', `${number(share * 100)} %`)], { class: 'share' });
    const age = report.report_age_ms;
    const cells = [worker.url, workerState(worker), [worker.engine.name || '–', worker.model ? ` · ${worker.model}` : ''], number(worker.load), bar,
      known(report.running), known(report.waiting), seconds(typeof report.latency_ms === 'number' ? report.latency_ms / 1000 : null), report.kv_usage === null || report.kv_usage === undefined ? '–' : percent(report.kv_usage),
      age === null || age === undefined || age < 0 ? 'never' : seconds(age / 1000), number(worker.failed)];
    if (mayChange) cells.push(element('span', workerButtons(worker, now.status.workers), { class: 'buttons' }));
    return { cells };
  });
  const heads = [['Worker'], ['State'], ['Engine'], ['In flight', true], ['Share, last 10 s'], ['Running', true], ['Queued', true], ['Latency', true], ['KV', true], ['Report', true], ['Failed', true]];
  if (mayChange) heads.push(['']);
  table('workers', heads, rows, 'There is no worker yet: add one with POST /workers or in the configuration.');
  // Styles in markup are not allowed here; a property of an element is.
  for (const bar of at('workers').querySelectorAll('i[data-share]')) bar.style.width = `${bar.dataset.share * 100}%`;
}

// When a source was last answered, what it told of, and what is held back of its last answer.
function sources(now) {
  const classes = { current: 'good', waiting: 'warn', holding: 'warn', failing: 'bad' };
  const rows = now.sources.map(source => {
    const count = state => source.members.filter(member => member.state === state).length;
    const held = count('held');
    const state = element('span', [source.state, source.fault ? `: ${source.fault}` : ''], { class: classes[source.state] });
    return { cells: [source.source, source.name, state, source.age_ms === null ? 'never' : span(source.age_ms),
      number(source.members.length), number(count('serving')), held ? `${number(held)}, for ${span(source.held_ms || 0)}` : '0'] };
  });
  at('sources-section').hidden = !rows.length;
  table('sources', [['Source'], ['Name'], ['State'], ['Answered, ago', true], ['Workers', true], ['Serving', true], ['Held', true]], rows, '');
}

function workerButtons(worker, counts) {
  const query = `url=${encodeURIComponent(worker.url)}`;
  if (worker.draining) return [button('Undrain', sure('POST', `workers/undrain?${query}`, `Undrain ${worker.url}`))];
  const isLast = worker.healthy && counts.healthy === 1 && !counts.full;
  return [isLast
    ? button('Drain', sure('POST', `workers/drain?${query}&force=true`, `Drain ${worker.url}, the last worker that is ready`))
    : button('Drain', sure('POST', `workers/drain?${query}`, `Drain ${worker.url}`))];
}

function decisions(now) {
  const place = at('decisions');
  if (!now.decisions) {
    place.replaceChildren(element('p', 'Nothing is recorded: start the router with --record-sample SHARE.', { class: 'dim' }));
    return;
  }
  const all = now.decisions.decisions.map(decision);
  place.replaceChildren(...(all.length ? all : [element('p', 'None is recorded yet.', { class: 'dim' })]));
}

function decision(record) {
  const last = record.decisions[record.decisions.length - 1];
  const { outcome } = record;
  const why = last && (last.reason || last.failure || `${last.chooser} over ${last.candidates.length} of ${last.workers} workers`);
  const head = element('summary', [
    element('time', clock(record.time_unix_ms)), `${outcome.worker || outcome.end.replace('_', ' ')} `,
    element('span', [why || '', ` · ${seconds(outcome.total_ms / 1000)} · ${record.route}`], { class: 'dim' }),
  ]);
  const open = openDecisions.has(record.request_id);
  const made = element('details', head, open ? { open: '' } : {});
  made.addEventListener('toggle', () => (made.open ? openDecisions.add(record.request_id) : openDecisions.delete(record.request_id)));
  made.append(element('p', [`request ${record.request_id}`, last ? ` · decided in ${seconds(last.cost_ns / 1e9)}` : '', outcome.error ? ` · ${outcome.error}` : ''], { class: 'dim' }));
  if (last) made.append(element('div', candidates(last), { class: 'wide' }));
  return made;
}

function candidates(last) {
  const facts = [['In flight', one => one.load], ['Prefix', one => one.prefix_match], ['Running', one => one.running], ['Queued', one => one.waiting], ['KV', one => one.kv_usage], ['Score', one => one.score]];
  const shown = facts.filter(([, of]) => last.candidates.some(one => of(one) !== undefined));
  const head = element('tr', [element('th', 'Candidate'), ...shown.map(([title]) => element('th', title, { class: 'number' }))]);
  const rows = last.candidates.slice(0, 64).map(one => element('tr', [
    element('td', `${one.url}${one.admitted ? '' : ' (not admitted)'}`),
    ...shown.map(([, of]) => element('td', of(one) === undefined ? '–' : number(of(one), 3), { class: 'number' })),
  ], last.chosen.includes(one.index) ? { class: 'chosen' } : {}));
  return element('table', [element('thead', head), element('tbody', rows)]);
}

function plugins(now) {
  const rows = now.plugins.map(one => ({
    cells: [one.name, [one.state, one.in_use ? ' · in use' : ''], one.generation, one.version || '–', number(one.decisions), number(one.fallbacks), number(one.failures), seconds(one.p99_ns === null ? null : one.p99_ns / 1e9)],
  }));
  table('plugins', [['Name'], ['State'], ['Generation', true], ['Version'], ['Decisions', true], ['Fallbacks', true], ['Failures', true], ['99 %', true]], rows, 'None is loaded.');
}

function fleet(now) {
  const seen = now.fleet;
  at('fleet').hidden = !seen;
  if (!seen) return;
  at('fleet-name').textContent = `· ${seen.name} · ${seen.routers.length} heard of · this router is ${seen.router}`;
  const trouble = seen.holding ? `Not followed: ${seen.holding}` : seen.connected ? seen.fault : 'NATS is not reached: this router goes on with what it serves.';
  at('fleet-note').textContent = trouble || '';
  at('fleet-note').hidden = !trouble;
  const of = one => `${one.step}/${one.steps.length}${one.step ? ` · ${one.percent} %` : ' · made ready'}`;
  const rollouts = seen.plugins.map(one => ({
    cells: [one.name, one.generation, one.state.replace('_', ' '), of(one), `${one.serving}/${seen.routers.length}`, `${one.placing}/${seen.routers.length}`, one.digest.slice(0, 12), one.waits_for || one.reason],
    className: one.state === 'rolled_back' ? 'bad' : undefined,
  }));
  table('fleet-plugins', [['Plugin'], ['Generation', true], ['State'], ['Step'], ['Serving', true], ['Places', true], ['Module'], ['Why']], rollouts, 'Nothing is to be served yet.');
  const notes = (router, one) => [router.holding && `holds: ${router.holding}`, one.failed, one.breaker_open && 'breaker open', one.diverged && 'serves what it was given alone'].filter(Boolean).join('; ');
  const routers = seen.routers.flatMap(router => (router.plugins.length ? router.plugins : [{}]).map(one => ({
    cells: [router.name, one.name || '–', one.serving || '–', one.prepared || '–', number(one.decisions || 0), number(one.failures || 0), notes(router, one)],
  })));
  table('fleet-routers', [['Router'], ['Plugin'], ['Serves', true], ['Warm', true], ['Decisions', true], ['Failures', true], ['']], routers, 'No router is heard of.');
}

function events(now) {
  const classes = { warn: 'warn', error: 'bad' };
  at('events').replaceChildren(...now.events.map(event => element('li', [
    element('time', clock(event.at_unix_ms)), element('span', event.what, { class: classes[event.level] }),
    element('span', ` ${event.about.join(' ')}`, { class: 'dim' }),
  ])));
}

function state(now) {
  const { status } = now;
  at('version').textContent = status.version;
  const ready = status.ready && status.workers.healthy > 0;
  at('state').textContent = `${!status.ready ? 'stopping' : ready ? 'serving' : 'no worker is ready'} · up ${span(status.uptime_ms)}`;
  at('state').className = `state ${ready ? 'good' : 'bad'}`;
}

// ---------------------------------------------------------------- the turns

function paint(now) {
  for (const part of [state, tiles, policy, workers, sources, decisions, plugins, fleet, events]) part(now);
  curves();
}

async function turn() {
  try {
    const now = await look();
    if (looks.length && now.status.uptime_ms < looks[looks.length - 1].status.uptime_ms) looks.length = 0;
    looks.push(now);
    if (looks.length > KEPT_LOOKS) looks.shift();
    mayChange = now.status.asks_token && token !== '';
    at('token-form').hidden = !now.status.asks_token;
    at('token-forget').hidden = !token;
    if (at('problem').dataset.of === 'look') show('problem', '');
    delete at('problem').dataset.of;
    paint(now);
  } catch (error) {
    lost(error);
  }
}

function lost(error) {
  const asksToken = error instanceof Refusal && error.status === 401;
  at('state').textContent = asksToken ? 'a token is needed' : 'not reached';
  at('state').className = 'state bad';
  const what = asksToken ? (token ? 'This token is not the right one.' : 'This router asks for its operators\' token: give it above.')
    : error instanceof Refusal ? error.message : 'The router does not answer; asking again every second.';
  show('problem', what);
  at('problem').dataset.of = 'look';
}

at('token-form').addEventListener('submit', event => {
  event.preventDefault();
  token = at('token').value.trim();
  at('token').value = '';
  sessionStorage.setItem(TOKEN_KEY, token);
  turn();
});
at('token-forget').addEventListener('click', () => {
  token = '';
  sessionStorage.removeItem(TOKEN_KEY);
  location.reload();
});

async function turns() {
  for (;;) {
    if (!document.hidden || !looks.length) await turn();
    await new Promise(resolve => setTimeout(resolve, PERIOD_MS));
  }
}
turns();
