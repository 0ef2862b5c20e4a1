//! `plugin manifest`: what a module says of itself, shown and written.

use serde_json::{Value, json};
use sgl_testkit::process::{command, output, stderr, stdout};

const GUEST: &str =
    r#"(module (memory (export "memory") 1) (func (export "alloc") (param i32) (result i32) i32.const 0))"#;

async fn run(arguments: &[&str]) -> std::process::Output {
    output(command(&[&["plugin", "manifest"], arguments].concat())).await
}

#[tokio::test]
async fn manifest_is_attached_shown_and_changed_in_a_part() {
    let dir = tempfile::tempdir().unwrap();
    let (module, made) = (dir.path().join("mine.wasm"), dir.path().join("made.wasm"));
    std::fs::write(&module, wat::parse_str(GUEST).unwrap()).unwrap();
    let (module, made) = (module.to_str().unwrap(), made.to_str().unwrap());
    let before = std::fs::read(module).unwrap();
    let none = run(&[module]).await;
    assert!(none.status.success() && stdout(&none).contains("no manifest"), "{none:?}");

    let inputs = "healthy,load,header:x-user";
    let done = run(&[module, "--inputs", inputs, "--version", "1.2", "-o", made]).await;
    assert!(done.status.success(), "{}", stderr(&done));
    assert_eq!(std::fs::read(module).unwrap(), before, "the module itself stays");
    let shown = stdout(&run(&[made]).await);
    for line in ["name        mine", "version     1.2", "wire        columns", "healthy, load, header:x-user"]
    {
        assert!(shown.contains(line), "{line} is missing in {shown}");
    }

    // In its own place, and only what is said.
    let done = run(&[made, "--concurrency", "serial", "--name", "other"]).await;
    assert!(done.status.success(), "{}", stderr(&done));
    let told: Value = serde_json::from_str(&stdout(&run(&[made, "--json"]).await)).unwrap();
    let manifest = &told["manifest"];
    assert_eq!((&manifest["name"], &manifest["concurrency"]), (&json!("other"), &json!("serial")));
    assert_eq!(manifest["inputs"].as_array().map(Vec::len), Some(3), "{manifest}");
    assert_eq!(manifest["version"], "1.2");
}

#[tokio::test]
async fn names_that_are_no_inputs_and_files_that_are_no_modules_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("mine.wasm");
    std::fs::write(&module, wat::parse_str(GUEST).unwrap()).unwrap();
    let before = std::fs::read(&module).unwrap();
    let refused = run(&[module.to_str().unwrap(), "--inputs", "helthy"]).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("did you mean `healthy`?"), "{}", stderr(&refused));
    assert_eq!(std::fs::read(&module).unwrap(), before);
    let text = dir.path().join("notes.txt");
    std::fs::write(&text, "not a module").unwrap();
    let refused = run(&[text.to_str().unwrap(), "--name", "a"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("cannot be read as a WebAssembly module"), "{}", stderr(&refused));
    assert_eq!(std::fs::read(&text).unwrap(), b"not a module");
}
