//! Programs that know credentials: `docker-credential-NAME`.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::login::Login;
use crate::registry_error::RegistryError;

/// For one question.
const LIMIT: Duration = Duration::from_secs(10);

/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(10);

/// The most that is read of its answer.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// The user of whom the password is a token that others are asked for with.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// Asks a helper for the credentials of a registry; none if it has none. Blocks.
///
/// # Errors
///
/// [`RegistryError::Credentials`].
pub(crate) fn ask(name: &str, registry: &str) -> Result<Option<Login>, RegistryError> {
    let program = format!("docker-credential-{name}");
    let failed = |reason: String| RegistryError::Credentials { place: format!("{program} get"), reason };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(failed(
            "found a name that is no program's; expected letters, digits, `.`, `_`, `-`".into(),
        ));
    }
    let child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.map_err(|error| failed(format!("it cannot be started: {error}")))?;
    if let Some(mut input) = child.stdin.take() {
        // One that reads nothing says so by what it answers.
        let _ = input.write_all(registry.as_bytes());
    }
    let success = ended(&mut child).map_err(failed)?;
    let mut answer = Vec::new();
    if let Some(output) = child.stdout.take() {
        let read = output.take(MAX_ANSWER_BYTES).read_to_end(&mut answer);
        read.map_err(|error| failed(error.to_string()))?;
    }
    if !success {
        let said = String::from_utf8_lossy(&answer);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        let said: String = said.trim().chars().take(200).collect();
        return Err(failed(format!("it failed: {}", said.escape_debug())));
    }
    let answer: HelperAnswer = serde_json::from_slice(&answer)
        .map_err(|_| failed("its answer is no JSON with Username and Secret".to_owned()))?;
    Ok(Some(match answer {
        HelperAnswer { username, secret } if username == TOKEN_USER => Login::Refresh(secret),
        HelperAnswer { username, secret } => Login::Password { user: username, password: secret },
    }))
}

/// Waits for its end; true if it succeeded. What it wrote meanwhile waits in the pipe, which holds as much
/// as is read.
fn ended(child: &mut Child) -> Result<bool, String> {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) if began.elapsed() < LIMIT => std::thread::sleep(LOOK),
            Ok(None) => {
                // Gone already, or it ends now.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("no answer within {LIMIT:?}"));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}
