//! How the module is linked.

fn main() {
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        // Envoy closes a module when the last cluster that uses it goes. The engine's threads and the
        // destructors of thread-local values would then run code that is not there any more, so it stays.
        Ok("linux") => println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete"),
        // The linker there wants every name to be known; Envoy's are known when it loads the module.
        Ok("macos") => println!("cargo:rustc-link-arg=-Wl,-undefined,dynamic_lookup"),
        _ => {}
    }
    println!("cargo:rerun-if-changed=build.rs");
}
