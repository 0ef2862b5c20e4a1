// What a policy hears of, and what you write.
import { Choice } from "./choice";
import { Context } from "./context";
import { Maybe } from "./element";
import { Init } from "./init";
import { Table } from "./table";
import { Concurrency } from "./words";

// A streamed answer that has begun.
export class FirstToken {
  worker: u32 = 0;
  tag: Maybe = new Maybe("");
  ms: f32 = 0;
}

// A request that ended. Times are NaN where they are not known.
export class Completion {
  worker: u32 = 0;
  ok: bool = false;
  status: Maybe = new Maybe("");
  firstByteMs: f32 = 0;
  totalMs: f32 = 0;
  promptTokens: Maybe = new Maybe("");
  completionTokens: Maybe = new Maybe("");
  cachedTokens: Maybe = new Maybe("");
  tag: Maybe = new Maybe("");
}

export abstract class Policy {
  // Reads the configuration: init.knownKeys(…), init.numberIn(…); init.fail("…") refuses it.
  abstract init(init: Init): void;
  abstract select(ctx: Context): Choice;
  onWorkers(table: Table): void {}
  selectPair(ctx: Context): Choice { return Choice.failed("the policy exports select_worker_pair without selectPair"); }
  onFirstToken(first: FirstToken): void {}
  onComplete(completion: Completion): void {}
  onSessionEnd(session: string): void {}
  saveState(): ArrayBuffer { return new ArrayBuffer(0); }
  restoreState(saved: ArrayBuffer): void {}
}

// The policy that plugin(…) was called with.
export let policy: Policy | null = null;
export const context = new Context();

// Says what the policy is. The transform makes the manifest of the same texts.
export function plugin(
  name: string,
  description: string,
  inputs: string[],
  made: Policy,
  concurrency: Concurrency = Concurrency.Parallel,
  version: string = "",
): void {
  context.list(inputs);
  policy = made;
}
