// Write a routing policy for sgl-router in AssemblyScript.
//
//     import { Choice, Context, Init, Policy, plugin } from "../sgl_policy";
//     export { alloc, dealloc, init, on_workers, select_worker } from "../sgl_policy";
//
//     class First extends Policy {
//       init(init: Init): void { init.knownKeys([]); }
//       select(ctx: Context): Choice {
//         const worker = ctx.first();
//         return worker < 0 ? Choice.nobody() : Choice.worker(worker);
//       }
//     }
//     plugin("first", "the first worker that may be chosen", ["healthy", "excluded"], new First());
//
// The file exports what the policy has of select_worker_pair, on_first_token, on_complete, on_session_end, and
// save_state with restore_state, too: each calls the method of that name. Without on_workers it has no table.
//
// The first three arguments of `plugin` are literals, since the compiler's transform (sgl_manifest.mjs) makes the
// manifest of them. On the decision path nothing is allocated, and nothing that is read is trusted. Views of a message
// (Text, Ints …) are good until the call returns.

import { host_counter_add, host_kv_get, host_kv_set, host_kv_set_for, host_log } from "./sgl_host";

export const enum Level { Error, Warn, Info, Debug, Trace }
export const enum Leg { Single, Prefill, Decode }
export const enum Role { Regular, Prefill, Decode }
export const enum Concurrency { Parallel, Serial }

// ---- The host. ----

// A line for the router's log.
export function log(level: Level, line: string): void {
  const bytes = String.UTF8.encode(line);
  host_log(level, changetype<usize>(bytes), bytes.byteLength);
}

// Adds to counter 0 to 63 and gives its new value; i64.MIN_VALUE for another slot.
export function counterAdd(slot: i32, delta: i64): i64 {
  return host_counter_add(slot, delta);
}

// The value of a key of the shared map, or null.
export function kvGet(key: string): ArrayBuffer | null {
  const name = String.UTF8.encode(key);
  // Most values are small; a longer one costs a second call.
  for (let room = 256; room <= 65536; room *= 256) {
    const value = new ArrayBuffer(room);
    const length = host_kv_get(changetype<usize>(name), name.byteLength, changetype<usize>(value), room);
    if (length >= 0) return value.slice(0, length);
    if (length !== -2) return null;
  }
  return null;
}

// 0, or a code of the ABI: -3 the value is too large, -4 the map is full, -5 the key is too long.
export function kvSet(key: string, value: ArrayBuffer): i32 {
  const name = String.UTF8.encode(key);
  return host_kv_set(changetype<usize>(name), name.byteLength, changetype<usize>(value), value.byteLength);
}

// The same for so many milliseconds; 0 removes the key.
export function kvSetFor(key: string, value: ArrayBuffer, ms: u32): i32 {
  const name = String.UTF8.encode(key);
  return host_kv_set_for(changetype<usize>(name), name.byteLength, changetype<usize>(value), value.byteLength, ms);
}

// What the compiler calls where a program fails (--use abort=sgl_policy/abort): the router reports the message with
// the trap.
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const what = message === null ? "abort" : message;
  log(Level.Error, `panicked at ${file === null ? "?" : file}:${line}:${column}:\n${what}`);
  unreachable();
}

// ---- MessagePack out of bytes that nobody vouches for. ----

export const enum Kind { Nil, Bool, Uint, Int, Float, Str, Bin, Array, Map }

// Reads heads of values, one after another. What the last head was is in the fields.
export class Reader {
  at: usize = 0;
  end: usize = 0;
  kind: Kind = Kind.Nil;
  number: u64 = 0; // of a boolean and of integers; negative ones in two's complement
  real: f64 = 0; // of a float
  bytes: usize = 0; // of a text and of bytes: where they are, and how many
  length: u32 = 0;
  count: u32 = 0; // elements of an array, entries of a map

  static of(at: usize, length: u32): Reader {
    const r = new Reader();
    r.open(at, length);
    return r;
  }

  @inline open(at: usize, length: u32): void {
    this.at = at;
    this.end = at + length;
  }

  @inline get left(): u32 { return u32(this.end - this.at); }

  private bigEndian(width: u32): bool {
    if (this.left < width) return false;
    let number: u64 = 0;
    for (; width > 0; width--) number = number << 8 | load<u8>(this.at++);
    this.number = number;
    return true;
  }

  private content(kind: Kind, length: u64): bool {
    if (length > this.left) return false;
    this.kind = kind;
    this.bytes = this.at;
    this.length = u32(length);
    this.at += this.length;
    return true;
  }

  // A count is believed if there are bytes for as many elements.
  private elements(kind: Kind, count: u64): bool {
    if (count > this.left / (kind === Kind.Map ? 2 : 1)) return false;
    this.kind = kind;
    this.count = u32(count);
    return true;
  }

  private float(width: u32): bool {
    if (!this.bigEndian(width)) return false;
    this.real = width === 4 ? reinterpret<f32>(u32(this.number)) : reinterpret<f64>(this.number);
    this.kind = Kind.Float;
    return true;
  }

  private signed(width: u32): bool {
    if (!this.bigEndian(width)) return false;
    const unused = u64(64 - width * 8);
    this.number = u64(i64(this.number << unused) >> unused);
    this.kind = i64(this.number) < 0 ? Kind.Int : Kind.Uint;
    return true;
  }

