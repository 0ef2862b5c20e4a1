//! Who NATS lets in, and TLS.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sgl_testkit::nats_server::NatsServer;

use crate::member::{Member, fleet, module, text, within};

/// Of `fixtures/nats/router.nk`.
const NKEY: &str = "UAS7SNMFL2FRZ3NQIE67ZFSJRTT5BU2ZLIT6IUC2QKGB6HNFR2UHMAWW";

/// An authority for certificates.
struct LoopbackAuthority(CertifiedIssuer<'static, KeyPair>);

impl LoopbackAuthority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its certificate as a file.
    fn file(&self, dir: &Path, name: &str) -> String {
        write(dir, name, &self.0.pem())
    }

    /// A certificate and its key as files.
    fn issue(&self, dir: &Path, name: &str) -> [String; 2] {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        [
            write(dir, &format!("{name}.crt"), &certificate.pem()),
            write(dir, &format!("{name}.key"), &key.serialize_pem()),
        ]
    }
}

fn write(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).expect("a file");
    text(&path)
}

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/nats/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// With these flags a router and a command are let in; with those they are not, and say why.
async fn lets_in(url: &str, dir: &Path, good: &[&str], bad: &[&str], why: &str) {
    let router = Member::start_with(url, "a", dir, good).await;
    within("it is let in", async || router.fleet().await["connected"] == true).await;
    let wasm = sgl_testkit::small_guests::guest_choosing(0);
    let file = module(dir, "m.wasm", &wasm);
    let push = ["push", &file, "--name", "p", "--steps", "100", "--soak-secs", "0", "--wait"];
    let (code, _, error) = fleet(url, &[&push[..], &of_commands(good)].concat()).await;
    assert_eq!(code, 0, "{good:?}: {error}");
    router.serves(1).await;
    let mut stranger = Member::start_with(url, "b", dir, bad).await;
    let logged = stranger.process.logged("NATS is not reached").await;
    assert!(logged.to_string().contains(why), "{bad:?}: {logged}");
    let shown = stranger.fleet().await;
    assert_eq!(shown["connected"], false);
    assert!(shown["fault"].as_str().is_some_and(|fault| fault.contains(why)), "{bad:?}: {shown}");
    let (code, _, error) = fleet(url, &[&["status"][..], &of_commands(bad)].concat()).await;
    assert!(code == 3 && error.contains("cannot be reached"), "{bad:?}: {code} {error}");
}

/// Commands have one flag for all authorities.
fn of_commands<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    flags
        .iter()
        .map(|flag| if *flag == "--fleet-ca-cert-paths" { "--ca-cert-paths" } else { *flag })
        .collect()
}

#[tokio::test]
async fn servers_certificate_must_be_of_an_authority_and_verifying_servers_want_one_too() {
    let dir = tempfile::tempdir().unwrap();
    let (signer, other) = (LoopbackAuthority::new(), LoopbackAuthority::new());
    let (ca, other_ca) = (signer.file(dir.path(), "ca.pem"), other.file(dir.path(), "other.pem"));
    let [certificate, key] = signer.issue(dir.path(), "server");
    let [own, own_key] = signer.issue(dir.path(), "router");
    let tls = |verify: bool| {
        format!(
            "tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {ca:?}, verify: {verify}, timeout: 10 }}"
        )
    };
    let trusts = ["--fleet-ca-cert-paths", &ca];
    {
        let Some(server) = NatsServer::start_with(&tls(false)) else { return };
        let url = server.url().replace("nats://", "tls://");
        let dir = tempfile::tempdir().unwrap();
        lets_in(&url, dir.path(), &trusts, &["--fleet-ca-cert-paths", &other_ca], "").await;
    }
    let Some(server) = NatsServer::start_with(&tls(true)) else { return };
    let shows = ["--fleet-client-cert-path", &own, "--fleet-client-key-path", &own_key];
    // What the server says is enough for TLS.
    lets_in(
        &server.url(),
        dir.path(),
        &[trusts, [shows[0], shows[1]], [shows[2], shows[3]]].concat(),
        &trusts,
        "",
    )
    .await;
}

