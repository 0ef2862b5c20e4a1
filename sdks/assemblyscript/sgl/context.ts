// What is known of one decision.
import {
  Bits, COLUMN_LENGTH, Element, Floats, Hashes, Ints, LegInput, MALFORMED, Maybe, NO_MANIFEST, Rate, Text, Tokens,
  Uint, undeclared,
} from "./element";
import { Kind, Reader } from "./reader";
import { table } from "./table";
import { Leg } from "./words";

// One decision. Each input is read by its name; one that plugin(…) does not list is a panic.
export class Context {
  // Number of workers.
  length: i32 = 0;
  private elements: Element[] = [];
  private order: StaticArray<Element> = new StaticArray<Element>(0);
  private named: Map<string, Text> = new Map();
  private bits: u64 = 0;
  private block: u32 = 0;
  private base: i32 = 0;

  private bits_: StaticArray<Bits> = [this.bitsOf("healthy"), this.bitsOf("excluded")];
  private ints: StaticArray<Ints> = [
    this.intsOf("load"), this.intsOf("running"), this.intsOf("waiting"), this.intsOf("queued_tokens"),
    this.intsOf("report_age_ms"), this.intsOf("prefill_load"), this.intsOf("prefill_tokens"),
    this.intsOf("uncached_tokens"), this.intsOf("tokens_in_flight"), this.intsOf("oldest_pending_ms"),
    this.intsOf("load_elsewhere"), this.intsOf("prefix_match"),
  ];
  private floats: StaticArray<Floats> = [
    this.floatsOf("kv_usage"), this.floatsOf("throughput"), this.floatsOf("latency_ewma"), this.floatsOf("pending_cost"),
    this.floatsOf("ttft_ewma"), this.floatsOf("tpot_ewma"),
  ];
  private texts: StaticArray<Text> = [
    this.textOf("request_text"), this.textOf("route"), this.textOf("session"), this.textOf("client_key"),
    this.textOf("model"),
  ];
  private uints: StaticArray<Uint> = [
    this.uintOf("prompt_bytes"), this.uintOf("prompt_tokens"), this.uintOf("prompt_tokens_exact"),
    this.uintOf("stream"), this.uintOf("waited_ms"), this.uintOf("may_wait_ms"), this.uintOf("held"),
    this.uintOf("random"), this.uintOf("now_ns"),
  ];
  private tokens_: Tokens = this.known(new Tokens("request_tokens"));
  private hashes: Hashes = this.known(new Hashes("prefix_hashes"));
  private max: Maybe = this.known(new Maybe("max_tokens"));
  private rate: Rate = this.known(new Rate("arrival_rate"));
  private leg_: LegInput = this.known(new LegInput("leg"));

  private known<T extends Element>(element: T): T {
    this.elements.push(element);
    return element;
  }
  private bitsOf(name: string): Bits { return this.known(new Bits(name)); }
  private intsOf(name: string): Ints { return this.known(new Ints(name)); }
  private floatsOf(name: string): Floats { return this.known(new Floats(name)); }
  private textOf(name: string): Text { return this.known(new Text(name)); }
  private uintOf(name: string): Uint { return this.known(new Uint(name)); }

  // The inputs, in the order of the manifest.
  list(inputs: string[]): void {
    this.order = new StaticArray<Element>(inputs.length);
    for (let i = 0; i < inputs.length; i++) {
      const element = this.find(inputs[i]);
      element.declared = true;
      this.order[i] = element;
    }
  }

  private find(name: string): Element {
    for (let i = 0; i < this.elements.length; i++) if (this.elements[i].name === name) return this.elements[i];
    const text = new Text(name);
    this.named.set(name, text);
    return text;
  }

  // Reads a message; says what is wrong, or null.
  take(r: Reader): string | null {
    if (!r.is(Kind.Array)) return r.kind === Kind.Map ? NO_MANIFEST : MALFORMED;
    if (r.count !== u32(this.order.length) + 1) return "decision message has not one element per declared input";
    if (!r.is(Kind.Uint)) return MALFORMED;
    if (table.kept && r.number !== table.version) return "decision message names another version of the worker table";
    this.length = table.kept ? table.length : -1;
    for (let i = 0; i < this.order.length; i++) {
      const fault = unchecked(this.order[i]).take(r, this);
      if (fault !== null) return fault;
    }
    if (r.at !== r.end) return MALFORMED;
    const healthy = unchecked(this.bits_[0]), excluded = unchecked(this.bits_[1]);
    // Without a table and a column the bits say that there are eight workers a byte.
    if (this.length < 0) this.length = i32(max(healthy.count, excluded.count) * 8);
    return this.fits(healthy) && this.fits(excluded) ? null : COLUMN_LENGTH;
  }

