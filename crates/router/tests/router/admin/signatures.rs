//! Signed modules: the command line makes keys, signs and verifies; routers ask who signed, wherever
//! a module comes from, and again at every start.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use sgl_testkit::client::{call, get};
use sgl_testkit::process::{FREE_PORTS, Process, command, output, stderr, stdout};
use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::waits::soon;

/// Runs `plugin`; gives exit code, standard output and standard error.
async fn plugin(arguments: &[&str]) -> (i32, String, String) {
    let mut command = command(&["plugin"]);
    command.args(arguments);
    let output = output(command).await;
    (output.status.code().expect("a code"), stdout(&output), stderr(&output))
}

async fn done(arguments: &[&str]) -> String {
    let (code, out, error) = plugin(arguments).await;
    assert_eq!(code, 0, "{arguments:?}: {error}");
    out
}

/// A directory with keys `one` and `two` in `keys/`, a module `p.wasm`, and a configuration that wants
/// a signature by a key of `keys/` on everything.
struct Stage {
    root: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let stage = Self { root };
        std::fs::create_dir(stage.root.path().join("keys")).expect("a directory");
        for name in ["one", "two"] {
            done(&["keygen", &stage.at(&format!("keys/{name}")), "--comment", name]).await;
        }
        std::fs::write(stage.at("p.wasm"), guest_choosing(0)).expect("a file");
        let config = format!("[[trust]]\nrequire = \"any-of keys\"\nkeys = [{:?}]\n", stage.at("keys"));
        std::fs::write(stage.at("router.toml"), config).expect("a file");
        stage
    }

    fn at(&self, name: &str) -> String {
        self.root.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    async fn sign(&self, module: &str, key: &str) {
        done(&["sign", &self.at(module), "--key", &self.at(&format!("keys/{key}.key"))]).await;
    }

    async fn serve(&self, arguments: &[&str]) -> Process {
        let config = self.at("router.toml");
        Process::serve(&[&["--config", config.as_str()], arguments].concat()).await
    }
}

fn mode(file: &str) -> u32 {
    std::fs::metadata(file).expect("a file").permissions().mode() & 0o777
}

async fn show(router: &Process, name: &str) -> Value {
    call(router.admin, get(&format!("/v1/plugins/{name}"))).await.json()
}

#[tokio::test]
async fn keys_are_made_privately_and_never_overwritten() {
    let stage = Stage::new().await;
    let [key, public] = ["keys/one.key", "keys/one.pub"].map(|name| stage.at(name));
    assert_eq!((mode(&key), mode(&public) & 0o022), (0o600, 0));
    let before = std::fs::read(&key).unwrap();
    let (code, _, error) = plugin(&["keygen", &stage.at("keys/one")]).await;
    assert!(code == 2 && error.contains("never overwritten"), "{code} {error}");
    // Either half is enough to refuse, and nothing is left of the other.
    std::fs::remove_file(&public).unwrap();
    let (code, _, error) = plugin(&["keygen", &stage.at("keys/one")]).await;
    assert!(code == 2 && error.contains("one.key"), "{code} {error}");
    assert_eq!(std::fs::read(&key).unwrap(), before);
    assert!(!Path::new(&public).exists());
    let made: Value = serde_json::from_str(&done(&["keygen", &stage.at("k"), "--json"]).await).unwrap();
    assert_eq!((made["key"].as_str().unwrap().len(), &made["comment"]), (24, &json!("")));
    assert_ne!(std::fs::read(stage.at("k.key")).unwrap(), before);
}