  // Heads that are longer than a byte.
  private longHead(marker: u32): bool {
    if (marker === 0xc0) { this.kind = Kind.Nil; return true; }
    if (marker === 0xc2 || marker === 0xc3) { this.kind = Kind.Bool; this.number = marker & 1; return true; }
    if (marker >= 0xc4 && marker <= 0xc6) return this.bigEndian(1 << (marker - 0xc4)) && this.content(Kind.Bin, this.number);
    if (marker === 0xca || marker === 0xcb) return this.float(4 << (marker - 0xca));
    if (marker >= 0xcc && marker <= 0xcf) { this.kind = Kind.Uint; return this.bigEndian(1 << (marker - 0xcc)); }
    if (marker >= 0xd0 && marker <= 0xd3) return this.signed(1 << (marker - 0xd0));
    if (marker >= 0xd9 && marker <= 0xdb) return this.bigEndian(1 << (marker - 0xd9)) && this.content(Kind.Str, this.number);
    if (marker === 0xdc || marker === 0xdd) return this.bigEndian(2 << (marker - 0xdc)) && this.elements(Kind.Array, this.number);
    if (marker === 0xde || marker === 0xdf) return this.bigEndian(2 << (marker - 0xde)) && this.elements(Kind.Map, this.number);
    return false; // extensions: nobody sends any
  }

  // Reads the head of the next value; elements of arrays and maps follow. False if there is none.
  head(): bool {
    if (this.left === 0) return false;
    const marker = u32(load<u8>(this.at++));
    if (marker < 0x80 || marker >= 0xe0) {
      this.kind = marker < 0x80 ? Kind.Uint : Kind.Int;
      this.number = u64(i64(i8(marker)));
      return true;
    }
    if (marker < 0x90) return this.elements(Kind.Map, marker & 0x0f);
    if (marker < 0xa0) return this.elements(Kind.Array, marker & 0x0f);
    if (marker < 0xc0) return this.content(Kind.Str, marker & 0x1f);
    return this.longHead(marker);
  }

  @inline is(kind: Kind): bool { return this.head() && this.kind === kind; }

  // Steps over a value and all that is in it; a loop, so that nesting needs no stack.
  skip(): bool {
    for (let left: u64 = 1; left > 0; left--) {
      if (!this.head()) return false;
      if (this.kind === Kind.Array) left += this.count;
      if (this.kind === Kind.Map) left += u64(this.count) * 2;
      if (left - 1 > this.left) return false;
    }
    return true;
  }

  // Reads nil if it is next.
  @inline nil(): bool {
    if (this.left === 0 || load<u8>(this.at) !== 0xc0) return false;
    this.at++;
    return true;
  }

  // The number that was read, or NaN for another kind.
  get asNumber(): f64 {
    if (this.kind === Kind.Uint) return f64(this.number);
    if (this.kind === Kind.Int) return f64(i64(this.number));
    return this.kind === Kind.Float ? this.real : NaN;
  }

  // True if a number was read.
  get isNumber(): bool { return this.kind === Kind.Uint || this.kind === Kind.Int || this.kind === Kind.Float; }

  // The text that was read.
  get text(): string { return String.UTF8.decodeUnsafe(this.bytes, this.length); }
}

// ---- What a policy reads: an element of a message each. ----

const MALFORMED = "decision message is malformed";
const NO_MANIFEST = "the module has no manifest: compile it with --transform ./sgl_manifest.mjs";
const COLUMN_LENGTH = "a column has not one entry per worker";

// One declared input.
export abstract class Element {
  declared: bool = false;
  constructor(readonly name: string) {}
  // Reads it for so many workers; says what is wrong, or null.
  abstract take(r: Reader, ctx: Context): string | null;
}

function undeclared(name: string): void {
  throw new Error(`the policy reads the input \`${name}\`, which plugin(…) does not list`);
}

// Bytes: the two heads that the router writes for columns, then any.
@inline function bin(r: Reader): bool {
  const left = r.left;
  if (left >= 2 && load<u8>(r.at) === 0xc4) { r.length = load<u8>(r.at + 1); r.at += 2; }
  else if (left >= 3 && load<u8>(r.at) === 0xc5) { r.length = bswap<u16>(load<u16>(r.at + 1)); r.at += 3; }
  else return r.is(Kind.Bin);
  if (r.length > r.left) return false;
  r.bytes = r.at;
  r.at += r.length;
  return true;
}

// A bit for each worker.
export class Bits extends Element {
  at: usize = 0;
  count: u32 = 0; // of bytes

  take(r: Reader, ctx: Context): string | null {
    if (!bin(r)) return MALFORMED;
    this.at = r.bytes;
    this.count = r.length;
    return null;
  }

  @inline get(worker: i32): bool {
    const byte = u32(worker) >> 3;
    return byte < this.count && (load<u8>(this.at + byte) >> u8(worker & 7) & 1) !== 0;
  }

  // Workers 64 × `block` and the 63 after it.
  @inline word(block: u32): u64 {
    const at = block * 8;
    return this.count >= 8 && at <= this.count - 8 ? load<u64>(this.at + at) : this.lastWord(at);
  }

  private lastWord(at: u32): u64 {
    let word: u64 = 0;
    for (let byte = at; byte < this.count; byte++) word |= u64(load<u8>(this.at + byte)) << u64((byte - at) * 8);
    return word;
  }
}

// A number of four bytes for each worker.
export abstract class Column extends Element {
  at: usize = 0;
  count: u32 = 0;

  take(r: Reader, ctx: Context): string | null {
    // All columns of a table of up to 16383 workers have the same head, the one that the router writes.
    const at = r.at, length = u32(ctx.length) * 4;
    if (r.left >= length + 3 && load<u8>(at) === 0xc5 && bswap<u16>(load<u16>(at + 1)) === length) {
      this.at = at + 3;
      this.count = u32(ctx.length);
      r.at = at + 3 + length;
      return null;
    }
    return this.takeAny(r, ctx);
  }

  private takeAny(r: Reader, ctx: Context): string | null {
    if (!bin(r)) return MALFORMED;
    this.at = r.bytes;
    this.count = r.length >> 2;
    if (ctx.length < 0) ctx.length = i32(this.count);
    return (r.length & 3) !== 0 || this.count !== u32(ctx.length) ? COLUMN_LENGTH : null;
  }
}

