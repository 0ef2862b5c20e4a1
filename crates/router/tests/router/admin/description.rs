//! The description of the API is complete, and all of the API is guarded.

use std::path::Path;

use http::StatusCode;
use serde_json::Value;
use sgl_testkit::client::{get, with_method};

use crate::admin::api::Setup;

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// The described operations: method and path.
async fn described(setup: &Setup) -> Vec<(String, String)> {
    let description = setup.admin(get("/v1/openapi.json")).await.json();
    let paths = description["paths"].as_object().expect("paths").clone();
    let of = |(path, item): (String, Value)| {
        let methods: Vec<String> = item.as_object().expect("operations").keys().cloned().collect();
        methods.into_iter().map(move |method| (method, path.clone()))
    };
    paths.into_iter().flat_map(of).filter(|(method, _)| METHODS.contains(&method.as_str())).collect()
}

/// The operations in the sources: `.route("PATH", get(…).put(…))`.
fn served(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            served(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for route in text.split(".route(\"").skip(1) {
            let (route, handlers) = route.split_once('"').unwrap();
            let line = handlers.lines().next().unwrap();
            for method in METHODS {
                if line.contains(&format!("{method}(")) {
                    // A parameter that takes the rest of the path is one like others.
                    found.push((method.to_owned(), route.replace("{*", "{")));
                }
            }
        }
    }
}

#[tokio::test]
async fn every_served_path_is_described_and_every_described_one_is_served() {
    let setup = Setup::new().await;
    let mut described = described(&setup).await;
    let mut served_operations = Vec::new();
    served(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin"), &mut served_operations);
    // On another listener, and the page for people.
    let others = ["/metrics", "/", "/page.css", "/page.js"];
    served_operations.retain(|(_, path)| !others.contains(&path.as_str()));
    served_operations.sort();
    described.sort();
    assert!(described.len() > 12);
    assert_eq!(described, served_operations);
}

#[tokio::test]
async fn nothing_is_told_or_done_without_the_token() {
    let setup = Setup::with(|config| config.admin_token = Some("secret".to_owned())).await;
    let mut request = get("/v1/openapi.json");
    assert_eq!(setup.admin(request.clone()).await.status, StatusCode::UNAUTHORIZED);
    request.headers_mut().insert("authorization", "Bearer secret".parse().unwrap());
    assert_eq!(setup.admin(request).await.status, StatusCode::OK);
    let open = Setup::new().await;
    for (method, path) in described(&open).await {
        let path = path.replace("{name}", "mine").replace("{url}", "x");
        let answer = setup.admin(with_method(&method.to_uppercase(), &path)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
    assert_eq!(setup.ask().await, "first");
}