#[tokio::test]
async fn module_is_signed_beside_or_inside_and_verified() {
    let stage = Stage::new().await;
    let [module, one, two] = ["p.wasm", "keys/one.pub", "keys/two.pub"].map(|name| stage.at(name));
    let (code, _, error) = plugin(&["verify", &module, "--key", &one]).await;
    assert!(
        code == 1 && error.contains("it is not signed") && error.contains("p.wasm.sig"),
        "{code} {error}"
    );
    std::fs::set_permissions(&module, std::fs::Permissions::from_mode(0o640)).unwrap();
    stage.sign("p.wasm", "one").await;
    assert_eq!(mode(&stage.at("p.wasm.sig")), 0o640, "who may read the module may read its signature");
    assert_eq!(std::fs::read(&module).unwrap(), guest_choosing(0), "the module is as it was");
    let said = done(&["verify", &module, "--key", &one]).await;
    assert!(said.contains("signed by key") && said.contains("(one)"), "{said}");
    let (code, _, error) = plugin(&["verify", &module, "--key", &two]).await;
    assert!(code == 1 && error.contains("not among the keys") && error.contains("(two)"), "{code} {error}");
    let (code, _, error) = plugin(&["verify", &module, "--key", &one, "--key", &two, "--all"]).await;
    assert!(code == 1 && error.contains("must have signed it, too"), "{code} {error}");
    stage.sign("p.wasm", "two").await;
    let both = done(&["verify", &module, "--key", &one, "--key", &two, "--all", "--json"]).await;
    let both: Value = serde_json::from_str(&both).unwrap();
    assert_eq!(both["signed_by"].as_array().unwrap().len(), 2, "{both}");
    std::fs::remove_file(stage.at("p.wasm.sig")).unwrap();
    let key = stage.at("keys/one.key");
    done(&["sign", &module, "--key", &key, "--embed"]).await;
    done(&["verify", &module, "--config", &stage.at("router.toml")]).await;
    let mut changed = std::fs::read(&module).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&module, changed).unwrap();
    let (code, _, error) = plugin(&["verify", &module, "--config", &stage.at("router.toml")]).await;
    assert!(code == 1 && error.contains("trust[0]") && error.contains("signed other bytes"), "{error}");
    assert_eq!(plugin(&["verify", &module]).await.0, 2, "no keys are named");
    assert_eq!(plugin(&["sign", &module, "--key", &one]).await.0, 2, "it is a public key");
    assert_eq!(plugin(&["sign", &one, "--key", &key]).await.0, 1, "it is no module");
}

#[tokio::test]
async fn name_of_a_file_cannot_look_like_what_a_command_says() {
    let stage = Stage::new().await;
    let name = "x\nok: signed by key 00\u{202e}.wasm";
    let [module, one, key] = [name, "keys/one.pub", "keys/one.key"].map(|name| stage.at(name));
    std::fs::write(&module, guest_choosing(0)).unwrap();
    let shown = r"x\nok: signed by key 00\u{202e}.wasm";
    let is_one_line = |text: &str| {
        assert!(text.contains(shown), "{text:?}");
        assert_eq!((text.lines().count(), text.contains('\u{202e}')), (1, false), "{text:?}");
    };
    let (code, _, error) = plugin(&["verify", &module, "--key", &one]).await;
    assert_eq!(code, 1, "{error}");
    is_one_line(&error);
    is_one_line(&done(&["sign", &module, "--key", &key]).await);
    is_one_line(&done(&["verify", &module, "--key", &one]).await);
    std::fs::remove_file(&module).unwrap();
    let calls: [&[&str]; 3] =
        [&["push", &module], &["verify", &one, "--key", &module], &["explain", "r", "--file", &module]];
    for arguments in calls {
        let (code, _, error) = plugin(arguments).await;
        assert_eq!(code, 2, "{error}");
        is_one_line(&error);
    }
    let (code, _, error) = plugin(&["keygen", &stage.at("keys/one\u{202e}\nx")]).await;
    assert_eq!(code, 0, "{error}");
    let (_, _, error) = plugin(&["keygen", &stage.at("keys/one\u{202e}\nx")]).await;
    assert!(error.contains(r"one\u{202e}\nx.pub: it is there already"), "{error:?}");
}

