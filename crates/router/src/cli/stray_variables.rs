//! Variables of the environment that look as if the router read them, and that it does not.

use std::ffi::{OsStr, OsString};

use clap::{Args, Command};

use crate::cli::configuration::VARIABLES;
use crate::cli::flags::ServeArgs;
use crate::cli::foreign::ForeignArgs;
use crate::cli::variables::{VARIABLE_PREFIX, variable_of};
use crate::config::near_names::nearest;

/// Variables that builds and scripts of this repository read, which are no mistake beside a router.
const OF_BUILDS: [&str; 3] = ["SGL_ROUTER_COMMIT", "SGL_ROUTER_EMBED", "SGL_ROUTER_WASMTIME"];

/// What commands of operators read and `serve` does not: both may run in one container.
const OF_COMMANDS: [&str; 1] = ["SGL_ROUTER_ADMIN_URL"];

/// A variable that nobody reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StrayVariable {
    /// Its name.
    pub(crate) name: String,
    /// The one that may have been meant.
    pub(crate) meant: Option<String>,
}

/// True for all that Kubernetes tells of services whose names begin like the router's.
fn is_of_service(variable: &str, value: &OsStr) -> bool {
    let is_address = variable.ends_with("_SERVICE_HOST") || variable.contains("_SERVICE_PORT");
    let is_port =
        variable.split("_PORT_").nth(1).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let is_url = variable.ends_with("_PORT") && value.to_str().is_some_and(|value| value.contains("://"));
    is_address || is_port || is_url
}

/// Those of the environment that no flag has, and that nobody else reads.
pub(crate) fn stray_variables() -> Vec<StrayVariable> {
    let serve = ServeArgs::augment_args(Command::new("serve"));
    let own = serve.get_arguments().filter(|flag| !ForeignArgs::is_one(flag));
    let of_flags = own.filter_map(|flag| flag.get_long().map(variable_of));
    let known: Vec<String> = of_flags.chain(VARIABLES.map(str::to_owned)).collect();
    strays(std::env::vars_os(), &known)
}

fn strays(variables: impl Iterator<Item = (OsString, OsString)>, known: &[String]) -> Vec<StrayVariable> {
    let mut found = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(VARIABLE_PREFIX)) else { continue };
        let of_others = OF_BUILDS.contains(&name) || OF_COMMANDS.contains(&name);
        let is_known = known.iter().any(|known| known == name) || of_others;
        if is_known || is_of_service(name, &value) {
            continue;
        }
        let bare = |name: &'_ str| name.strip_prefix(VARIABLE_PREFIX).map(str::to_owned).unwrap_or_default();
        let flags: Vec<String> = known.iter().map(|known| bare(known)).collect();
        let near = nearest(&bare(name), flags.iter().map(String::as_str));
        found.push(StrayVariable {
            name: name.to_owned(),
            meant: near.first().map(|meant| format!("{VARIABLE_PREFIX}{meant}")),
        });
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_nobody_are_told_with_the_nearest_and_those_of_services_are_not() {
        let known = ["SGL_ROUTER_WORKER_URLS".to_owned(), "SGL_ROUTER_PORT".to_owned()];
        let variables = [
            ("SGL_ROUTER_WORKER_URL", "http://a"),
            ("SGL_ROUTER_WHATEVER_ELSE", "x"),
            ("SGL_ROUTER_PORT", "tcp://10.0.0.1:1"),
            ("SGL_ROUTER_SERVICE_HOST", "10.0.0.1"),
            ("SGL_ROUTER_SERVICE_PORT_HTTP", "30000"),
            ("SGL_ROUTER_PORT_30000_TCP_ADDR", "10.0.0.1"),
            ("SGL_ROUTER_METRICS_PORT", "tcp://10.0.0.1:2"),
            ("SGL_ROUTER_COMMIT", "abc"),
            ("SGL_ROUTER_ADMIN_URL", "http://127.0.0.1:1"),
            ("HOME", "/"),
        ];
        let found = strays(variables.iter().map(|(name, value)| (name.into(), value.into())), &known);
        let told: Vec<(&str, Option<&str>)> =
            found.iter().map(|one| (one.name.as_str(), one.meant.as_deref())).collect();
        let expected =
            [("SGL_ROUTER_WHATEVER_ELSE", None), ("SGL_ROUTER_WORKER_URL", Some("SGL_ROUTER_WORKER_URLS"))];
        assert_eq!(told, expected);
    }
}
