//! x
#![allow(warnings)]
use std::fs;
fn main() {
    let dir = std::env::args().nth(1).unwrap();
    for line in fs::read_dir(&dir).unwrap() {
        let p = line.unwrap().path();
        if p.extension().map_or(false, |e| e == "wat") {
            let out = wat::parse_file(&p).unwrap();
            fs::write(p.with_extension("wasm"), out).unwrap();
        }
    }
    // random structured inputs
    let out = std::env::args().nth(2).unwrap();
    let mut x: u64 = 88172645463325252;
    for n in 0..300u32 {
        let mut bytes = Vec::new();
        let len = 300 + (n as usize * 13) % 3000;
        while bytes.len() < len {
            x ^= x << 13; x ^= x >> 7; x ^= x << 17;
            bytes.extend_from_slice(&x.to_le_bytes());
        }
        eprint!("{n} ");
        let began = std::time::Instant::now();
        fuzz_targets::structured_modules(&bytes);
        eprintln!("  {:?}", began.elapsed());
        fs::write(format!("{out}/{n}"), &bytes).unwrap();
    }
}