#[tokio::test]
async fn push_is_refused_unless_it_is_signed_and_show_tells_by_whom() {
    let stage = Stage::new().await;
    let router = stage.serve(&[]).await;
    let admin = format!("http://{}", router.admin);
    let push = ["push", &stage.at("p.wasm"), "--admin-url", &admin].map(str::to_owned);
    let push: Vec<&str> = push.iter().map(String::as_str).collect();
    let (code, _, error) = plugin(&push).await;
    assert!(code == 1 && error.contains("(unsigned)") && error.contains("trust[0]"), "{code} {error}");
    stage.sign("p.wasm", "two").await;
    done(&push).await;
    let view = show(&router, "p").await;
    let provenance = &view["generations"][0]["provenance"];
    assert_eq!(
        (&provenance["signature"], &provenance["origin"]["kind"]),
        (&"verified".into(), &"push".into())
    );
    assert_eq!(provenance["signed_by"][0]["comment"], "two");
    let page = done(&["show", "p", "--admin-url", &admin]).await;
    assert_eq!((&provenance["hooks"], &provenance["serial"]), (&serde_json::json!([]), &false.into()));
    for part in [
        "digest     sha256:",
        "signature  by ",
        "(two)",
        "origin     pushed, ",
        "form       rows, ABI 1, parallel\n",
        "hooks      -\n",
    ] {
        assert!(page.contains(part), "{part:?} is not in\n{page}");
    }
    // A signature of another module, and one that is no signature.
    std::fs::write(stage.at("p.wasm"), guest_choosing(1)).unwrap();
    let (code, _, error) = plugin(&push).await;
    assert!(code == 1 && error.contains("(signature_mismatch)"), "{code} {error}");
    let (code, _, error) = plugin(&[&push[..], &["--signature", &stage.at("router.toml")]].concat()).await;
    assert!(code == 1 && error.contains("(malformed_signature)"), "{code} {error}");
    let mut request = crate::admin::api::put("/v1/plugins/p", guest_choosing(1));
    request.headers_mut().insert("x-sgl-module-signature", "no hex".parse().unwrap());
    let answer = call(router.admin, request).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (400, &"bad_signature_header".into()));
    assert_eq!(show(&router, "p").await["swaps"], 0, "what served goes on");
}

#[tokio::test]
async fn watched_directory_loads_a_module_once_its_signature_is_there() {
    let stage = Stage::new().await;
    std::fs::create_dir(stage.at("plugins")).unwrap();
    let dir = stage.at("plugins");
    let mut router = stage.serve(&["--plugin-dir", &dir, "--watch"]).await;
    std::fs::write(stage.at("plugins/q.wasm"), guest_choosing(0)).unwrap();
    let refused = router.logged("not loaded; nothing serves under this name").await;
    let error = refused["fields"]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("not signed") && error.contains("q.wasm.sig"), "{error}");
    stage.sign("plugins/q.wasm", "one").await;
    router.logged("loaded the changed file").await;
    let provenance = show(&router, "q").await["generations"][0]["provenance"].clone();
    assert_eq!(provenance["signed_by"][0]["comment"], "one");
    assert_eq!(provenance["origin"], json!({"kind": "file", "path": stage.at("plugins/q.wasm")}));
    // The same by its name over the API.
    let by_name = crate::admin::api::json("PUT", "/v1/plugins/r", &json!({"file": "q.wasm"}));
    assert_eq!(call(router.admin, by_name).await.status.as_u16(), 201);
}

#[tokio::test]
async fn kept_plugin_whose_key_is_gone_is_refused_at_the_next_start() {
    let stage = Stage::new().await;
    let state = stage.at("state");
    let router = stage.serve(&["--state-dir", &state]).await;
    let admin = format!("http://{}", router.admin);
    stage.sign("p.wasm", "one").await;
    done(&["push", &stage.at("p.wasm"), "--admin-url", &admin]).await;
    router.kill();
    let router = stage.serve(&["--state-dir", &state, "--policy", "p"]).await;
    let provenance = show(&router, "p").await["generations"][0]["provenance"].clone();
    assert_eq!(provenance["signed_by"][0]["comment"], "one", "its detached signature was kept");
    assert_eq!(provenance["origin"]["kind"], "push");
    router.kill();
    std::fs::remove_file(stage.at("keys/one.pub")).unwrap();
    let mut serve = command(&["serve", "--config", &stage.at("router.toml"), "--state-dir", &state]);
    serve.args(FREE_PORTS).args(["--policy", "p"]);
    let ended = output(serve).await;
    let said = stderr(&ended);
    assert_eq!(ended.status.code(), Some(1));
    assert!(said.contains("not among the keys") && said.contains("(two)"), "{said}");
    // As another plugin than the policy it is left out, and stays kept until somebody decides.
    let router = stage.serve(&["--state-dir", &state]).await;
    assert_eq!(call(router.admin, get("/v1/plugins/p")).await.status.as_u16(), 404);
    assert!(std::fs::read_to_string(stage.at("state/plugins")).unwrap().contains("\"p\""));
}

#[tokio::test]
async fn router_with_a_key_that_is_none_does_not_start() {
    let stage = Stage::new().await;
    std::fs::write(stage.at("keys/three.pub"), "nonsense").unwrap();
    let ended = soon(output(command(&["serve", "--config", &stage.at("router.toml")]))).await;
    let said = stderr(&ended);
    assert_eq!(ended.status.code(), Some(1));
    assert!(said.contains("three.pub") && said.contains("trust[0]"), "{said}");
}
