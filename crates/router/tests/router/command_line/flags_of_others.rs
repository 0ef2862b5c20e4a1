//! The list of other routers' flags, against their own parsers' and against this router's flags.

use std::collections::BTreeMap;

use clap::{Args, Command};
use sgl_router::cli::ServeArgs;
use sgl_router::cli::foreign::{FlagFate, FlagOwner, ForeignArgs, all, find};

use crate::command_line::lines::{configured, parsed};
use crate::docs::pages;

/// A flag as the other router's parser has it.
struct Theirs {
    default: String,
    choices: Vec<String>,
}

fn flags_of(file: &str) -> BTreeMap<String, Theirs> {
    let text = pages::read(format!("crates/router/tests/fixtures/other_routers/{file}"));
    let flag = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        let choices = cells[2].split_whitespace().map(str::to_owned).collect();
        (cells[0].trim_start_matches("--").to_owned(), Theirs { default: cells[1].to_owned(), choices })
    };
    text.lines().map(flag).collect()
}

fn both() -> (BTreeMap<String, Theirs>, BTreeMap<String, Theirs>) {
    (flags_of("sglang_router.tsv"), flags_of("vllm_router.tsv"))
}

fn serve() -> Command {
    ServeArgs::augment_args(Command::new("serve"))
}

/// This router's own flags, with the default that their help tells.
fn own() -> BTreeMap<String, Option<String>> {
    let serve = serve();
    let flags = serve.get_arguments().filter(|flag| !ForeignArgs::is_one(flag));
    let default = |flag: &clap::Arg| {
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        let told = help.split_once("[default: ").map(|(_, rest)| rest.trim_end_matches(']').to_owned());
        let known = flag.get_default_values().first().and_then(|value| value.to_str()).map(str::to_owned);
        told.or(known)
    };
    flags.filter_map(|flag| Some((flag.get_long()?.to_owned(), default(flag)))).collect()
}

#[test]
fn every_flag_of_both_routers_is_in_the_list_and_no_other() {
    let (sglang, vllm) = both();
    for name in sglang.keys().chain(vllm.keys()) {
        let owner = match (sglang.contains_key(name), vllm.contains_key(name)) {
            (true, true) => FlagOwner::Both,
            (true, false) => FlagOwner::Sglang,
            _ => FlagOwner::Vllm,
        };
        assert_eq!(find(name).map(|flag| flag.owner), Some(owner), "--{name}");
    }
    let elsewhere = [FlagOwner::VllmBinary, FlagOwner::SglangDocuments, FlagOwner::Smg];
    for flag in all() {
        let is_known = sglang.contains_key(flag.name) || vllm.contains_key(flag.name);
        assert_eq!(is_known, !elsewhere.contains(&flag.owner), "--{}", flag.name);
        assert_eq!(all().filter(|other| other.name == flag.name).count(), 1, "--{} twice", flag.name);
    }
}

#[test]
fn flag_is_listed_as_the_same_if_and_only_if_the_router_has_it() {
    let own = own();
    for flag in all() {
        let is_same = flag.fate == FlagFate::Same;
        assert_eq!(
            own.contains_key(flag.name),
            is_same,
            "--{}: a flag that the router has by now is `same(…)` in the list in src/cli/foreign",
            flag.name
        );
        if let FlagFate::Alias(target) = flag.fate {
            assert!(own.contains_key(target), "--{}: no --{target}", flag.name);
        }
        let says_enough = is_same || matches!(flag.fate, FlagFate::Alias(_)) || flag.note.len() > 10;
        assert!(says_enough && !flag.note.contains('|'), "--{}: {:?}", flag.name, flag.note);
    }
}

#[test]
fn changed_default_is_listed_if_and_only_if_it_is_another_one() {
    let ((sglang, vllm), own) = (both(), own());
    let mut compared = 0;
    for flag in all() {
        let target = match flag.fate {
            FlagFate::Same => flag.name,
            FlagFate::Alias(target) => target,
            _ => continue,
        };
        let theirs: Vec<&str> = [&sglang, &vllm]
            .into_iter()
            .filter_map(|flags| flags.get(flag.name))
            .map(|theirs| theirs.default.as_str())
            .filter(|default| !default.is_empty())
            .collect();
        let Some(ours) = own[target].as_deref() else { continue };
        if theirs.is_empty() {
            continue;
        }
        compared += 1;
        assert_eq!(flag.defaults.is_some(), theirs.iter().any(|theirs| *theirs != ours), "--{}", flag.name);
        if let Some((there, here)) = flag.defaults {
            assert!(theirs.iter().all(|theirs| there.contains(theirs)), "--{}: {there}", flag.name);
            assert!(here.contains(ours), "--{}: {here} is not {ours}", flag.name);
        }
    }
    assert!(compared > 15, "only {compared} defaults were compared");
}

