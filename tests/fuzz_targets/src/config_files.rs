//! A configuration file, read and checked, and the same bytes as the settings beside a module.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use sgl_router::config::{CheckedConfig, Surroundings, check, read_config};
use sglang_router_rs::policies::NativePolicy;
use tempfile::TempDir;

/// Longest file that is tried: the reader starts again after each fault.
const MAX_BYTES: usize = 16 << 10;

const DAY: Duration = Duration::from_secs(86_400);

struct Place {
    file: PathBuf,
    plugin_dir: PathBuf,
    token_file: PathBuf,
    _dir: TempDir,
}

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let plugin_dir = dir.path().join("plugins");
    fs::create_dir(&plugin_dir).unwrap();
    fs::write(plugin_dir.join("beside.wasm"), b"").unwrap();
    let token_file = dir.path().join("token");
    fs::write(&token_file, "secret").unwrap();
    Place { file: dir.path().join("router.toml"), plugin_dir, token_file, _dir: dir }
});

/// A configuration file, read and checked, and the same bytes as the settings beside a module.
pub fn config_files(bytes: &[u8]) {
    let place = &*PLACE;
    let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
    fs::write(&place.file, bytes).unwrap();
    fs::write(place.plugin_dir.join("beside.toml"), bytes).unwrap();
    let (mut config, faults) = read_config(&place.file);
    for fault in &faults {
        assert!(!fault.to_string().is_empty());
    }
    // Other files of this machine are nobody's business.
    config.plugin_dir = config.plugin_dir.map(|_| place.plugin_dir.clone());
    config.admin.token_file = config.admin.token_file.map(|_| place.token_file.clone());
    let known = faults.len();
    let surroundings = Surroundings {
        built_in_policies: &NativePolicy::NAMES,
        embedded_policies: &["toll"],
        faults,
        ..Surroundings::default()
    };
    match check(config, surroundings) {
        Ok(config) => {
            assert_eq!(known, 0, "faults of reading were forgotten");
            check_limits(&config);
        }
        Err(faults) => {
            assert!(faults.0.len() >= known.max(1));
            assert!(!faults.to_string().is_empty());
        }
    }
}

/// What `docs/router.example.toml` promises of every setting.
fn check_limits(config: &CheckedConfig) {
    assert!(config.admin_token.is_some() || config.admin_address.ip().is_loopback());
    let proxy = &config.proxy;
    for time in [proxy.client_idle, proxy.body_silence, proxy.request_timeout, proxy.upstream.connect_timeout]
    {
        assert!((Duration::from_millis(1)..=DAY).contains(&time));
    }
    assert!(proxy.shutdown <= DAY && proxy.max_retries <= 100 && proxy.max_payload_bytes > 0);
    for worker in &config.workers {
        assert!(worker.weight.is_finite() && worker.weight > 0.0, "{}", worker.weight);
    }
    let mut urls: Vec<&str> = config.workers.iter().map(|worker| worker.url.as_str()).collect();
    urls.sort_unstable();
    assert!(urls.windows(2).all(|pair| pair[0] != pair[1]), "{urls:?}");
    for plugin in &config.plugins {
        assert!((1..=30_000).contains(&plugin.max_execution_time_ms));
        assert!((65_536..=104_857_600).contains(&plugin.max_memory_bytes));
        assert!((1..=64).contains(&plugin.name.len()) && !plugin.name.contains('/'));
        let options = &plugin.options;
        assert!(options.min_warm >= 1 && options.min_warm <= options.max_instances);
        assert!(options.max_instances <= 1000 && options.max_waiting <= 1_000_000);
    }
}
