//! Who gives tokens for a registry: as Docker's protocol has it, signed with a key of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Method;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey};
use serde_json::json;
use tokio::net::TcpListener;

use crate::registries::false_registry::with_status;

const ISSUER: &str = "token server of the test";

/// Who may get tokens.
pub(crate) const USER: (&str, &str) = ("operator", "secret words");

/// What another token is got with.
pub(crate) const REFRESH_TOKEN: &str = "long-lived";

/// A server on loopback.
pub(crate) struct TokenServer {
    pub(crate) address: SocketAddr,
    /// The scope of each token that was asked for, and whether it was given.
    pub(crate) asked: Arc<Mutex<Vec<(String, bool)>>>,
    certificate: String,
}

struct Signer {
    key: KeyPair,
    certificate: Vec<u8>,
}

impl TokenServer {
    pub(crate) async fn start() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let certificate =
            CertificateParams::new(Vec::new()).expect("a name").self_signed(&key).expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let signer = Arc::new(Signer { key, certificate: certificate.der().to_vec() });
        let log = Arc::clone(&asked);
        let service =
            Router::new().fallback(move |request| answer(request, Arc::clone(&signer), Arc::clone(&log)));
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { address, asked, certificate: certificate.pem() }
    }

    /// What a registry that believes it has in its configuration.
    pub(crate) fn section(&self, dir: &Path) -> String {
        let bundle = dir.join("tokens.pem");
        std::fs::write(&bundle, &self.certificate).expect("a file");
        format!(
            "auth: {{token: {{realm: \"http://{}/token\", service: test, issuer: {ISSUER:?}, rootcertbundle: {bundle:?}}}}}",
            self.address
        )
    }
}

/// Gives a token for what is asked if the asker is known; else one for nothing.
async fn answer(request: Request, signer: Arc<Signer>, log: Arc<Mutex<Vec<(String, bool)>>>) -> Response {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let is_refresh = head.method == Method::POST;
    let form = if is_refresh { body.to_vec() } else { query.into_bytes() };
    let pairs: Vec<(String, String)> = form_urlencoded::parse(&form).into_owned().collect();
    let of = |name: &str| pairs.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", USER.0, USER.1)));
    let shown = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    let is_known = if is_refresh {
        of("grant_type") == "refresh_token" && of("refresh_token") == REFRESH_TOKEN
    } else {
        shown == Some(basic.as_str())
    };
    log.lock().push((in_order(of("scope")), is_known));
    if shown.is_some() && !is_known {
        return with_status(401, r#"{"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]}"#);
    }
    let access = access(of("scope"), is_known);
    let token = signer.token(of("service"), &access);
    // The two ways in which tokens are asked for have a name of their own for what is given.
    let name = if is_refresh { "access_token" } else { "token" };
    with_status(200, json!({ name: token }).to_string())
}

/// A scope with its actions in the order of the alphabet: the registry asks for them in any, and another each time.
fn in_order(scope: &str) -> String {
    let Some((about, actions)) = scope.rsplit_once(':') else { return scope.to_owned() };
    let mut actions: Vec<&str> = actions.split(',').collect();
    actions.sort_unstable();
    format!("{about}:{}", actions.join(","))
}

fn access(scope: &str, is_known: bool) -> serde_json::Value {
    let mut parts = scope.splitn(2, ':');
    let (kind, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match rest.rsplit_once(':') {
        Some((name, actions)) if is_known => {
            json!([{"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()}])
        }
        _ => json!([]),
    }
}

impl Signer {
    fn token(&self, audience: &str, access: &serde_json::Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let head = json!({"typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(&self.certificate)]});
        let claims = json!({
            "iss": ISSUER, "sub": USER.0, "aud": audience, "exp": now + 300, "nbf": now - 60, "iat": now,
            "jti": "1", "access": access,
        });
        let [head, claims] = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{head}.{claims}");
        let signature = self.key.sign(signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(fixed(&signature)))
    }
}

/// The two numbers of a signature in 32 bytes each, as tokens have it, of its ASN.1.
fn fixed(signature: &[u8]) -> Vec<u8> {
    let number = |at: usize| {
        let length = usize::from(signature[at + 1]);
        let bytes = &signature[at + 2..at + 2 + length];
        let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        let mut number = vec![0; 32 - bytes.len()];
        number.extend(bytes);
        (number, at + 2 + length)
    };
    let (mut first, next) = number(2);
    first.extend(number(next).0);
    first
}
