// MessagePack out of bytes that nobody vouches for.

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