  @inline private fits(bits: Bits): bool { return bits.count === 0 || bits.count === u32(this.length + 7) / 8; }

  @inline private read<T extends Element>(element: T): T {
    if (!element.declared) undeclared(element.name);
    return element;
  }

  get healthy(): Bits { return this.read(unchecked(this.bits_[0])); }
  get excluded(): Bits { return this.read(unchecked(this.bits_[1])); }
  get load(): Ints { return this.read(unchecked(this.ints[0])); }
  get running(): Ints { return this.read(unchecked(this.ints[1])); }
  get waiting(): Ints { return this.read(unchecked(this.ints[2])); }
  get queuedTokens(): Ints { return this.read(unchecked(this.ints[3])); }
  get reportAgeMs(): Ints { return this.read(unchecked(this.ints[4])); }
  get prefillLoad(): Ints { return this.read(unchecked(this.ints[5])); }
  get prefillTokens(): Ints { return this.read(unchecked(this.ints[6])); }
  get uncachedTokens(): Ints { return this.read(unchecked(this.ints[7])); }
  get tokensInFlight(): Ints { return this.read(unchecked(this.ints[8])); }
  get oldestPendingMs(): Ints { return this.read(unchecked(this.ints[9])); }
  get loadElsewhere(): Ints { return this.read(unchecked(this.ints[10])); }
  get prefixMatch(): Ints { return this.read(unchecked(this.ints[11])); }
  get kvUsage(): Floats { return this.read(unchecked(this.floats[0])); }
  get throughput(): Floats { return this.read(unchecked(this.floats[1])); }
  get latencyEwma(): Floats { return this.read(unchecked(this.floats[2])); }
  get pendingCost(): Floats { return this.read(unchecked(this.floats[3])); }
  get ttftEwma(): Floats { return this.read(unchecked(this.floats[4])); }
  get tpotEwma(): Floats { return this.read(unchecked(this.floats[5])); }
  get requestText(): Text { return this.read(unchecked(this.texts[0])); }
  get route(): Text { return this.read(unchecked(this.texts[1])); }
  get session(): Text { return this.read(unchecked(this.texts[2])); }
  get clientKey(): Text { return this.read(unchecked(this.texts[3])); }
  get model(): Text { return this.read(unchecked(this.texts[4])); }
  get promptBytes(): u64 { return this.read(unchecked(this.uints[0])).number; }
  get promptTokens(): u64 { return this.read(unchecked(this.uints[1])).number; }
  get promptTokensExact(): bool { return this.read(unchecked(this.uints[2])).number !== 0; }
  get stream(): bool { return this.read(unchecked(this.uints[3])).number !== 0; }
  get waitedMs(): u64 { return this.read(unchecked(this.uints[4])).number; }
  get mayWaitMs(): u64 { return this.read(unchecked(this.uints[5])).number; }
  get held(): u64 { return this.read(unchecked(this.uints[6])).number; }
  get random(): u64 { return this.read(unchecked(this.uints[7])).number; }
  get nowNs(): u64 { return this.read(unchecked(this.uints[8])).number; }
  get leg(): Leg { return i32(this.read(this.leg_).number); }
  get requestTokens(): Tokens { return this.read(this.tokens_); }
  get prefixHashes(): Hashes { return this.read(this.hashes); }
  get maxTokens(): Maybe { return this.read(this.max); }
  get arrivalRate(): f32 { return this.read(this.rate).number; }

  // An input with a name of its own, as "header:x-user".
  input(name: string): Text {
    if (!this.named.has(name)) undeclared(name);
    return this.named.get(name);
  }

  // Which of workers 64 × `block` and the 63 after it may be chosen: healthy, and not tried before.
  @inline candidates(block: u32): u64 {
    const left = u32(this.length) - block * 64;
    const inside: u64 = left < 64 ? (u64(1) << u64(left)) - 1 : u64.MAX_VALUE;
    return unchecked(this.bits_[0]).word(block) & ~unchecked(this.bits_[1]).word(block) & inside;
  }

  // The first worker that may be chosen, -1 without one.
  @inline first(): i32 {
    this.block = 0;
    this.bits = 0;
    return this.next();
  }

  // The one after that: for (let worker = ctx.first(); worker >= 0; worker = ctx.next()) …
  @inline next(): i32 {
    // A loop here would cost each worker a look at the clock that ends calls.
    if (this.bits === 0 && !this.nextBlock()) return -1;
    const bits = this.bits;
    this.bits = bits & (bits - 1);
    return this.base + i32(ctz(bits));
  }

  private nextBlock(): bool {
    while (this.bits === 0) {
      if (this.block * 64 >= u32(this.length)) return false;
      this.base = i32(this.block * 64);
      this.bits = this.candidates(this.block++);
    }
    return true;
  }
}