export class Ints extends Column {
  // The number of a worker; -1 where it is not known, and beyond the last.
  @inline get(worker: i32): i32 { return u32(worker) < this.count ? load<i32>(this.at + 4 * usize(worker)) : -1; }
  // The same, 0 where it is not known.
  @inline known(worker: i32): u32 { return u32(max(this.get(worker), 0)); }
}

export class Floats extends Column {
  // The number of a worker; NaN where it is not known, and beyond the last.
  @inline get(worker: i32): f32 { return u32(worker) < this.count ? load<f32>(this.at + 4 * usize(worker)) : f32.NaN; }
}

// A list of integers of a request, or none.
export abstract class List extends Element {
  at: usize = 0;
  count: i32 = 0;
  isNil: bool = true;

  protected takeOf(r: Reader, width: u32): string | null {
    this.isNil = r.nil();
    this.count = 0;
    if (this.isNil) return null;
    if (!bin(r)) return MALFORMED;
    this.at = r.bytes;
    this.count = i32(r.length / width);
    return r.length % width !== 0 ? COLUMN_LENGTH : null;
  }
}

export class Tokens extends List {
  take(r: Reader, ctx: Context): string | null { return this.takeOf(r, 4); }
  @inline get(index: i32): u32 {
    assert(u32(index) < u32(this.count), "token beyond the last");
    return load<u32>(this.at + 4 * usize(index));
  }
}

export class Hashes extends List {
  take(r: Reader, ctx: Context): string | null { return this.takeOf(r, 8); }
  @inline get(index: i32): u64 {
    assert(u32(index) < u32(this.count), "hash beyond the last");
    return load<u64>(this.at + 8 * usize(index));
  }
}

// A number that may not be known.
export class Maybe extends Element {
  known: bool = false;
  number: u64 = 0;

  take(r: Reader, ctx: Context): string | null { return this.read(r) ? null : MALFORMED; }

  read(r: Reader): bool {
    this.number = 0;
    this.known = !r.nil();
    if (!this.known) return true;
    if (!r.is(Kind.Uint)) return false;
    this.number = r.number;
    return true;
  }
}

class Uint extends Element {
  number: u64 = 0;

  take(r: Reader, ctx: Context): string | null {
    if (r.left >= 9 && load<u8>(r.at) === 0xcf) {
      this.number = bswap<u64>(load<u64>(r.at + 1));
      r.at += 9;
      return null;
    }
    if (!r.is(Kind.Uint)) return MALFORMED;
    this.number = r.number;
    return null;
  }
}

class LegInput extends Uint {
  take(r: Reader, ctx: Context): string | null {
    const fault = super.take(r, ctx);
    return fault === null && this.number > u64(Leg.Decode) ? "unknown leg" : fault;
  }
}

class Rate extends Element {
  number: f32 = 0;

  take(r: Reader, ctx: Context): string | null {
    if (!r.head() || !r.isNumber) return MALFORMED;
    this.number = f32(r.asNumber);
    return null;
  }
}

// A text in a message, or none: a view, which is good until the call returns.
export class Text extends Element {
  at: usize = 0;
  length: u32 = 0;

  static of(at: usize, length: u32): Text {
    const text = new Text("");
    text.at = at;
    text.length = length;
    return text;
  }

  get isNil(): bool { return this.at === 0; }

  clear(): void {
    this.at = 0;
    this.length = 0;
  }

  take(r: Reader, ctx: Context): string | null { return this.readMaybe(r) ? null : MALFORMED; }

  // Reads a text or nil; false for another kind.
  readMaybe(r: Reader): bool {
    this.clear();
    return r.nil() || this.read(r);
  }

  read(r: Reader): bool {
    if (!r.is(Kind.Str)) return false;
    this.at = r.bytes;
    this.length = r.length;
    return true;
  }

  // A copy; allocates.
  toString(): string { return String.UTF8.decodeUnsafe(this.at, this.length); }

  // True if it is this text; allocates only where that has other letters than ASCII.
  is(text: string): bool {
    for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return !this.isNil && this.toString() === text;
    if (this.isNil || this.length !== u32(text.length)) return false;
    for (let i = 0; i < text.length; i++) if (load<u8>(this.at + i) !== text.charCodeAt(i)) return false;
    return true;
  }

  // A hash that is the same in every version, and in the SDKs of the other languages.
  hash(): u64 { return hashOf(this.at, this.length); }
}

// One decision. Each input is read by its name; one that plugin(…) does not list is a panic.
export class Context {
  // Number of workers.
  length: i32 = 0;
  private elements: Element[] = [];
  private order: StaticArray<Element> = new StaticArray<Element>(0);
  private named: Map<string, Text> = new Map();
  private bits: u64 = 0;
  private block: u32 = 0;

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
    while (this.bits === 0) {
      if (this.block * 64 >= u32(this.length)) return -1;
      this.bits = this.candidates(this.block++);
    }
    const worker = i32(this.block * 64) - 64 + i32(ctz(this.bits));
    this.bits &= this.bits - 1;
    return worker;
  }
}

// ---- Chance, hashes, the lowest cost. ----

// Scrambles 64 bits (the finaliser of SplitMix64).
@inline export function mix(bits: u64): u64 {
  bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9;
  bits = (bits ^ bits >> 27) * 0x94d049bb133111eb;
  return bits ^ bits >> 31;
}

function hashOf(at: usize, length: u32): u64 {
  let state: u64 = 0x243f6a8885a308d3 ^ u64(length);
  for (; length >= 8; length -= 8, at += 8) state = hashStep(state, load<u64>(at));
  let word: u64 = 0;
  for (let i = length; i > 0; i--) word = word << 8 | load<u8>(at + i - 1);
  return mix(hashStep(state, word));
}

