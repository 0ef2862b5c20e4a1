// The worker with the least prompt work to do, that of the request itself included. The same policy as
// plugins/least_work, which is in Rust; what it is good for: docs/policies/least_work.md.
import { Choice, Context, Init, Lowest, Policy, Table, plugin } from "../sgl_policy";
export { alloc, dealloc, init, on_workers, select_worker } from "../sgl_policy";

class LeastWork extends Policy {
  private requestTokens: f64 = 0;
  private reports: bool = true;
  private byWeight: bool = true;
  // What each worker's work is multiplied by, in table order; infinite for weight 0.
  private shares: StaticArray<f64> = new StaticArray<f64>(0);
  private lowest: Lowest = new Lowest();

  init(init: Init): void {
    init.knownKeys(["request_tokens", "reports", "by_weight"]);
    this.requestTokens = init.numberIn("request_tokens", 16, 0, 1e6);
    this.reports = init.flag("reports", true);
    this.byWeight = init.flag("by_weight", true);
  }

  onWorkers(table: Table): void {
    this.shares = new StaticArray<f64>(table.length);
    for (let i = 0; i < table.length; i++) this.shares[i] = this.byWeight ? 1 / table.get(i).weight : 1;
  }

  select(ctx: Context): Choice {
    const uncached = ctx.uncachedTokens, queued = ctx.queuedTokens, held = ctx.prefixMatch, load = ctx.load;
    const prompt = ctx.promptTokens;
    this.lowest.start(ctx.random);
    for (let worker = ctx.first(); worker >= 0; worker = ctx.next()) {
      const sent = uncached.known(worker);
      // The router's books are never late, and the report sees other routers: the larger counts.
      const said: u32 = this.reports ? queued.known(worker) : 0;
      const hit = u64(held.known(worker));
      const missing = prompt > hit ? f64(prompt - hit) : 0;
      const work = f64(max(sent, said)) + missing + f64(load.get(worker)) * this.requestTokens;
      // Never 0, so that weights count on an idle fleet too.
      this.lowest.offer((work + 1) * this.shares[worker], worker);
    }
    return this.lowest.choice();
  }
}

plugin(
  "least_work",
  "the worker with the least prompt work to do, the request's own included",
  ["healthy", "excluded", "load", "queued_tokens", "uncached_tokens", "prefix_match", "prompt_tokens", "random"],
  new LeastWork(),
);
