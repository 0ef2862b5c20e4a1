// The operator's configuration.
import { Kind, Reader } from "./reader";

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