@inline function hashStep(state: u64, word: u64): u64 {
  state = (state ^ word) * 0x9e3779b97f4a7c15;
  return state ^ state >> 32;
}

// The same hash of a text of this program.
export function hash(text: string): u64 {
  const bytes = String.UTF8.encode(text);
  return hashOf(changetype<usize>(bytes), bytes.byteLength);
}

// SplitMix64, seeded by the input `random`.
export class Rng {
  constructor(public state: u64) {}
  @inline next(): u64 {
    this.state += 0x9e3779b97f4a7c15;
    return mix(this.state);
  }
  // A number below `bound`.
  @inline below(bound: u32): u32 { return u32((this.next() >> 32) * u64(bound) >> 32); }
}

// The cheapest offer so far; among n equal ones each is kept with chance 1/n. One for the whole policy, which
// start(random) empties.
export class Lowest {
  cost: f64 = Infinity;
  worker: i32 = -1;
  private ties: u32 = 0;
  private rng: Rng = new Rng(0);

  @inline start(random: u64): void {
    this.cost = Infinity;
    this.worker = -1;
    this.ties = 0;
    this.rng.state = random;
  }

  // A cost that is infinite or NaN counts as the highest of all, so that somebody is chosen while somebody may be.
  @inline offer(cost: f64, worker: i32): void {
    // Of those two the difference is not 0.
    if (cost - cost !== 0) cost = f64.MAX_VALUE;
    if (cost < this.cost) {
      this.cost = cost;
      this.worker = worker;
      this.ties = 1;
    } else if (cost === this.cost && this.rng.below(++this.ties) === 0) this.worker = worker;
  }

  // The worker that was kept, or nobody.
  @inline choice(): Choice { return this.worker < 0 ? Choice.nobody() : Choice.worker(this.worker); }
}

// ---- What a policy answers. ----

const enum Answer { Nobody, Worker, Pair, Wait, Shed, Failed }

// There is one, which each answer is made in: nothing is allocated.
export class Choice {
  is: i32 = Answer.Nobody;
  first: i32 = 0;
  second: i32 = 0;
  tagged: bool = false;
  tag: u64 = 0;
  costs: bool = false;
  cost: f32 = 0;
  decodeCost: f32 = 0;
  key: f64 = 0;
  ms: u64 = 0;
  text: string | null = null;
  scores: StaticArray<f32> | null = null;

  @inline static start(is: i32): Choice {
    const choice = answer;
    choice.is = is;
    choice.tagged = false;
    choice.costs = false;
    choice.text = null;
    choice.scores = null;
    return choice;
  }

  // The worker of that index.
  @inline static worker(worker: i32): Choice {
    const choice = Choice.start(Answer.Worker);
    choice.first = worker;
    return choice;
  }
  // Both halves; an answer of selectPair.
  static pair(prefill: i32, decode: i32): Choice {
    const choice = Choice.start(Answer.Pair);
    choice.first = prefill;
    choice.second = decode;
    return choice;
  }
  // Nobody, because nobody may be chosen.
  static nobody(): Choice { return Choice.start(Answer.Nobody); }
  // The router holds the request and asks again, smallest key first.
  static wait(key: f64, deadlineMs: u64): Choice {
    const choice = Choice.start(Answer.Wait);
    choice.key = key;
    choice.ms = deadlineMs;
    return choice;
  }
  // The router refuses the request.
  static shed(retryAfterMs: u64): Choice {
    const choice = Choice.start(Answer.Shed);
    choice.ms = retryAfterMs;
    return choice;
  }
  // The policy could not decide, with a sentence for the operator.
  static failed(why: string): Choice {
    const choice = Choice.start(Answer.Failed);
    choice.text = why;
    return choice;
  }
  // The policy's own name for the request, which comes back with events.
  @inline withTag(tag: u64): Choice {
    this.tagged = true;
    this.tag = tag;
    return this;
  }
  // What the request costs its worker until its first token, from 0 to 2³⁶; of a pair, each of both.
  @inline withCost(cost: f32, decodeCost: f32 = 0): Choice {
    this.costs = true;
    this.cost = cost;
    this.decodeCost = decodeCost;
    return this;
  }
  // Why, for decision records.
  withReason(reason: string): Choice {
    if (this.is !== Answer.Failed) this.text = reason;
    return this;
  }
  // A score of each worker, for decision records.
  withScores(scores: StaticArray<f32>): Choice {
    this.scores = scores.length > 0 ? scores : null;
    return this;
  }
}

const answer = new Choice();

// ---- The worker table. ----

// What is known of a worker and rarely changes. Its texts point into the table.
export class Worker {
  url: Text = new Text("");
  model: Text = new Text("");
  engine: Text = new Text("");
  role: Role = Role.Regular;
  weight: f64 = 1;
  kvCapacityTokens: Maybe = new Maybe("");
  blockSize: Maybe = new Maybe("");
  maxRunningRequests: Maybe = new Maybe("");
  dpRank: Maybe = new Maybe("");
  private labels: Reader = new Reader();
  private labelCount: u32 = 0;
  private models: Reader = new Reader();
  private modelCount: u32 = 0;
  private found: Text = new Text("");

  // The value of a label, nil if the worker has none of that name; good until the next question.
  label(name: string): Text {
    const start = this.labels.at, key = this.found;
    let found = false;
    for (let left = this.labelCount; left > 0 && !found; left--) {
      key.read(this.labels);
      found = key.is(name);
      key.read(this.labels);
    }
    this.labels.at = start;
    if (!found) key.clear();
    return key;
  }

  // True if the worker is known to serve under this name.
  serves(name: string): bool {
    const start = this.models.at;
    let serves = false;
    for (let left = this.modelCount; left > 0 && !serves; left--) {
      this.found.read(this.models);
      serves = this.found.is(name);
    }
    this.models.at = start;
    return serves;
  }