#[test]
fn every_policy_and_log_level_of_both_routers_is_one_here() {
    let (sglang, vllm) = both();
    let choices = |name: &str| [&sglang, &vllm].map(|flags| flags[name].choices.clone()).concat();
    assert!(choices("policy").len() > 10);
    for policy in choices("policy").iter().map(String::as_str).chain(["consistent_hashing", "prefix_hash"]) {
        let config = configured(&["--policy", policy]);
        assert!(config.is_ok(), "{policy}: {:?}", config.err());
    }
    for policy in [choices("prefill-policy"), choices("decode-policy")].concat() {
        let config = configured(&["--prefill-policy", &policy]);
        assert!(config.is_ok(), "{policy}: {:?}", config.err());
    }
    for level in choices("log-level") {
        let args = parsed(&["--log-level", &level]).unwrap();
        assert_eq!(args.log_level, level);
    }
}

#[test]
fn policy_of_a_half_that_nobody_has_is_refused() {
    for flag in ["--prefill-policy", "--decode-policy"] {
        let fault = configured(&["--policy", "random", flag, "nonsense"]).unwrap_err();
        assert!(fault.contains(&format!("{flag}: found \"nonsense\"; allowed: one of ")), "{fault}");
        assert!(
            fault.contains("round_robin") && fault.contains("cache_aware") && fault.contains("prefix_hash")
        );
        let mine = configured(&["--policy", "random", flag, "mine", "--plugin", "mine=mine.wasm"]);
        assert!(mine.is_ok(), "{:?}", mine.err());
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().to_str().unwrap();
        let in_dir = || configured(&["--policy", "random", flag, "other", "--plugin-dir", place]);
        assert!(in_dir().unwrap_err().contains("found \"other\""));
        std::fs::write(dir.path().join("other.wasm"), "").unwrap();
        assert!(in_dir().is_ok(), "{:?}", in_dir().err());
    }
    let decode = configured(&["--policy", "random", "--decode-policy", "bucket"]);
    assert!(decode.is_err(), "it is for the prefill half only");
}

#[test]
fn flags_that_smg_has_alone_are_refused_with_a_sentence() {
    for (arguments, said) in [
        (&["--router-selector", "app=r"][..], "say `--selector`"),
        (&["--router_selector", "app=r"], "say `--selector`"),
        (&["--model-id-from", "label"], "models are what workers say"),
    ] {
        let fault = configured(arguments).unwrap_err();
        assert!(fault.contains("refused: ") && fault.contains(said), "{fault}");
        assert!(!fault.contains("app=r"), "{fault}");
    }
}

#[test]
fn numbers_of_smg_s_policies_are_taken_and_what_is_none_here_is_pointed_to_what_is_like_it() {
    let hashing = configured(&["--policy", "prefix_hash", "--prefix-token-count", "256"]).unwrap();
    assert_eq!(hashing.embedded_policy.expect("a plugin").module_path, "embedded:prefix_affinity");
    configured(&["--policy", "prefix_hash", "--prefix-hash-load-factor=1.25"]).unwrap();
    let bucket = configured(&["--policy", "bucket"]).unwrap_err();
    assert!(bucket.contains("token_pools, which keeps short and long requests apart; or one of"), "{bucket}");
    assert!(bucket.contains("manual, consistent_hashing"), "{bucket}");
    let grpc = configured(&["--worker-urls", "grpc://h:1"]).unwrap_err();
    assert!(grpc.contains("start them without --grpc-mode"), "{grpc}");
}

#[test]
fn policy_of_another_router_is_what_it_means_there() {
    let manual = configured(&["--policy", "manual", "--max-idle-secs", "60"]).unwrap();
    let plugin = manual.embedded_policy.expect("a plugin");
    assert_eq!(
        (plugin.name.as_str(), plugin.module_path.as_str()),
        ("manual", "embedded:sticky_least_loaded")
    );
    assert_eq!(manual.policy_settings["idle_secs"], 60);
    let hashing = configured(&["--policy", "consistent_hashing"]).unwrap();
    assert_eq!((hashing.policy.as_str(), hashing.embedded_policy), ("consistent_hash", None));
    let mine = configured(&["--policy", "manual", "--plugin", "manual=mine.wasm"]).unwrap();
    assert_eq!((mine.embedded_policy, mine.plugins[0].module_path.as_str()), (None, "mine.wasm"));
}

#[test]
fn numbers_of_a_policy_reach_it_and_no_other() {
    let numbers =
        ["--cache-threshold", "0.4", "--balance-abs-threshold", "9", "--balance-rel-threshold", "2"];
    let with = |policy: &'static str| [&["--policy", policy][..], &numbers].concat();
    let config = configured(&with("cache_aware")).unwrap();
    let settings = &config.policy_settings;
    assert_eq!(
        (
            &settings["cache_threshold"],
            &settings["balance_abs_threshold"],
            &settings["balance_rel_threshold"]
        ),
        (&0.4.into(), &9.into(), &2.into())
    );
    assert!(configured(&with("random")).unwrap().policy_settings.is_empty());
    let own = [&with("cache_aware")[..], &["--policy-config", "cache_threshold=0.6"]].concat();
    assert_eq!(configured(&own).unwrap().policy_settings["cache_threshold"], 0.6);
}

