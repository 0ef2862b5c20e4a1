//! Command lines of other routers, written as this one reads them.

use std::ffi::OsString;

use clap::Command;

use crate::cli::foreign;

/// Arguments that the program itself has, so that no subcommand is missing before them.
const OF_THE_PROGRAM: [&str; 5] = ["-h", "--help", "-V", "--version", "--version-verbose"];

/// The subcommands that serve.
const SERVING: [&str; 2] = ["serve", "launch"];

/// What sglang-router writes before its own flags where they share a command line with an engine.
const ROUTER_PREFIX: &str = "router-";

/// The arguments as `command` reads them: `serve` is put before flags that follow the program's name at
/// once, and in flags of `serve` underscores become dashes and the prefix `--router-` is taken off those of
/// sglang-router that may have it.
pub(crate) fn normal(arguments: Vec<OsString>, command: &Command) -> Vec<OsString> {
    let mut arguments = arguments;
    let first = arguments.get(1).and_then(|first| first.to_str()).unwrap_or_default().to_owned();
    if first == "--version-verbose" {
        arguments.splice(1..2, ["--version".into()]);
    } else if first.starts_with('-') && !OF_THE_PROGRAM.contains(&first.as_str()) {
        arguments.insert(1, "serve".into());
    } else if !SERVING.contains(&first.as_str()) {
        return arguments;
    }
    let Some(serve) = command.find_subcommand("serve") else { return arguments };
    arguments.into_iter().map(|argument| flag(argument, serve)).collect()
}

/// An argument of `serve`: the name of a flag as it is known, everything else as it is.
fn flag(argument: OsString, serve: &Command) -> OsString {
    let Some(text) = argument.to_str().and_then(|text| text.strip_prefix("--")) else { return argument };
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let dashed = name.replace('_', "-");
    let is_known = |name: &str| {
        let mut names = serve.get_arguments().flat_map(|flag| flag.get_long_and_visible_aliases());
        names.any(|known| known.contains(&name)) || is_alias(serve, name)
    };
    let known = match dashed.strip_prefix(ROUTER_PREFIX) {
        Some(rest) if !is_known(&dashed) && foreign::may_have_prefix(rest) => rest,
        _ => dashed.as_str(),
    };
    match value {
        _ if name == known => argument,
        Some(value) => format!("--{known}={value}").into(),
        None => format!("--{known}").into(),
    }
}

/// True for another name of a flag, which help does not show.
fn is_alias(serve: &Command, name: &str) -> bool {
    serve.get_arguments().filter_map(|flag| flag.get_all_aliases()).flatten().any(|alias| alias == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command_line;

    fn read(line: &str) -> String {
        let arguments = line.split(' ').map(OsString::from).collect();
        let normal = normal(arguments, &command_line::command());
        normal.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn serve_is_put_before_flags_only() {
        for (written, meant) in [
            ("sgl-router --port 1", "sgl-router serve --port 1"),
            ("sgl-router launch --port 1", "sgl-router launch --port 1"),
            ("sgl-router --help", "sgl-router --help"),
            ("sgl-router --version-verbose", "sgl-router --version"),
            ("sgl-router", "sgl-router"),
            ("sgl-router plugin --router-policy_x", "sgl-router plugin --router-policy_x"),
        ] {
            assert_eq!(read(written), meant);
        }
    }

    #[test]
    fn names_of_flags_become_those_that_are_known_and_values_stay() {
        for (written, meant) in [
            ("x serve --worker_urls http://a_b", "x serve --worker-urls http://a_b"),
            ("x serve --host=a_b --log_dir=c_d", "x serve --host=a_b --log-dir=c_d"),
            ("x serve --router-policy random", "x serve --policy random"),
            ("x serve --router-shutdown-grace-period-secs 1", "x serve --shutdown-grace-period-secs 1"),
            // That is the whole name of one of them.
            ("x serve --router-temperature 1", "x serve --router-temperature 1"),
            ("x serve --router-nothing 1", "x serve --router-nothing 1"),
            // sglang-router has these without a prefix, vllm-router and this router alone.
            ("x serve --router-worker-urls http://a", "x serve --router-worker-urls http://a"),
            ("x serve --router-kv-event-model m", "x serve --router-kv-event-model m"),
            ("x serve --router-admin-port 1", "x serve --router-admin-port 1"),
            // smg means something else by it, so that it is refused.
            ("x serve --router-selector a=b", "x serve --router-selector a=b"),
        ] {
            assert_eq!(read(written), meant);
        }
    }
}