  // Reads one; false if it is none.
  read(r: Reader): bool {
    this.clear();
    if (!r.is(Kind.Map)) return false;
    for (let left = r.count; left > 0; left--) if (!this.found.read(r) || !this.readKey(r, this.found)) return false;
    return !this.url.isNil;
  }

  private clear(): void {
    this.url.clear();
    this.model.clear();
    this.engine.clear();
    this.role = Role.Regular;
    this.weight = 1;
    this.kvCapacityTokens.known = false;
    this.blockSize.known = false;
    this.maxRunningRequests.known = false;
    this.dpRank.known = false;
    this.labelCount = 0;
    this.modelCount = 0;
  }

  private readKey(r: Reader, key: Text): bool {
    if (key.is("url")) return this.url.read(r);
    if (key.is("model")) return this.model.readMaybe(r);
    if (key.is("engine")) return this.engine.readMaybe(r);
    if (key.is("role")) return this.readRole(r);
    if (key.is("weight")) return this.readWeight(r);
    if (key.is("kv_capacity_tokens")) return this.readFact(r, this.kvCapacityTokens);
    if (key.is("block_size")) return this.readFact(r, this.blockSize);
    if (key.is("max_running_requests")) return this.readFact(r, this.maxRunningRequests);
    if (key.is("dp_rank")) return this.readFact(r, this.dpRank);
    if (key.is("labels")) {
      if (r.nil()) return true;
      if (!r.is(Kind.Map)) return false;
      this.labelCount = r.count;
      return this.readTexts(r, this.labels, r.count * 2);
    }
    if (key.is("models")) {
      if (r.nil()) return true;
      if (!r.is(Kind.Array)) return false;
      this.modelCount = r.count;
      return this.readTexts(r, this.models, r.count);
    }
    return r.skip();
  }

  private readRole(r: Reader): bool {
    if (!this.found.read(r)) return false;
    this.role = this.found.is("prefill") ? Role.Prefill : this.found.is("decode") ? Role.Decode : Role.Regular;
    return this.role !== Role.Regular || this.found.is("regular");
  }

  private readWeight(r: Reader): bool {
    if (!r.head() || !r.isNumber) return false;
    this.weight = r.asNumber;
    return true;
  }

  private readFact(r: Reader, to: Maybe): bool {
    if (!to.read(r)) return false;
    if (to.number > u32.MAX_VALUE) to.known = false;
    return true;
  }

  // Steps over as many texts, and remembers where they are.
  private readTexts(r: Reader, texts: Reader, count: u32): bool {
    texts.open(r.at, r.left);
    for (; count > 0; count--) if (!r.is(Kind.Str)) return false;
    return true;
  }
}

// The table of the workers that the messages speak of, kept as the bytes that came.
export class Table {
  version: u64 = 0;
  length: i32 = 0;
  // False until there was one: a policy that does not export on_workers has none.
  kept: bool = false;
  private bytes: usize = 0;
  private starts: usize = 0;
  private size: u32 = 0;

  private worker: Worker = new Worker();
  private reader: Reader = new Reader();

  // The facts of one worker; good until the next question.
  get(index: i32): Worker {
    assert(u32(index) < u32(this.length), "worker beyond the last");
    const start = load<u32>(this.starts + 4 * usize(index));
    this.reader.open(this.bytes + start, this.size - start);
    // It was read when the table came.
    this.worker.read(this.reader);
    return this.worker;
  }

  // Takes a copy of a message; false leaves the table that there was.
  replace(at: usize, length: u32): bool {
    const next = new Table();
    next.bytes = heap.alloc(max(length, 1));
    next.size = length;
    memory.copy(next.bytes, at, length);
    if (!next.index()) {
      next.free();
      return false;
    }
    this.free();
    this.version = next.version;
    this.length = next.length;
    this.bytes = next.bytes;
    this.starts = next.starts;
    this.size = next.size;
    return true;
  }

  private free(): void {
    if (this.bytes !== 0) heap.free(this.bytes);
    if (this.starts !== 0) heap.free(this.starts);
  }

  private index(): bool {
    const r = Reader.of(this.bytes, this.size);
    let versioned = false, listed = false;
    if (!r.is(Kind.Map)) return false;
    for (let left = r.count; left > 0; left--) {
      if (!r.is(Kind.Str)) return false;
      const key = r.text;
      if (key === "version") {
        if (!r.is(Kind.Uint)) return false;
        this.version = r.number;
        versioned = true;
      } else if (key === "workers" && !listed) {
        if (!this.indexWorkers(r)) return false;
        listed = true;
      } else if (!r.skip()) return false;
    }
    return versioned && listed && r.at === r.end;
  }

  private indexWorkers(r: Reader): bool {
    if (!r.is(Kind.Array)) return false;
    this.length = i32(r.count);
    this.starts = heap.alloc(max<usize>(4 * usize(r.count), 1));
    for (let i = 0; i < this.length; i++) {
      store<u32>(this.starts + 4 * usize(i), u32(r.at - this.bytes));
      if (!this.worker.read(r)) return false;
    }
    return true;
  }
}

export const table = new Table();

// ---- The operator's configuration. ----

// What an instance is told first. The first fault refuses the load.
export class Init {
  abi: u64 = 0;
  plugin: string = "";
  generation: u64 = 0;
  seed: u64 = 0;
  // Refuses the load unless it is empty.
  error: string = "";
  private config: Reader = new Reader();
  private entries: u32 = 0;

  read(r: Reader): bool {
    if (!r.is(Kind.Map)) return false;
    for (let left = r.count; left > 0; left--) if (!r.is(Kind.Str) || !this.readKey(r, r.text)) return false;
    return r.at === r.end;
  }

