// Reads every input, gives every answer, has every hook, calls every function of the host: the same in all languages
// and in Rust (tests/fixtures/plugins/everything), held to each other by tests/languages.
import {
  Bits, Choice, Completion, Concurrency, Context, FirstToken, Floats, Init, Ints, Level, Lowest, Maybe, Policy, Table,
  Text, Worker, counterAdd, hash, kvGet, kvSet, kvSetFor, log, mix, plugin,
} from "../sgl_policy";
export {
  alloc, dealloc, init, on_complete, on_first_token, on_session_end, on_workers, restore_state, save_state,
  select_worker, select_worker_pair,
} from "../sgl_policy";

// Numbers that stand for all that was read.
class Digest {
  value: u64 = 0;

  number(number: u64): void { this.value = mix((this.value ^ number) + 0x9e3779b97f4a7c15); }

  view(text: Text): void {
    this.number(text.isNil ? 1 : 2);
    if (!text.isNil) this.number(text.hash());
  }

  text(text: string | null): void {
    this.number(text === null ? 1 : 2);
    if (text !== null) this.number(hash(text));
  }

  maybe(number: Maybe): void {
    this.number(number.known ? 2 : 1);
    if (number.known) this.number(number.number);
  }

  float(number: f32): void { this.number(isNaN(number) ? 0x7fc00000 : reinterpret<u32>(number)); }

  bits(workers: i32, bits: Bits): void {
    for (let i = 0; i < workers; i++) this.number(u64(bits.get(i)));
  }

  ints(workers: i32, column: Ints): void {
    for (let i = 0; i < workers; i++) this.number(u64(u32(column.get(i))));
  }

  floats(workers: i32, column: Floats): void {
    for (let i = 0; i < workers; i++) this.float(column.get(i));
  }
}

function textOf(bytes: ArrayBuffer | null): string | null {
  return bytes === null ? null : String.UTF8.decode(bytes);
}

class Everything extends Policy {
  // Of the configuration and of all that the hooks were told.
  private told: Digest = new Digest();
  private lowest: Lowest = new Lowest();

  init(init: Init): void {
    init.knownKeys(["ratio", "size", "on", "label", "mode", "team_header"]);
    this.told = new Digest();
    this.told.number(reinterpret<u64>(init.numberIn("ratio", 0.5, 0, 1)));
    this.told.number(init.sizeIn("size", 7, 1, 100));
    this.told.number(u64(init.flag("on", false)));
    this.told.text(init.text("label", "none"));
    this.told.number(init.oneOf("mode", ["fast", "slow"]));
    this.told.text(init.plugin);
    this.told.number(init.generation);
    this.told.number(init.seed);
  }

  onWorkers(table: Table): void {
    this.told.number(table.length);
    for (let i = 0; i < table.length; i++) this.tellOf(table.get(i));
  }

  private tellOf(worker: Worker): void {
    this.told.view(worker.url);
    this.told.view(worker.model);
    this.told.view(worker.engine);
    this.told.number(worker.role);
    this.told.number(reinterpret<u64>(worker.weight));
    this.told.maybe(worker.kvCapacityTokens);
    this.told.maybe(worker.blockSize);
    this.told.maybe(worker.maxRunningRequests);
    this.told.maybe(worker.dpRank);
    this.told.view(worker.label("zone"));
    this.told.number(u64(worker.serves("sql")));
  }

  onFirstToken(first: FirstToken): void {
    this.told.number(first.worker);
    this.told.maybe(first.tag);
    this.told.float(first.ms);
  }

  onComplete(done: Completion): void {
    this.told.number(done.worker);
    this.told.number(u64(done.ok));
    this.told.maybe(done.status);
    this.told.float(done.firstByteMs);
    this.told.float(done.totalMs);
    this.told.maybe(done.promptTokens);
    this.told.maybe(done.completionTokens);
    this.told.maybe(done.cachedTokens);
    this.told.maybe(done.tag);
  }

  onSessionEnd(session: string): void { this.told.text(session); }

  saveState(): ArrayBuffer {
    const saved = new ArrayBuffer(8);
    store<u64>(changetype<usize>(saved), this.told.value);
    return saved;
  }

  restoreState(saved: ArrayBuffer): void { this.told.text(textOf(saved)); }

  private columns(digest: Digest, ctx: Context): void {
    digest.bits(ctx.length, ctx.healthy);
    digest.bits(ctx.length, ctx.excluded);
    digest.ints(ctx.length, ctx.load);
    digest.ints(ctx.length, ctx.running);
    digest.ints(ctx.length, ctx.waiting);
    digest.ints(ctx.length, ctx.queuedTokens);
    digest.floats(ctx.length, ctx.kvUsage);
    digest.floats(ctx.length, ctx.throughput);
    digest.floats(ctx.length, ctx.latencyEwma);
    digest.ints(ctx.length, ctx.reportAgeMs);
    digest.ints(ctx.length, ctx.prefillLoad);
    digest.ints(ctx.length, ctx.prefillTokens);
    digest.ints(ctx.length, ctx.uncachedTokens);
    digest.ints(ctx.length, ctx.tokensInFlight);
    digest.floats(ctx.length, ctx.pendingCost);
    digest.ints(ctx.length, ctx.oldestPendingMs);
    digest.floats(ctx.length, ctx.ttftEwma);
    digest.floats(ctx.length, ctx.tpotEwma);
    digest.ints(ctx.length, ctx.loadElsewhere);
    digest.ints(ctx.length, ctx.prefixMatch);
  }

