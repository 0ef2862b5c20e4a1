//! The way to the API that has the pods: the files that say where it is and who asks, and the client.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::runtime::Handle;
use tower::layer::layer_fn;
use tower::util::MapFuture;

use crate::config::sources_section::KubernetesSettings;
use crate::proxy::bounded_answers::BoundedApi;
use crate::sources::api_pace::ApiPace;
use sglang_router_rs::types::{file, in_full, shown_path};

/// For a connection; and for how long it may be silent beyond a watch.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Largest file with the way to an API that is read, and of those that it names.
const MAX_KUBECONFIG_BYTES: u64 = 4 << 20;
const MAX_CREDENTIAL_BYTES: u64 = 1 << 20;

/// What a pod is given of its own account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The API, as these settings find it; a watch lasts so long. In words, why it cannot be asked.
///
/// # Cancel safety
///
/// Files may still be read for a moment.
pub(crate) async fn pod_api(
    settings: &KubernetesSettings,
    pace: &Arc<ApiPace>,
    watch: Duration,
) -> Result<Api<Pod>, String> {
    let (kubeconfig, pace, runtime) = (settings.kubeconfig.clone(), Arc::clone(pace), Handle::current());
    // Files may be on a drive that is away.
    let client = tokio::task::spawn_blocking(move || {
        let mut config = runtime.block_on(config_of(kubeconfig.as_deref()))?;
        config.connect_timeout = Some(CONNECT_LIMIT);
        config.read_timeout = Some(watch + CONNECT_LIMIT);
        client(config, pace)
    });
    let client = client.await.map_err(|error| in_full(&error))??;
    Ok(match settings.namespace.as_deref() {
        Some("*") => Api::all(client),
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::default_namespaced(client),
    })
}

fn client(config: Config, pace: Arc<ApiPace>) -> Result<Client, String> {
    let builder = ClientBuilder::try_from(config).map_err(|error| in_full(&error))?;
    let paced = layer_fn(move |inner| {
        let pace = Arc::clone(&pace);
        MapFuture::new(BoundedApi::new(inner), move |answer| {
            let pace = Arc::clone(&pace);
            async move {
                pace.wait().await;
                answer.await
            }
        })
    });
    Ok(builder.with_layer(&paced).build())
}

/// What the files say, after a look at each: a pipe would be waited for, and a device has no end.
async fn config_of(given: Option<&Path>) -> Result<Config, String> {
    let files = given.map_or_else(usual_files, |path| vec![path.to_owned()]);
    for path in &files {
        if given.is_some() || path.exists() {
            check(path, MAX_KUBECONFIG_BYTES, "the kubeconfig")?;
        }
    }
    let read = match given {
        Some(path) => Kubeconfig::read_from(path).map(Some),
        None if files.iter().any(|path| path.exists()) => Kubeconfig::read().map(Some),
        None => Ok(None),
    };
    let Some(kubeconfig) = read.map_err(|error| in_full(&error))? else { return own_account() };
    check_named(&kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    match config {
        // As kubectl does: a kubeconfig without a context says nothing against the pod's account.
        Err(_) if given.is_none() && is_in_pod() => own_account(),
        config => config.map_err(|error| in_full(&error)),
    }
}

fn is_in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// The account of the pod that the router is in.
fn own_account() -> Result<Config, String> {
    if !is_in_pod() {
        return Err("neither a kubeconfig (`sources.kubernetes.kubeconfig`, the variable KUBECONFIG or \
                    ~/.kube/config) nor the variable KUBERNETES_SERVICE_HOST of a pod is there: give a kubeconfig"
            .to_owned());
    }
    for name in ["token", "ca.crt", "namespace"] {
        let what = "a file of the pod's account (is `automountServiceAccountToken` false?)";
        check(&Path::new(ACCOUNT).join(name), MAX_CREDENTIAL_BYTES, what)?;
    }
    Config::incluster().map_err(|error| in_full(&error))
}

/// Where kube looks for its configuration without being told.
fn usual_files() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os("KUBECONFIG") {
        return std::env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()).collect();
    }
    std::env::home_dir().map(|home| home.join(".kube").join("config")).into_iter().collect()
}

/// Looks at the files that a kubeconfig names.
fn check_named(kubeconfig: &Kubeconfig) -> Result<(), String> {
    let clusters = kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref());
    let authorities = clusters.map(|cluster| (&cluster.certificate_authority, "`certificate-authority`"));
    let users = kubeconfig.auth_infos.iter().filter_map(|named| named.auth_info.as_ref());
    let of_users = users.flat_map(|user| {
        [
            (&user.client_certificate, "`client-certificate`"),
            (&user.client_key, "`client-key`"),
            (&user.token_file, "`tokenFile`"),
        ]
    });
    for (path, key) in authorities.chain(of_users) {
        if let Some(path) = path {
            check(Path::new(path), MAX_CREDENTIAL_BYTES, &format!("{key} of the kubeconfig"))?;
        }
    }
    Ok(())
}

/// An error in words if a file cannot be read, is no regular one, or is too large.
fn check(path: &Path, most: u64, what: &str) -> Result<(), String> {
    let opened = file::open(path, most);
    opened
        .map(drop)
        .map_err(|error| format!("{what}, {}, cannot be used: {}", shown_path(path), in_full(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fault(kubeconfig: &Path) -> String {
        config_of(Some(kubeconfig)).await.err().unwrap_or_default()
    }

    #[tokio::test]
    async fn files_of_a_kubeconfig_that_cannot_be_used_are_told_by_their_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        assert!(fault(&path).await.starts_with("the kubeconfig, "), "{}", fault(&path).await);
        let large = std::fs::File::create(&path).unwrap();
        large.set_len(MAX_KUBECONFIG_BYTES + 1).unwrap();
        let told = fault(&path).await;
        assert!(told.contains("it has 4194305 bytes; at most 4194304 are allowed"), "{told}");
        assert!(
            fault(Path::new("/dev/zero")).await.starts_with("the kubeconfig, /dev/zero, cannot be used: ")
        );

        let write = |cluster: &str, user: &str| {
            let text = format!(
                "{{\"current-context\": \"c\", \"contexts\": [{{\"name\": \"c\", \"context\": {{\"cluster\": \"k\", \"user\": \"u\"}}}}], \
                 \"clusters\": [{{\"name\": \"k\", \"cluster\": {{\"server\": \"http://127.0.0.1:1\"{cluster}}}}}], \
                 \"users\": [{{\"name\": \"u\", \"user\": {{{user}}}}}]}}"
            );
            std::fs::write(&path, text).unwrap();
        };
        write("", "");
        assert_eq!(fault(&path).await, "");
        // A name beside the kubeconfig means a file beside it.
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        write("", "\"tokenFile\": \"dir\"");
        let told = fault(&path).await;
        assert!(told.starts_with("`tokenFile` of the kubeconfig, ") && told.contains("/dir, "), "{told}");
        for (key, cluster, user) in [
            ("certificate-authority", ", \"certificate-authority\": \"/dev/zero\"", ""),
            ("client-certificate", "", "\"client-certificate\": \"/dev/zero\""),
            ("client-key", "", "\"client-key\": \"/dev/zero\""),
            ("tokenFile", "", "\"tokenFile\": \"/dev/zero\""),
        ] {
            write(cluster, user);
            let told = fault(&path).await;
            assert!(told.starts_with(&format!("`{key}` of the kubeconfig, /dev/zero, ")), "{told}");
        }
    }
}