#[tokio::test]
async fn user_with_a_password_is_let_in_by_file_and_by_address() {
    let Some(server) = NatsServer::start_with(r#"authorization { user: "me", password: "p@ss" }"#) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (right, wrong) = (write(dir.path(), "right", "p@ss\n"), write(dir.path(), "wrong", "pass\n"));
    let user = |file| ["--fleet-user", "me", "--fleet-password-file", file];
    lets_in(&server.url(), dir.path(), &user(&right), &user(&wrong), "authorization violation").await;
    let url = server.url().replace("nats://", "nats://me:p%40ss@");
    let router = Member::start(&url, "c", dir.path()).await;
    within("it is let in", async || router.fleet().await["connected"] == true).await;
    let (code, out, error) = fleet(&url, &["status"]).await;
    assert!(code == 0 && !out.contains("p%40ss") && !out.contains("p@ss"), "{out} {error}");
}

#[tokio::test]
async fn token_is_let_in_by_file_and_by_address() {
    let Some(server) = NatsServer::start_with(r#"authorization { token: "t0ken" }"#) else { return };
    let dir = tempfile::tempdir().unwrap();
    let token = write(dir.path(), "token", "t0ken\n");
    lets_in(&server.url(), dir.path(), &["--fleet-token-file", &token], &[], "authorization violation").await;
    let router = Member::start(&server.url().replace("nats://", "nats://t0ken@"), "c", dir.path()).await;
    within("it is let in", async || router.fleet().await["connected"] == true).await;
}

#[tokio::test]
async fn nkey_and_credentials_of_an_account_are_let_in() {
    let (seed, creds) = (fixture("router.nk"), fixture("router.creds"));
    let (nkey, jwt) = (["--fleet-nkey-file", &seed], ["--fleet-credentials", &creds]);
    {
        let users = format!("authorization {{ users: [{{ nkey: {NKEY} }}] }}");
        let Some(server) = NatsServer::start_with(&users) else { return };
        let dir = tempfile::tempdir().unwrap();
        lets_in(&server.url(), dir.path(), &nkey, &[], "authorization violation").await;
    }
    let operator = std::fs::read_to_string(fixture("operator.conf")).unwrap();
    let Some(server) = NatsServer::start_with(&operator) else { return };
    let dir = tempfile::tempdir().unwrap();
    lets_in(&server.url(), dir.path(), &jwt, &nkey, "authorization violation").await;
}

#[tokio::test]
async fn files_that_cannot_be_used_and_ways_that_exclude_each_other_are_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, token) = (write(dir.path(), "empty", "\n"), write(dir.path(), "token", "t"));
    for (flags, said) in [
        (&["--fleet-token-file", "/nowhere/token"][..], "/nowhere/token: "),
        (&["--fleet-token-file", &empty], "its first line is empty"),
        (&["--fleet-nkey-file", &token], "no line with the seed of a user's nkey"),
        (&["--fleet-credentials", "/nowhere/creds"], "/nowhere/creds: "),
        (&["--fleet-ca-cert-paths", &token], "there is no certificate in it"),
        (&["--fleet-user", "me"], "user is given without password_file"),
        (
            &["--fleet-user", "me", "--fleet-password-file", &token, "--fleet-token-file", &token],
            "one of them",
        ),
        (&["--fleet-client-cert-path", &token], "without client_key_path"),
        (&["--fleet-replicas", "2"], "1, 3 or 5"),
    ] {
        let (code, _, error) =
            fleet("nats://127.0.0.1:1", &[&["status"][..], &of_commands(flags)].concat()).await;
        assert!(code == 2 && error.contains(said), "{flags:?}: {code} {error}");
        let serve = ["serve", "--fleet", "nats://127.0.0.1:1", "--fleet-name", "f"];
        let ports = sgl_testkit::process::FREE_PORTS;
        let command = sgl_testkit::process::command(&[&serve[..], &ports, flags].concat());
        let ended = sgl_testkit::process::output(command).await;
        let error = sgl_testkit::process::stderr(&ended);
        assert!(!ended.status.success() && error.contains(said), "{flags:?}: {error}");
    }
}
