//! How a line looks.

use std::borrow::Cow;
use std::io::Write as _;
use std::time::Duration;

use http::{HeaderValue, Version};
use serde::Serialize;

use crate::config::access_log_section::LineForm;
use crate::proxy::access_log::request_account::RequestAccount;
use crate::proxy::access_log::written_time::LineClock;
use crate::proxy::token_usage::TokenUsage;
use crate::proxy::worker_door::WorkerDoor;
use sgl_api::End;

/// A line of [`LineForm::Json`].
#[derive(Serialize)]
struct AccessLine<'a> {
    time: &'a str,
    client: &'a str,
    method: &'a str,
    path: &'a str,
    protocol: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    told_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    bytes: u64,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_ms: Option<f64>,
    end: End,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referer: Option<&'a str>,
}

/// Adds the line of a request, with its end.
pub(in crate::proxy::access_log) fn write_line(
    form: LineForm,
    clock: &mut LineClock,
    account: &RequestAccount,
    text: &mut Vec<u8>,
) {
    let time = clock.of(form, account.time);
    match form {
        LineForm::Json => write_json(time, account, text),
        LineForm::Common => write_common(time, account, text),
        LineForm::Combined => {
            write_common(time, account, text);
            for header in [&account.referer, &account.user_agent] {
                text.push(b' ');
                write_quoted(header.as_ref().map_or(b"".as_slice(), HeaderValue::as_bytes), text);
            }
        }
    }
    text.push(b'\n');
}

fn write_json(time: &str, account: &RequestAccount, text: &mut Vec<u8>) {
    let (agent, referer) = (header_text(&account.user_agent), header_text(&account.referer));
    let (id, parent) = (header_text(&account.request_id), header_text(&account.traceparent));
    let TokenUsage { prompt_tokens, completion_tokens, cached_tokens } = account.tokens;
    let millis = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    let path = path_of(account);
    let line = AccessLine {
        time,
        client: account.client.to_str().unwrap_or_default(),
        method: account.method.as_str(),
        path: &path,
        protocol: protocol(account.version),
        status: account.status,
        told_status: account.told_status,
        error: account.error,
        bytes: account.bytes,
        duration_ms: millis(account.duration),
        first_byte_ms: account.first_byte.map(millis),
        end: account.end,
        worker: account.worker.as_ref().and_then(|worker| worker.to_str().ok()),
        model: account.model.as_deref(),
        prompt_tokens,
        completion_tokens,
        cached_tokens,
        key: account.key.as_deref(),
        request_id: id.as_deref(),
        trace_id: parent.as_deref().and_then(|parent| parent.get(3..35)),
        user_agent: agent.as_deref(),
        referer: referer.as_deref(),
    };
    // Nothing in it cannot be written, and a vector takes everything.
    let _ = serde_json::to_writer(text, &line);
}

/// A header as text, whatever it holds.
fn header_text(value: &Option<HeaderValue>) -> Option<Cow<'_, str>> {
    value.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()))
}

/// The Common Log Format of web servers.
fn write_common(time: &str, account: &RequestAccount, text: &mut Vec<u8>) {
    text.extend_from_slice(account.client.as_bytes());
    text.extend_from_slice(b" - ");
    match &account.key {
        Some(key) => {
            text.extend(key.bytes().map(|byte| if matches!(byte, b' ' | b'"') { b'_' } else { byte }))
        }
        None => text.push(b'-'),
    }
    text.extend_from_slice(b" [");
    text.extend_from_slice(time.as_bytes());
    text.extend_from_slice(b"] \"");
    let path = path_of(account);
    let request = [account.method.as_str(), " ", &path, " ", protocol(account.version)];
    request.iter().for_each(|part| write_escaped(part.as_bytes(), text));
    // A vector takes everything.
    let _ = write!(text, "\" {} {}", account.status, account.bytes);
}

fn path_of(account: &RequestAccount) -> Cow<'_, str> {
    account.uri.path_and_query().map_or(Cow::Borrowed(""), |path| WorkerDoor::told(path.as_str()))
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// Text in quotes; `"-"` for nothing.
fn write_quoted(quoted: &[u8], text: &mut Vec<u8>) {
    text.push(b'"');
    write_escaped(if quoted.is_empty() { b"-" } else { quoted }, text);
    text.push(b'"');
}

/// Text with all escaped that could end it or the line, as nginx does.
fn write_escaped(escaped: &[u8], text: &mut Vec<u8>) {
    for byte in escaped {
        match byte {
            b'"' | b'\\' | 0..0x20 | 0x7f.. => drop(write!(text, "\\x{byte:02X}")),
            byte => text.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, UNIX_EPOCH};

    use http::Request;

    use super::*;

    fn account() -> RequestAccount {
        let request = Request::post("/v1/completions?a=%22b")
            .header("user-agent", "cu\"rl\\ 8")
            .header("x-request-id", "r1")
            .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .body(())
            .unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(971_211_336);
        let client = HeaderValue::from_static("10.0.0.9");
        let mut account = RequestAccount::begin(Instant::now(), client, &request);
        account.time = time;
        account.status = 200;
        account.bytes = 2326;
        account.duration = Duration::from_micros(1_234_567);
        account.worker = Some(HeaderValue::from_static("http://w:1"));
        account.tokens =
            TokenUsage { prompt_tokens: Some(12), completion_tokens: Some(3), cached_tokens: None };
        account.key = Some("team a".into());
        account.end = End::Complete;
        account
    }

    fn line(form: LineForm, account: &RequestAccount) -> String {
        let mut text = Vec::new();
        write_line(form, &mut LineClock::default(), account, &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn line_of_web_servers_holds_its_fields_and_escapes_what_clients_send() {
        let common = "10.0.0.9 - team_a [10/Oct/2000:20:55:36 +0000] \"POST /v1/completions?a=%22b HTTP/1.1\" 200 2326";
        assert_eq!(line(LineForm::Common, &account()), format!("{common}\n"));
        let combined = format!("{common} \"-\" \"cu\\x22rl\\x5C 8\"\n");
        assert_eq!(line(LineForm::Combined, &account()), combined);
    }

    #[test]
    fn line_of_json_is_one_object_with_what_is_known() {
        let line = line(LineForm::Json, &account());
        assert_eq!(line.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "time": "2000-10-10T20:55:36.000Z", "client": "10.0.0.9", "method": "POST",
            "path": "/v1/completions?a=%22b", "protocol": "HTTP/1.1", "status": 200, "bytes": 2326,
            "duration_ms": 1234.567, "end": "complete", "worker": "http://w:1", "prompt_tokens": 12,
            "completion_tokens": 3, "key": "team a", "request_id": "r1",
            "trace_id": "0af7651916cd43dd8448eb211c80319c", "user_agent": "cu\"rl\\ 8",
        });
        assert_eq!(read, expected);
    }
}
