//! What all flags of `serve` have that is not said at each: a heading in the help, and a variable of the
//! environment.

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command};

use crate::cli::foreign::ForeignArgs;
use crate::cli::variables::{is_link, variable_of};

/// Headings of the help, with the flags below each.
const GROUPS: [(&str, &[&str]); 13] = [
    (
        "Clients",
        &["host", "port", "max-payload-size", "max-total-body-bytes", "max-connections", "worker-header"],
    ),
    (
        "Calls",
        &["forward-path", "forward-headers", "cors-allowed-origins", "request-ids", "request-id-headers"],
    ),
    (
        "Keys, TLS and HTTP/2",
        &[
            "api-key",
            "api-key-file",
            "client-keys-file",
            "tls-cert-path",
            "tls-key-path",
            "tls-client-ca-path",
            "tls-client-auth",
            "h2c",
            "ca-cert-paths",
            "client-cert-path",
            "client-key-path",
        ],
    ),
    ("Workers", &["worker-urls", "prefill", "decode", "dp-aware"]),
    (
        "Sources of workers",
        &[
            "worker-file",
            "worker-dns",
            "service-discovery",
            "selector",
            "prefill-selector",
            "decode-selector",
            "service-discovery-port",
            "service-discovery-namespace",
        ],
    ),
    (
        "Policy and plugins",
        &[
            "policy",
            "policy-config",
            "plugin",
            "plugin-dir",
            "watch",
            "state-dir",
            "max-plugin-memory",
            "aot-cache",
            "registry-cache",
            "registry-config",
            "plain-http-registries",
        ],
    ),
    (
        "Fleet",
        &[
            "fleet",
            "fleet-name",
            "fleet-router",
            "fleet-credentials",
            "fleet-nkey-file",
            "fleet-user",
            "fleet-password-file",
            "fleet-token-file",
            "fleet-client-cert-path",
            "fleet-client-key-path",
            "fleet-ca-cert-paths",
            "fleet-replicas",
            "fleet-prefix-bytes-per-sec",
        ],
    ),
    (
        "Requests that wait",
        &["max-concurrent-requests", "queue-size", "queue-timeout-secs", "wait-for-workers"],
    ),
    (
        "Time limits and retries",
        &[
            "request-timeout-secs",
            "first-byte-timeout-secs",
            "silence-timeout-secs",
            "retry-max-retries",
            "retry-on",
            "disable-retries",
        ],
    ),
    (
        "Health of workers",
        &[
            "health-check-interval-secs",
            "health-check-timeout-secs",
            "health-check-endpoint",
            "load-interval-ms",
            "health-failure-threshold",
            "health-success-threshold",
            "cb-failure-threshold",
            "cb-success-threshold",
            "cb-timeout-duration-secs",
            "disable-circuit-breaker",
        ],
    ),
    (
        "Operators",
        &[
            "admin-host",
            "admin-port",
            "admin-token-file",
            "admin-allowed-hosts",
            "audit-file",
            "client-worker-api",
            "shutdown-delay-secs",
            "shutdown-timeout-secs",
        ],
    ),
    (
        "Log, metrics and records",
        &[
            "log-level",
            "log-format",
            "prometheus-host",
            "prometheus-port",
            "prometheus-allowed-hosts",
            "token-metrics",
            "access-log",
            "access-log-format",
            "enable-trace",
            "otlp-traces-endpoint",
            "otel-sampling-ratio",
            "record-sample",
            "record-file",
            "record-inputs",
            "record-header",
        ],
    ),
    ("Configuration", &["config", "check", "json"]),
];

/// Flags whose values may hold commas and spaces: in a variable, each stands in a line of its own.
const LINES: [&str; 2] = ["policy-config", "plugin"];

/// The command `serve` with a heading and a variable for each flag of this router. Of a single
/// value that is given twice the last one counts, as other routers have it; lists add up.
pub(crate) fn dress(serve: Command) -> Command {
    let dressed = |flag: Arg| match flag.get_long().map(str::to_owned) {
        Some(name) if !ForeignArgs::is_one(&flag) => with_variable(with_heading(flag, &name), &name),
        _ => flag,
    };
    // What is changed moves behind its siblings; help has it first all the same.
    serve.args_override_self(true).display_order(0).mut_args(dressed)
}

/// The same for the command `picker`, which has the flags of `serve`.
pub(crate) fn dress_picker(picker: Command) -> Command {
    let about = [
        ("host", "Address for Envoy [default: 127.0.0.1]"),
        ("port", "Port for Envoy, by gRPC, 0 = any free one [default: 9002]"),
    ];
    let retold = |picker: Command, (flag, help): (&'static str, &'static str)| {
        picker.mut_arg(flag, |flag| flag.help(help))
    };
    about.into_iter().fold(dress(picker).display_order(1), retold)
}

fn with_heading(flag: Arg, name: &str) -> Arg {
    let group = GROUPS.iter().find(|(_, flags)| flags.contains(&name));
    group.map(|(heading, _)| *heading).map_or(flag.clone(), |heading| flag.help_heading(heading))
}

fn with_variable(flag: Arg, name: &str) -> Arg {
    let variable = variable_of(name);
    let is_of_kubernetes = std::env::var_os(&variable).is_some_and(|value| is_link(name, &value));
    if is_of_kubernetes {
        return flag;
    }
    // clap takes names that live as long as the program; each is made once in it.
    let variable: &'static str = Box::leak(variable.into_boxed_str());
    let takes_many = matches!(flag.get_action(), ArgAction::Append);
    // What stands in a variable may be a secret.
    let flag = flag.env(variable).hide_env_values(true);
    match flag.get_action() {
        ArgAction::SetTrue => flag.value_parser(BoolishValueParser::new()),
        _ if LINES.contains(&name) => flag.value_delimiter('\n'),
        _ if takes_many => flag.value_delimiter(','),
        _ => flag,
    }
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;
    use crate::cli::flags::ServeArgs;

    #[test]
    fn every_flag_has_one_heading_and_every_name_below_a_heading_is_a_flag() {
        let serve = ServeArgs::augment_args(Command::new("serve"));
        let own = serve.get_arguments().filter(|flag| !ForeignArgs::is_one(flag) && !flag.is_hide_set());
        let mut own: Vec<&str> = own.filter_map(|flag| flag.get_long()).collect();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, flags)| flags.iter().copied()).collect();
        own.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(own, grouped, "add a new flag to one of the groups in this file");
    }
}
