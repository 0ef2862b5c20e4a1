// The operators' page in a real browser: usage: node page.mjs ROUTER CHROMIUM MODULE SCREENSHOTS
// Starts simulated workers, a router and a load, looks at the page as an operator would, and takes
// screenshots. Ends all that it started.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';

const [router, browserPath, module, screenshots] = process.argv.slice(2);
const run = promisify(execFile);
const dir = mkdtempSync(join(tmpdir(), 'sgl-router-page-'));
const children = [];
let checks = 0;

async function check(what, body) {
  try {
    await body();
  } catch (error) {
    error.message = `${what}: ${error.message}`;
    throw error;
  }
  checks += 1;
  console.log(`ok ${what}`);
}

// Starts a program and waits for the line that says that it is there.
function start(args, line) {
  const child = spawn(router, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  return new Promise((resolve, reject) => {
    let text = '';
    const take = piece => {
      text += piece;
      const found = text.match(line);
      if (found) resolve(found);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.once('exit', code => reject(new Error(`${args[0]} ended with ${code}: ${text}`)));
  });
}

async function startRouter(workers, token) {
  const found = await start(['serve', '--log-format', 'json', '--port', '0', '--prometheus-port', '0', '--admin-port', '0',
    '--plugin', `mine=${module}`, '--policy', 'mine', '--record-sample', '1', '--admin-token-file', token,
    '--worker-urls', ...workers], /"clients":"([^"]+)","metrics":"([^"]+)","admin":"([^"]+)"/);
  return { data: `http://${found[1]}`, admin: `http://${found[3]}` };
}

const plugin = (admin, ...args) => run(router, ['plugin', '--admin-url', admin, '--admin-token-file', join(dir, 'token'), ...args]);

// What must not happen while the page is looked at.
function watch(page, origin) {
  const faults = [];
  page.on('console', message => {
    // The browser itself notes each refused request; the page tells the operator of it.
    if (message.type() === 'error' && !message.text().includes('401')) faults.push(message.text());
  });
  page.on('pageerror', error => faults.push(String(error)));
  page.on('request', request => {
    if (!request.url().startsWith(origin) && !request.url().startsWith('data:')) faults.push(`asked ${request.url()}`);
  });
  return faults;
}

const shown = (page, selector, text) => page.locator(selector, { hasText: text }).first().waitFor({ timeout: 30000 });

async function main() {
  mkdirSync(screenshots, { recursive: true });
  writeFileSync(join(dir, 'token'), 'token-of-this-test\n', { mode: 0o600 });
  const listening = [];
  for (const seed of ['1', '2', '3']) {
    listening.push(await start(['sim-worker', '--engine', 'vllm', '--seed', seed, '--decode-ms', '2', '--default-tokens', '12'], /listening on (http:\S+)/));
  }
  const workers = listening.map(found => found[1]);
  const { data, admin } = await startRouter(workers, join(dir, 'token'));
  const load = spawn(router, ['load', '--url', data, '--rate', '40', '--duration', '150s'], { stdio: 'ignore' });
  children.push(load);

  const browser = await chromium.launch({ executablePath: browserPath, args: ['--no-sandbox'] });
  children.push({ kill: () => browser.close() });
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, colorScheme: 'light' });
  const faults = watch(page, admin);
  page.on('dialog', dialog => dialog.accept());

  await check('asks for the token before it shows anything', async () => {
    await page.goto(admin);
    await shown(page, '#problem', 'token');
    assert.equal(await page.locator('#workers tbody tr').count(), 0);
  });
  await check('refuses a wrong token', async () => {
    await page.fill('#token', 'wrong');
    await page.click('#token-use');
    await shown(page, '#problem', 'not the right one');
  });
  await check('shows workers, policy, decisions and events with it', async () => {
    await page.fill('#token', 'token-of-this-test');
    await page.click('#token-use');
    await shown(page, '#state', 'serving');
    for (const worker of workers) await shown(page, '#workers td', worker);
    await shown(page, '#policy', 'mine');
    await shown(page, '#decisions summary', workers[0].slice(0, 16));
    await shown(page, '#events li', 'serving');
    assert.ok(await page.locator('#problem').isHidden());
  });
  await check('is brought up to date while requests come', async () => {
    const total = async () => Number((await page.textContent('#rate-note')).replace(/\D/g, ''));
    const before = await total();
    await page.waitForFunction(from => Number(document.getElementById('rate-note').textContent.replace(/\D/g, '')) > from, before, { timeout: 30000 });
    await page.waitForFunction(() => /s · /.test(document.getElementById('ttft').textContent), null, { timeout: 30000 });
    for (const curve of ['rate', 'ttft', 'decision']) {
      await page.waitForFunction(name => {
        const line = document.querySelector(`#curve-${name} polyline`);
        return line && line.getAttribute('points').split(' ').length > 3;
      }, curve, { timeout: 30000 }).catch(error => { throw new Error(`#curve-${curve}: ${error.message}`); });
    }
    // Of each worker, as the table names its columns: a part of the load, and the age of what it said.
    const heads = await page.locator('#workers thead th').allTextContents();
    const column = title => heads.findIndex(head => head.startsWith(title)) + 1;
    for (const [title, pattern] of [['Share', /^\d+ %$/], ['Report', /^[\d.,]+ (ns|µs|ms|s)$/]]) {
      const cells = await page.locator(`#workers tbody td:nth-child(${column(title)})`).allTextContents();
      assert.equal(cells.length, workers.length, title);
      for (const cell of cells) assert.match(cell, pattern, title);
    }
  });
  await check('opens a decision with its candidates, and keeps it open', async () => {
    await page.locator('#decisions summary').first().click();
    await page.locator('#decisions details[open] tr.chosen').first().waitFor();
  });
  await check('sees a push as a canary with its bounds', async () => {
    await plugin(admin, 'push', module, '--name', 'mine', '--canary', '25', '--canary-secs', '600');
    await shown(page, '#policy', 'canary');
    await shown(page, '#rollout', '25 % of the decisions');
    await shown(page, '#rollout li', 'of at least 600 s');
    await shown(page, '#generations td', 'canary');
    await page.waitForTimeout(4000);
    await page.screenshot({ path: join(screenshots, 'page.png'), fullPage: true });
  });
  await check('promotes it by a button', async () => {
    await page.click('#policy-buttons button:text("Promote")');
    await shown(page, '#done', 'Promote mine: done');
    await shown(page, '#policy', 'probation');
  });
  await check('shows another policy on trial with its bounds, and rolls it back by a button', async () => {
    await run(router, ['policy', '--admin-url', admin, '--admin-token-file', join(dir, 'token'), 'use', 'round_robin', '--canary', '25', '--canary-secs', '600']);
    await shown(page, '#policy', 'round_robin on trial');
    await shown(page, '#rollout', 'The policy round_robin is on trial with 25 % of the decisions');
    await shown(page, '#rollout li', 'of at least 600 s');
    await page.click('#policy-buttons button:text("Roll back round_robin")');
    await shown(page, '#done', 'Roll back round_robin: done');
    await page.waitForFunction(() => !document.getElementById('policy').textContent.includes('on trial'), null, { timeout: 30000 });
  });
  await check('drains a worker by a button, and undrains it', async () => {
    const row = page.locator('#workers tbody tr').first();
    await row.locator('button:text("Drain")').click();
    await row.locator('td', { hasText: 'draining' }).waitFor();
    await row.locator('button:text("Undrain")').click();
    await row.locator('td', { hasText: 'ready' }).waitFor();
  });
  await check('says that a router is gone, and goes on when it is back', async () => {
    await page.route('**/v1/status', route => route.abort());
    await shown(page, '#problem', 'does not answer');
    await page.unroute('**/v1/status');
    await shown(page, '#state', 'serving');
    await page.locator('#problem').waitFor({ state: 'hidden' });
    // The browser notes the requests that were cut off above.
    for (let place = faults.length; place--;) if (faults[place].includes('ERR_FAILED')) faults.splice(place, 1);
  });
  await check('fits a phone, dark', async () => {
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.setViewportSize({ width: 390, height: 844 });
    await page.waitForTimeout(1500);
    const widths = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
    assert.ok(widths[0] <= widths[1], `the page is ${widths[0]} wide on a screen of ${widths[1]}`);
    await page.screenshot({ path: join(screenshots, 'page-phone.png') });
  });
  await check('shows no button without a token that is asked for', async () => {
    writeFileSync(join(dir, 'workers.toml'), `[[workers]]\nurl = "${workers[0]}"\n`);
    const open = await start(['serve', '--log-format', 'json', '--port', '0', '--prometheus-port', '0', '--admin-port', '0', '--worker-file', join(dir, 'workers.toml')],
      /"clients":"[^"]+","metrics":"[^"]+","admin":"([^"]+)"/);
    const other = await browser.newPage();
    const further = watch(other, `http://${open[1]}`);
    await other.goto(`http://${open[1]}`);
    await shown(other, '#state', 'serving');
    assert.ok(await other.locator('#token-form').isHidden());
    assert.equal(await other.locator('main button').count(), 0);
    await shown(other, '#decisions', '--record-sample');
    await shown(other, '#sources td', 'workers.toml');
    await shown(other, '#sources td', 'current');
    assert.ok(await page.locator('#sources-section').isHidden());
    assert.deepEqual(further, []);
  });
  await check('has no error in the console, and asks nobody else', async () => assert.deepEqual(faults, []));
}

let code = 0;
try {
  await main();
} catch (error) {
  console.error(error);
  code = 1;
}
for (const child of children.reverse()) await child.kill();
rmSync(dir, { recursive: true, force: true });
console.log(`${checks} passed, ${code} failed`);
process.exit(code);
