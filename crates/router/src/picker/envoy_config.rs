//! A configuration for Envoy that works with the picker.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// The configuration, with marks where addresses go.
const TEMPLATE: &str = include_str!("envoy.yaml");

/// How often Envoy checks the picker by it.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Its admin listener's port.
const ADMIN_PORT: u16 = 9901;

/// What differs between two of these configurations. Shown, it is the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvoyConfig {
    /// Where Envoy listens for clients.
    pub(crate) listen: SocketAddr,
    /// Where the picker listens for Envoy.
    pub(crate) picker: SocketAddr,
    /// The workers.
    pub(crate) workers: Vec<SocketAddr>,
}

impl fmt::Display for EnvoyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worker = |address: &SocketAddr| {
            let (ip, port) = (address.ip(), address.port());
            format!(
                "        - endpoint: {{ address: {{ socket_address: {{ address: \"{ip}\", port_value: {port} }} }} }}\n"
            )
        };
        let text = TEMPLATE
            .replace("@ADMIN_PORT@", &ADMIN_PORT.to_string())
            .replace("@LISTEN_IP@", &self.listen.ip().to_string())
            .replace("@LISTEN_PORT@", &self.listen.port().to_string())
            .replace("@PICKER_IP@", &self.picker.ip().to_string())
            .replace("@PICKER_PORT@", &self.picker.port().to_string())
            .replace("@CHECK_SECS@", &CHECK_INTERVAL.as_secs().to_string())
            .replace("@WORKERS@", &self.workers.iter().map(worker).collect::<String>());
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mark_is_left_and_every_worker_has_its_line() {
        let address = |text: &str| text.parse().unwrap();
        let config = EnvoyConfig {
            listen: address("0.0.0.0:8080"),
            picker: address("[::1]:9002"),
            workers: vec![address("10.0.0.7:30000"), address("[fd00::7]:30001")],
        };
        let text = config.to_string();
        let is_mark = |word: &str| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        assert!(!text.split('@').any(is_mark), "{text}");
        for line in [
            "{ address: \"0.0.0.0\", port_value: 8080 }",
            "{ address: \"::1\", port_value: 9002 }",
            "{ address: \"10.0.0.7\", port_value: 30000 }",
            "{ address: \"fd00::7\", port_value: 30001 }",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }
}
