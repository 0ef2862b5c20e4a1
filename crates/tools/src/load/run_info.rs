//! When, where and how a run was made: what a report says of itself.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// A figure without these cannot be compared with another.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunInfo {
    /// When the run began, as HTTP writes dates.
    pub started: String,
    /// The same in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Version of the program.
    pub version: String,
    /// Processor, cores, memory, system and name of the machine, as far as it tells.
    pub machine: String,
    /// The command line; values of `--header` are left out, since they may be secrets.
    pub command: String,
}

impl RunInfo {
    /// Of a run that begins now, made by the command line `arguments`, the program's name first.
    pub fn now(arguments: impl Iterator<Item = String>) -> Self {
        let now = SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started: httpdate::fmt_http_date(now),
            started_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            machine: machine(),
            command: command(arguments),
        }
    }
}

/// Linux tells by files; elsewhere only the cores and the kind of system are known.
fn machine() -> String {
    let line = |file: &str, name: &str| {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start_matches([':', '\t', ' ']).trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = line("/proc/meminfo", "MemTotal").and_then(|text| {
        let kib: u64 = text.split(' ').next()?.parse().ok()?;
        Some(format!("{} GiB", (kib + (1 << 19)) >> 20))
    });
    let parts = [
        line("/proc/cpuinfo", "model name"),
        Some(format!("{cores} {}", if cores == 1 { "core" } else { "cores" })),
        memory,
        Some(match line("/proc/sys/kernel/osrelease", "") {
            Some(release) => format!("{} {release}", std::env::consts::OS),
            None => std::env::consts::OS.to_owned(),
        }),
        line("/proc/sys/kernel/hostname", ""),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// As a shell takes it.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let mut words = Vec::new();
    let mut is_header = false;
    for (at, argument) in arguments.enumerate() {
        let word = match argument.strip_prefix("--header=") {
            _ if at == 0 => program(&argument),
            _ if std::mem::take(&mut is_header) => without_value(&argument),
            Some(header) => format!("--header={}", without_value(header)),
            None => argument,
        };
        is_header = word == "--header";
        words.push(quoted(&word));
    }
    words.join(" ")
}

/// Without the folders that it lies in.
fn program(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

fn without_value(header: &str) -> String {
    let name = header.split(':').next().unwrap_or_default();
    format!("{name}: ***")
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> String {
        command(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn command_can_be_given_to_a_shell_and_keeps_secrets() {
        let words = ["/usr/bin/sgl-router", "load", "--body-fields", "{\"a\": \"it's\"}"];
        assert_eq!(of(&words), r#"sgl-router load --body-fields '{"a": "it'\''s"}'"#);
        let secret = of(&["x", "--header", "authorization: Bearer s3cret", "--header=x-api-key: s3cret"]);
        assert_eq!(secret, "x --header 'authorization: ***' '--header=x-api-key: ***'");
    }

    #[test]
    fn machine_says_how_many_cores_it_has() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert!(machine().contains(&format!("{cores} core")), "{}", machine());
    }
}
