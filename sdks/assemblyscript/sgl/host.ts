// The functions of the router.
import { Level } from "./words";

@external("sgl", "log")
declare function host_log(level: i32, at: usize, length: u32): void;

@external("sgl", "counter_add")
declare function host_counter_add(slot: i32, delta: i64): i64;

@external("sgl", "kv_get")
declare function host_kv_get(key: usize, keyLength: u32, out: usize, room: u32): i32;

@external("sgl", "kv_set")
declare function host_kv_set(key: usize, keyLength: u32, value: usize, length: u32): i32;

@external("sgl", "kv_set_for")
declare function host_kv_set_for(key: usize, keyLength: u32, value: usize, length: u32, ms: u32): i32;

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

// What the compiler calls where a program fails (--use abort=sgl/host/abort): the router reports the message with
// the trap.
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const what = message === null ? "abort" : message;
  log(Level.Error, `panicked at ${file === null ? "?" : file}:${line}:${column}:\n${what}`);
  unreachable();
}
