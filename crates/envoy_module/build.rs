//! How the module is linked.

fn main() {
    // Envoy closes a module when the last cluster that uses it goes. The engine's threads and the destructors
    // of thread-local values would then run code that is not there any more, so it stays.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo:rerun-if-changed=build.rs");
}