  private readKey(r: Reader, key: string): bool {
    if (key === "config") return this.readConfig(r);
    if (key === "plugin") {
      if (!r.is(Kind.Str)) return false;
      this.plugin = r.text;
      return true;
    }
    if (key !== "abi" && key !== "generation" && key !== "seed") return r.skip();
    if (!r.is(Kind.Uint)) return false;
    if (key === "abi") this.abi = r.number;
    else if (key === "seed") this.seed = r.number;
    else this.generation = r.number;
    return true;
  }

  private readConfig(r: Reader): bool {
    const start = r.at;
    if (!r.is(Kind.Map)) return false;
    this.entries = r.count;
    const first = r.at;
    r.at = start;
    if (!r.skip()) return false;
    this.config.open(first, u32(r.at - first));
    return true;
  }

  // A reader behind the head of the value of a key, which is in its fields; null if it is missing or nil.
  get(key: string): Reader | null {
    const r = Reader.of(this.config.at, this.config.left);
    for (let left = this.entries; left > 0; left--) {
      if (!r.is(Kind.Str)) return null;
      const found = r.text === key;
      const value = Reader.of(r.at, r.left);
      if (!r.skip()) return null;
      if (found) return value.head() && value.kind !== Kind.Nil ? value : null;
    }
    return null;
  }

  // Refuses keys that the policy does not know, and names those that it does, the nearest first.
  knownKeys(known: string[]): void {
    const unknown: string[] = [];
    const r = Reader.of(this.config.at, this.config.left);
    for (let left = this.entries; left > 0 && r.is(Kind.Str); left--) {
      if (!known.includes(r.text)) unknown.push(r.text);
      if (!r.skip()) break;
    }
    if (unknown.length === 0) return;
    this.fail(`unknown config key${unknown.length > 1 ? "s" : ""} ${words(unknown)}${nearestFirst(known, unknown)}`);
  }

  // A finite number within this range, or `otherwise` where the key is missing; `high` may be Infinity.
  numberIn(key: string, otherwise: f64, low: f64, high: f64): f64 {
    const value = this.get(key);
    if (value === null) return otherwise;
    const number = value.asNumber;
    if (value.isNumber && isFinite(number) && number >= low && number <= high) return number;
    this.refuse(key, value, `a number ${range(low, high)}`);
    return otherwise;
  }

  // A whole number within this range; u64.MAX_VALUE is no limit.
  sizeIn(key: string, otherwise: u64, low: u64, high: u64): u64 {
    const value = this.get(key);
    if (value === null) return otherwise;
    if (value.kind === Kind.Uint && value.number >= low && value.number <= high) return value.number;
    this.refuse(key, value, `a whole number ${range(f64(low), high === u64.MAX_VALUE ? Infinity : f64(high))}`);
    return otherwise;
  }

  flag(key: string, otherwise: bool): bool {
    const value = this.get(key);
    if (value === null) return otherwise;
    if (value.kind === Kind.Bool) return value.number !== 0;
    this.refuse(key, value, "true or false");
    return otherwise;
  }

  text(key: string, otherwise: string): string {
    const value = this.get(key);
    if (value === null) return otherwise;
    if (value.kind === Kind.Str) return value.text;
    this.refuse(key, value, "a text");
    return otherwise;
  }

  // Which of these words it is; the first is the default.
  oneOf(key: string, known: string[]): i32 {
    const value = this.get(key);
    if (value === null) return 0;
    const index = value.kind === Kind.Str ? known.indexOf(value.text) : -1;
    if (index < 0) this.refuse(key, value, words(known));
    return max(index, 0);
  }

  // Refuses the load for a fault of your own.
  fail(why: string): void {
    if (this.error.length === 0) this.error = why;
  }

  private refuse(key: string, value: Reader, expected: string): void {
    this.fail(`config key \`${key}\` is ${shown(value)}; expected ${expected}`);
  }
}

function words(list: string[]): string { return "`" + list.join("`, `") + "`"; }

function nearestFirst(known: string[], unknown: string[]): string {
  if (known.length === 0) return "; there are none";
  let nearest = 0, least = i32.MAX_VALUE;
  for (let i = 0; i < known.length; i++) {
    for (let k = 0; k < unknown.length; k++) {
      const letters = distance(unknown[k], known[i]);
      if (letters < least) { least = letters; nearest = i; }
    }
  }
  const listed = [known[nearest]];
  for (let i = 0; i < known.length; i++) if (i !== nearest) listed.push(known[i]);
  return `; known: ${words(listed)}`;
}

// How many letters make one word into the other (Levenshtein).
function distance(one: string, other: string): i32 {
  const from = Uint8Array.wrap(String.UTF8.encode(one)), to = Uint8Array.wrap(String.UTF8.encode(other));
  const row = new StaticArray<i32>(to.length + 1);
  for (let i = 0; i <= to.length; i++) row[i] = i;
  for (let at = 1; at <= from.length; at++) {
    let left = at, aboveLeft = at - 1;
    row[0] = at;
    for (let i = 1; i <= to.length; i++) {
      const swapped = aboveLeft + i32(from[at - 1] !== to[i - 1]);
      aboveLeft = row[i];
      left = min(swapped, min(left + 1, aboveLeft + 1));
      row[i] = left;
    }
  }
  return row[to.length];
}

function range(low: f64, high: f64): string {
  return high === Infinity ? `of at least ${shownNumber(low)}` : `from ${shownNumber(low)} to ${shownNumber(high)}`;
}

function shown(value: Reader): string {
  if (value.isNumber) return shownNumber(value.asNumber);
  if (value.kind === Kind.Str) {
    let end: u32 = 0; // of 64 characters
    for (let characters = 0; end < value.length; end++)
      if ((load<u8>(value.bytes + end) & 0xc0) !== 0x80 && characters++ === 64) break;
    return "`" + String.UTF8.decodeUnsafe(value.bytes, end) + "`";
  }
  if (value.kind === Kind.Bool) return value.number !== 0 ? "true" : "false";
  return value.kind === Kind.Array ? "a list" : value.kind === Kind.Map ? "a map" : "no value";
}