#[test]
fn numbers_that_a_policy_cannot_have_are_told_with_those_that_it_can() {
    let fault = |flag: &str, value: &str| {
        let policy = if flag == "--max-idle-secs" { "manual" } else { "cache_aware" };
        configured(&["--policy", policy, flag, value]).unwrap_err()
    };
    for value in ["much", "NaN", "inf", "-0.1", "1.5", "1e99", "1e999", ""] {
        let expected = "a number from 0 to 1; leave it out for 0.5";
        assert_eq!(
            fault("--cache-threshold", value),
            format!("--cache-threshold: found {value:?}; allowed: {expected}")
        );
    }
    for (flag, values, allowed) in [
        ("--balance-abs-threshold", ["-1", "1e99"], "a number from 0 to 1000000000; leave it out for 32"),
        ("--balance-rel-threshold", ["0.9", "1e99"], "a number from 1 to 1000000000; leave it out for 1.1"),
        ("--max-idle-secs", ["0", "1e99"], "a number from 1 to 1000000; leave it out for the policy's own"),
    ] {
        for value in values {
            assert_eq!(fault(flag, value), format!("{flag}: found {value:?}; allowed: {allowed}"));
        }
    }
    let long = fault("--cache-threshold", &"9".repeat(100_000));
    assert!(long.len() < 200, "{long}");
}

#[test]
fn flags_that_have_their_effect_by_another_way_have_it() {
    let health = configured(&["--disable-health-check"]).unwrap().proxy.health;
    assert!(health.interval.is_none(), "{health:?}");
    assert!(!configured(&["--intra-node-data-parallel-size", "1"]).unwrap().proxy.dp_aware);
    assert!(configured(&["--intra-node-data-parallel-size", "8"]).unwrap().proxy.dp_aware);
    let fault = configured(&["--intra-node-data-parallel-size", "0"]).unwrap_err();
    assert_eq!(fault, "--intra-node-data-parallel-size: found \"0\"; allowed: 1 and above");
    let pair = ["--prefill", "http://p:1", "--decode", "http://d:1", "--vllm-pd-disaggregation"];
    let engines = |lines: &[&str]| {
        let workers = configured(lines).unwrap().workers;
        workers.iter().map(|worker| worker.engine.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(engines(&pair), ["vllm", "vllm"]);
    assert_eq!(engines(&pair[..4]), ["auto", "auto"]);
    assert_eq!(engines(&["--worker-urls", "http://w:1", pair[4]]), ["auto"]);
    assert!(configured(&["--kv-connector", "nixl"]).is_ok());
    let fault = configured(&["--kv-connector", "moriio"]).unwrap_err();
    assert!(fault.starts_with("--kv-connector: found \"moriio\"; allowed: nixl"), "{fault}");
    assert_eq!(parsed(&["--shutdown-grace-period-secs", "7"]).unwrap().shutdown_timeout_secs, Some(7));
    assert_eq!(configured(&["--disable-retries", "--retry-max-retries", "3"]).unwrap().proxy.max_retries, 0);
    assert_eq!(parsed(&["--port", "1", "--port", "2"]).unwrap().port, Some(2), "the last one counts");
    let lists = ["--worker-urls", "http://a:1", "--worker-urls", "http://b:1", "http://c:1"];
    assert_eq!(parsed(&lists).unwrap().worker_urls.len(), 3, "lists add up");
    assert_eq!(parsed(&["--router-policy", "random"]).unwrap().policy.as_deref(), Some("random"));
    let halves = ["--prefill-policy", "cache_aware", "--decode-policy", "power_of_two"];
    assert_eq!(configured(&halves).unwrap().policy, "cache_aware", "the prefill half's is the policy");
    let named = [&["--policy", "random"][..], &halves].concat();
    assert_eq!(configured(&named).unwrap().policy, "random");
    assert_eq!(configured(&["--decode-policy", "random"]).unwrap().policy, "round_robin");
    assert!(configured(&["--control-plane-audit-enabled"]).is_ok(), "there always is an audit log");
}

#[test]
fn every_refused_flag_is_refused_with_its_sentence_and_without_its_value() {
    let refused: Vec<_> = all().filter(|flag| flag.fate == FlagFate::Refused).collect();
    assert!(refused.len() > 30);
    for flag in refused {
        let name = format!("--{}", flag.name);
        let lines = [vec![name.as_str()], vec![name.as_str(), "s3cret"]];
        let takes_a_value = !matches!(flag.values, sgl_router::cli::foreign::FlagValues::Nothing);
        let fault = configured(&lines[usize::from(takes_a_value)]).unwrap_err();
        assert_eq!(fault, format!("{name}: refused: {}", flag.note));
    }
}
