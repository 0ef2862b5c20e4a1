// The functions of the router.

@external("sgl", "log")
export declare function host_log(level: i32, at: usize, length: u32): void;

@external("sgl", "counter_add")
export declare function host_counter_add(slot: i32, delta: i64): i64;

@external("sgl", "kv_get")
export declare function host_kv_get(key: usize, keyLength: u32, out: usize, room: u32): i32;

@external("sgl", "kv_set")
export declare function host_kv_set(key: usize, keyLength: u32, value: usize, length: u32): i32;

@external("sgl", "kv_set_for")
export declare function host_kv_set_for(key: usize, keyLength: u32, value: usize, length: u32, ms: u32): i32;