// A number to six digits behind the point; above 10¹⁵ only that it is.
function shownNumber(number: f64): string {
  if (isNaN(number)) return "NaN";
  const sign = number < 0 ? "-" : "";
  const size = abs(number);
  if (size > 1e15) return sign + (isFinite(size) ? "more than 1e15" : "infinity");
  let whole = u64(size), millionths = u64((size - f64(whole)) * 1e6 + 0.5);
  whole += millionths / 1000000;
  millionths %= 1000000;
  if (millionths === 0) return sign + whole.toString();
  let digits = millionths.toString().padStart(6, "0");
  while (digits.endsWith("0")) digits = digits.substring(0, digits.length - 1);
  return `${sign}${whole}.${digits}`;
}

// ---- What a policy hears of, and what you write. ----

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

let policy: Policy | null = null;
let ready: bool = false;
const context = new Context();
const message = new Reader();

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

// ---- Writing answers. ----

const SMALL: u32 = 128;
const small: usize = heap.alloc(SMALL);
let out: usize = small;
let room: u32 = SMALL;
let written: u32 = 0;

@inline function put(byte: u32): void {
  if (written < room) store<u8>(out + written++, u8(byte));
}

function putBigEndian(marker: u32, value: u64, width: i32): void {
  put(marker);
  while (width-- > 0) put(u32(value >> u64(8 * width) & 0xff));
}

function putUint(value: u64): void {
  if (value < 0x80) put(u32(value));
  else if (value <= 0xff) putBigEndian(0xcc, value, 1);
  else if (value <= 0xffff) putBigEndian(0xcd, value, 2);
  else if (value <= 0xffffffff) putBigEndian(0xce, value, 4);
  else putBigEndian(0xcf, value, 8);
}

function putBytes(marker8: u32, at: usize, length: u32): void {
  if (marker8 === 0xd9 && length < 32) put(0xa0 | length);
  else if (length <= 0xff) putBigEndian(marker8, length, 1);
  else if (length <= 0xffff) putBigEndian(marker8 + 1, length, 2);
  else putBigEndian(marker8 + 2, length, 4);
  for (let i: u32 = 0; i < length; i++) put(load<u8>(at + i));
}

function putText(text: string): void {
  const bytes = String.UTF8.encode(text);
  putBytes(0xd9, changetype<usize>(bytes), bytes.byteLength);
}

function putTag(choice: Choice): void {
  if (choice.tagged) putUint(choice.tag);
  else put(0xc0);
}

// Room for an answer of this size; what was there is given up.
@inline function start(size: u32): void {
  written = 0;
  if (size > room) grow(size);
}

function grow(size: u32): void {
  if (out !== small) heap.free(out);
  out = heap.alloc(size);
  room = size;
}

@inline function answered(): i64 { return i64(u64(out) << 32 | u64(written)); }

function failed(why: string): i64 {
  start(u32(why.length) * 3 + 16);
  put(0x81);
  putText("error");
  putText(why);
  return answered();
}

function putPutOff(choice: Choice): void {
  if (choice.is === Answer.Wait) {
    putText("wait");
    put(0x82);
    putText("key");
    putBigEndian(0xcb, reinterpret<u64>(choice.key), 8);
    putText("deadline_ms");
    putUint(choice.ms);
  } else if (choice.is === Answer.Shed) {
    putText("shed");
    put(0x81);
    putText("retry_after_ms");
    putUint(choice.ms);
  }
}

function putCost(key: string, cost: f32): void {
  putText(key);
  putBigEndian(0xca, reinterpret<u32>(cost), 4);
}

// The answer as a map of what it has.
function answeredMap(choice: Choice, pair: bool): i64 {
  const text = choice.text;
  let scores = choice.scores;
  if (pair) scores = null;
  if (choice.is === Answer.Failed) return failed(text === null ? "" : text);
  const chosen = choice.is === Answer.Worker || choice.is === Answer.Pair;
  const both = pair ? 2 : 1;
  let keys = (chosen ? both : 0) + i32(choice.tagged) + (choice.costs ? both : 0);
  keys += i32(text !== null) + i32(scores !== null) + i32(choice.is === Answer.Wait || choice.is === Answer.Shed);
  start(160 + (text === null ? 0 : u32(text.length) * 3) + (scores === null ? 0 : u32(scores.length) * 4));
  put(0x80 | keys);
  if (chosen) {
    putText(pair ? "prefill" : "selected_worker");
    putUint(choice.first);
    if (pair) {
      putText("decode");
      putUint(choice.second);
    }
  }
  if (scores !== null) {
    putText("scores");
    putBytes(0xc4, changetype<usize>(scores), u32(scores.length) * 4);
  }
  if (text !== null) {
    putText("reason");
    putText(text);
  }
  if (choice.tagged) {
    putText("tag");
    putUint(choice.tag);
  }
  if (choice.costs) {
    putCost("cost", choice.cost);
    if (pair) putCost("decode_cost", choice.decodeCost);
  }
  putPutOff(choice);
  return answered();
}

@inline function encode(choice: Choice): i64 {
  const plain = choice.is <= Answer.Worker && choice.text === null && choice.scores === null;
  if (!plain) return answeredMap(choice, false);
  start(0);
  if (choice.is === Answer.Nobody) {
    put(0xc0);
  } else if (choice.tagged || choice.costs) {
    put(0x93);
    putUint(choice.first);
    putTag(choice);
    putBigEndian(0xca, reinterpret<u32>(choice.costs ? choice.cost : 0), 4);
  } else {
    putUint(choice.first);
  }
  return answered();
}

