// Chance, hashes, the lowest cost.
import { Choice } from "./choice";

// Scrambles 64 bits (the finaliser of SplitMix64).
@inline export function mix(bits: u64): u64 {
  bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9;
  bits = (bits ^ bits >> 27) * 0x94d049bb133111eb;
  return bits ^ bits >> 31;
}

export function hashOf(at: usize, length: u32): u64 {
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
