// What a policy reads: an element of a message each.
import { hashOf } from "./chance";
import { Context } from "./context";
import { Kind, Reader } from "./reader";
import { Leg } from "./words";

export const MALFORMED = "decision message is malformed";
export const NO_MANIFEST = "the module has no manifest: compile it with --transform ./sgl_manifest.mjs";
export const COLUMN_LENGTH = "a column has not one entry per worker";

// One declared input.
export abstract class Element {
  declared: bool = false;
  constructor(readonly name: string) {}
  // Reads it for so many workers; says what is wrong, or null.
  abstract take(r: Reader, ctx: Context): string | null;
}

export function undeclared(name: string): void {
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

export class Uint extends Element {
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

export class LegInput extends Uint {
  take(r: Reader, ctx: Context): string | null {
    const fault = super.take(r, ctx);
    return fault === null && this.number > u64(Leg.Decode) ? "unknown leg" : fault;
  }
}

export class Rate extends Element {
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