function encodePair(choice: Choice): i64 {
  if (choice.is === Answer.Worker) return failed("selectPair answered with one worker; answer with Choice.pair");
  if (choice.is > Answer.Pair || choice.text !== null || choice.tagged || choice.costs) return answeredMap(choice, true);
  start(0);
  if (choice.is === Answer.Nobody) {
    put(0xc0);
  } else {
    put(0x92);
    putUint(choice.first);
    putUint(choice.second);
  }
  return answered();
}

// ---- Exports. ----

const NOT_READY = "the plugin decides before `init` succeeded";
// What a policy may have allocated in decisions is collected once in so many.
const COLLECT_EVERY: u32 = 1024;
let decisions: u32 = 0;

export function alloc(size: u32): usize { return size > 1 << 30 ? 0 : heap.alloc(max(size, 1)); }

export function dealloc(at: usize, size: u32): void { heap.free(at); }

export function init(at: usize, length: u32): i64 {
  const told = new Init();
  ready = false;
  if (!told.read(Reader.of(at, length))) return collected(failed("init message is malformed"));
  policy!.init(told);
  if (told.error.length > 0) return collected(failed(told.error));
  ready = true;
  return collected(0);
}

// Nothing of an export lives on when it returns, but for what globals hold.
function collected(result: i64): i64 {
  __collect();
  return result;
}

@inline function decided(result: i64): i64 {
  return ++decisions % COLLECT_EVERY === 0 ? collected(result) : result;
}

export function select_worker(at: usize, length: u32): i64 {
  if (!ready) return failed(NOT_READY);
  message.open(at, length);
  const fault = context.take(message);
  if (fault !== null) return decided(failed(fault));
  return decided(encode(policy!.select(context)));
}

export function select_worker_pair(at: usize, length: u32): i64 {
  if (!ready) return failed(NOT_READY);
  message.open(at, length);
  const fault = context.take(message);
  if (fault !== null) return decided(failed(fault));
  return decided(encodePair(policy!.selectPair(context)));
}

// A message that cannot be read leaves the table as it is: decisions that name the new one are refused.
export function on_workers(at: usize, length: u32): void {
  table.kept = true;
  if (!table.replace(at, length)) log(Level.Error, "worker table message is malformed");
  else if (ready) policy!.onWorkers(table);
  __collect();
}

// Opens a batch of events; the number of its entries, 0 if it belongs to another table or is malformed.
function openBatch(r: Reader): u32 {
  if (!ready || !r.is(Kind.Array) || r.count < 2) return 0;
  const further = r.count - 2;
  if (!r.is(Kind.Uint) || (table.kept && r.number !== table.version)) return 0;
  const entries = r.at;
  for (let left = further + 1; left > 0; left--) if (!r.skip()) return 0;
  if (r.at !== r.end) return 0;
  r.at = entries;
  return r.is(Kind.Array) ? r.count : 0;
}

function readTime(r: Reader): f32 {
  if (r.nil() || !r.head() || !r.isNumber) return f32.NaN;
  return f32(r.asNumber);
}

function readFirstToken(r: Reader, first: FirstToken): bool {
  if (!r.is(Kind.Array) || r.count < 3) return false;
  let further = r.count - 3;
  if (!r.is(Kind.Uint) || r.number > u32.MAX_VALUE) return false;
  first.worker = u32(r.number);
  if (!first.tag.read(r) || !r.head() || !r.isNumber) return false;
  first.ms = f32(r.asNumber);
  while (further-- > 0) if (!r.skip()) return false;
  return true;
}

export function on_first_token(at: usize, length: u32): void {
  const r = Reader.of(at, length), first = new FirstToken();
  for (let left = openBatch(r); left > 0 && readFirstToken(r, first); left--) policy!.onFirstToken(first);
  __collect();
}

function readCompletion(r: Reader, done: Completion): bool {
  if (!r.is(Kind.Array) || r.count < 7) return false;
  const count = r.count;
  if (!r.is(Kind.Uint) || r.number > u32.MAX_VALUE) return false;
  done.worker = u32(r.number);
  if (!r.is(Kind.Bool)) return false;
  done.ok = r.number !== 0;
  if (!done.status.read(r)) return false;
  done.firstByteMs = readTime(r);
  done.totalMs = readTime(r);
  if (!done.promptTokens.read(r) || !done.completionTokens.read(r)) return false;
  done.cachedTokens.known = false;
  done.tag.known = false;
  if (count > 7 && !done.cachedTokens.read(r)) return false;
  if (count > 8 && !done.tag.read(r)) return false;
  for (let further: u32 = 9; further < count; further++) if (!r.skip()) return false;
  return true;
}

export function on_complete(at: usize, length: u32): void {
  const r = Reader.of(at, length), done = new Completion();
  for (let left = openBatch(r); left > 0 && readCompletion(r, done); left--) policy!.onComplete(done);
  __collect();
}

export function on_session_end(at: usize, length: u32): void {
  const r = Reader.of(at, length);
  if (!ready || !r.is(Kind.Array) || r.count < 1 || !r.is(Kind.Array)) return;
  for (let left = r.count; left > 0 && r.is(Kind.Str); left--) policy!.onSessionEnd(r.text);
  __collect();
}

// What was saved, held until the next call.
let saved: ArrayBuffer = new ArrayBuffer(0);

export function save_state(): i64 {
  if (ready) saved = policy!.saveState();
  return i64(u64(changetype<usize>(saved)) << 32 | u64(saved.byteLength));
}

export function restore_state(at: usize, length: u32): void {
  const bytes = new ArrayBuffer(i32(length));
  memory.copy(changetype<usize>(bytes), at, length);
  if (ready) policy!.restoreState(bytes);
  __collect();
}