  private request(digest: Digest, ctx: Context): void {
    const tokens = ctx.requestTokens, hashes = ctx.prefixHashes;
    digest.view(ctx.requestText);
    digest.number(tokens.isNil ? 1 : tokens.count + 2);
    for (let i = 0; i < tokens.count; i++) digest.number(tokens.get(i));
    digest.number(ctx.promptBytes);
    digest.number(ctx.promptTokens);
    digest.number(u64(ctx.promptTokensExact));
    digest.maybe(ctx.maxTokens);
    digest.number(u64(ctx.stream));
    digest.view(ctx.route);
    digest.view(ctx.session);
    digest.view(ctx.clientKey);
    digest.number(hashes.isNil ? 1 : hashes.count + 2);
    for (let i = 0; i < hashes.count; i++) digest.number(hashes.get(i));
    digest.float(ctx.arrivalRate);
    digest.view(ctx.model);
    digest.number(ctx.waitedMs);
    digest.number(ctx.mayWaitMs);
    digest.number(ctx.held);
    digest.number(ctx.leg);
    digest.number(ctx.random);
    digest.number(ctx.nowNs);
    digest.view(ctx.input("header:x-session-id"));
    digest.view(ctx.input("config_header:team_header"));
    digest.view(ctx.input("field:/user"));
  }

  private digest(ctx: Context): u64 {
    const digest = new Digest();
    digest.value = this.told.value;
    digest.number(ctx.length);
    this.columns(digest, ctx);
    this.request(digest, ctx);
    return digest.value;
  }

  // What every function of the host says.
  private digestOfHost(): u64 {
    const digest = new Digest();
    log(Level.Info, "hello");
    digest.number(counterAdd(3, 5));
    digest.number(counterAdd(3, -2));
    digest.number(kvSet("key", String.UTF8.encode("word")));
    digest.text(textOf(kvGet("key")));
    digest.number(kvSetFor("key", new ArrayBuffer(0), 0));
    digest.text(textOf(kvGet("key")));
    return digest.value;
  }

  private leastLoaded(ctx: Context): Choice {
    this.lowest.start(ctx.random);
    for (let worker = ctx.first(); worker >= 0; worker = ctx.next()) this.lowest.offer(ctx.load.get(worker), worker);
    return this.lowest.choice();
  }

  private explained(ctx: Context): Choice {
    const scores = new StaticArray<f32>(min(ctx.length, 1000));
    for (let i = 0; i < scores.length; i++) scores[i] = f32(i) / 2;
    const choice = Choice.worker(1).withScores(scores).withReason("the second is enough");
    return choice.withTag(this.digest(ctx)).withCost(0.5);
  }

  select(ctx: Context): Choice {
    const command = ctx.input("query:key");
    if (command.is("least")) return this.leastLoaded(ctx);
    if (command.is("nobody")) return Choice.nobody();
    if (command.is("wait")) return Choice.wait(1.5, 500);
    if (command.is("shed")) return Choice.shed(2500);
    if (command.is("failed")) return Choice.failed("cold");
    if (command.is("host")) return Choice.worker(0).withTag(this.digestOfHost());
    if (command.is("panic")) throw new Error("asked to");
    if (command.is("explained")) return this.explained(ctx);
    if (command.is("waits because")) return Choice.wait(-2, 70000).withReason("behind its tenant");
    if (command.is("cost")) return Choice.worker(0).withCost(1.5);
    const digest = this.digest(ctx);
    if (command.is("far")) return Choice.worker(i32(digest & 0xffff));
    return this.leastLoaded(ctx).withTag(digest);
  }

  selectPair(ctx: Context): Choice {
    const command = ctx.input("query:key");
    if (command.is("nobody")) return Choice.nobody();
    if (command.is("wait")) return Choice.wait(1.5, 500);
    if (command.is("shed")) return Choice.shed(2500).withReason("full");
    if (command.is("failed")) return Choice.failed("cold");
    if (command.is("least")) return Choice.pair(300, 1);
    const choice = Choice.pair(1, 0).withTag(this.digest(ctx));
    if (command.is("cost")) choice.withCost(1.5, 2.5);
    return command.is("explained") ? choice.withReason("both") : choice;
  }
}

plugin(
  "everything",
  "a digest of all that it is told",
  [
    "healthy", "excluded", "load", "running", "waiting", "queued_tokens", "kv_usage", "throughput", "latency_ewma",
    "report_age_ms", "prefill_load", "prefill_tokens", "uncached_tokens", "tokens_in_flight", "pending_cost",
    "oldest_pending_ms", "ttft_ewma", "tpot_ewma", "load_elsewhere", "prefix_match", "request_text", "request_tokens",
    "prompt_bytes", "prompt_tokens", "prompt_tokens_exact", "max_tokens", "stream", "route", "session", "client_key",
    "prefix_hashes", "arrival_rate", "model", "waited_ms", "may_wait_ms", "held", "leg", "random", "now_ns",
    "header:x-session-id", "config_header:team_header", "field:/user", "query:key",
  ],
  new Everything(),
  Concurrency.Serial,
  "1.2",
);
