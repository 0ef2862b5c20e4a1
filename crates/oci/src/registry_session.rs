//! Requests for one repository, authorized and tried again, until one deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::challenge::Challenge;
use crate::docker_config;
use crate::exchange::{Exchange, RegistryAnswer, RegistryRequest};
use crate::login::Login;
use crate::module_reference::ModuleReference;
use crate::registry_error::RegistryError;
use crate::registry_settings::RegistrySettings;
use crate::registry_url::RegistryUrl;

/// How often one request is sent at most.
const MAX_TRIES: u32 = 3;

/// Before the second attempt, and twice that before the third, by chance up to twice as long.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Largest answer of who gives tokens.
const MAX_TOKEN_BYTES: u64 = 256 << 10;

/// The most of what a registry says that is passed on, in characters.
const MAX_SAID: usize = 300;

/// What is done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RegistryAccess {
    /// Reading.
    Pull,
    /// Reading and writing.
    Push,
}

impl RegistryAccess {
    fn actions(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
        }
    }
}

/// What was authorized before: by host, repository and access.
pub(crate) type Authorizations = Mutex<BTreeMap<(String, String, RegistryAccess), String>>;

/// Requests for one repository.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegistrySession<'a> {
    pub(crate) settings: &'a RegistrySettings,
    pub(crate) authorizations: &'a Authorizations,
    pub(crate) reference: &'a ModuleReference,
    pub(crate) access: RegistryAccess,
    pub(crate) exchange: Exchange<'a>,
}

#[derive(Deserialize)]
struct GivenToken {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

#[derive(Deserialize)]
struct SaidErrors {
    errors: Vec<SaidError>,
}

#[derive(Deserialize)]
struct SaidError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl RegistrySession<'_> {
    /// A place of the repository: `manifests/TAG`, `blobs/DIGEST`.
    pub(crate) fn url(&self, place: &str) -> Result<RegistryUrl, RegistryError> {
        let host = self.reference.host();
        let scheme = if self.settings.plain_http.is_for(host) { "http" } else { "https" };
        // Docker's own registry answers under another name than it goes by.
        let host = if host == "docker.io" { "registry-1.docker.io" } else { host };
        RegistryUrl::parse(&format!("{scheme}://{host}/v2/{}/{place}", self.reference.repository()))
    }

    /// Sends a request; again if the registry cannot be reached or has a fault of its own.
    ///
    /// # Errors
    ///
    /// [`RegistryError`], also for each status that is no success.
    pub(crate) async fn send(&self, request: &RegistryRequest) -> Result<RegistryAnswer, RegistryError> {
        let mut attempt = 1;
        loop {
            let failed = match self.authorized(request).await.and_then(|answer| self.judged(request, answer))
            {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let is_over = matches!(failed, RegistryError::TooSlow { .. }) || attempt == MAX_TRIES;
            if is_over || !failed.is_passing() {
                return Err(failed);
            }
            tracing::debug!(%failed, attempt, "asking the registry again");
            let pause = RETRY_PAUSE * attempt;
            tokio::time::sleep(pause + pause.mul_f64(fastrand::f64())).await;
            attempt += 1;
        }
    }

    async fn authorized(&self, request: &RegistryRequest) -> Result<RegistryAnswer, RegistryError> {
        let key = (self.reference.host().to_owned(), self.reference.repository().to_owned(), self.access);
        let is_own = self.url("").is_ok_and(|own| own.host == request.url.host);
        let known = self.authorizations.lock().get(&key).cloned().filter(|_| is_own);
        let answer = self.exchange.send(request, known.as_deref()).await?;
        if answer.status != StatusCode::UNAUTHORIZED || !is_own {
            return Ok(answer);
        }
        let Some(authorization) = self.authorize(request, &answer).await? else { return Ok(answer) };
        self.authorizations.lock().insert(key, authorization.clone());
        self.exchange.send(request, Some(&authorization)).await
    }

    /// What a registry wants to be shown; none if that cannot be had.
    async fn authorize(
        &self,
        request: &RegistryRequest,
        answer: &RegistryAnswer,
    ) -> Result<Option<String>, RegistryError> {
        let challenges = answer.headers.get_all("www-authenticate").iter();
        let challenge = challenges.filter_map(|value| Challenge::parse(value.to_str().ok()?)).next();
        let login = self.login().await?;
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(login.and_then(|login| login.header())),
            Some(Challenge::Bearer { realm, service, scope }) => {
                let url = request.url.follow(&realm, self.exchange.plain)?;
                let scope = scope.unwrap_or_else(|| {
                    format!("repository:{}:{}", self.reference.repository(), self.access.actions())
                });
                self.token(url, service.as_deref(), &scope, login.as_ref()).await.map(Some)
            }
        }
    }

    async fn token(
        &self,
        realm: RegistryUrl,
        service: Option<&str>,
        scope: &str,
        login: Option<&Login>,
    ) -> Result<String, RegistryError> {
        if let Some(Login::Bearer(token)) = login {
            return Ok(format!("Bearer {token}"));
        }
        let what = format!("a token for {scope}");
        let request = match login {
            Some(Login::Refresh(token)) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token);
                form.append_pair("client_id", "sgl-router").append_pair("scope", scope);
                if let Some(service) = service {
                    form.append_pair("service", service);
                }
                RegistryRequest {
                    what,
                    method: Method::POST,
                    url: realm,
                    media_type: "application/x-www-form-urlencoded".to_owned(),
                    body: Bytes::from(form.finish()),
                    max_answer_bytes: MAX_TOKEN_BYTES,
                }
            }
            _ => {
                let realm = service.map_or(realm.clone(), |service| realm.with_query("service", service));
                let url = realm.with_query("scope", scope);
                RegistryRequest::get(what, url, "application/json", MAX_TOKEN_BYTES)
            }
        };
        let answer = self.exchange.send(&request, login.and_then(Login::header).as_deref()).await?;
        let answer = self.judged(&request, answer)?;
        let malformed = |reason: &str| RegistryError::Malformed {
            what: format!("the answer of {}", request.url),
            reason: reason.to_owned(),
        };
        let found: GivenToken = serde_json::from_slice(&answer.body)
            .map_err(|_| malformed("expected JSON with `token` or `access_token`"))?;
        match [found.token, found.access_token].into_iter().find(|token| !token.is_empty()) {
            Some(token) => Ok(format!("Bearer {token}")),
            None => Err(malformed("it has neither `token` nor `access_token`")),
        }
    }

    async fn login(&self) -> Result<Option<Login>, RegistryError> {
        let file = self.settings.credentials.clone();
        let (host, repository) = (self.reference.host().to_owned(), self.reference.repository().to_owned());
        let find = move || docker_config::login(file.as_deref(), &host, &repository);
        let found = tokio::task::spawn_blocking(find).await;
        found.unwrap_or_else(|error| {
            let place = self.reference.host().to_owned();
            Err(RegistryError::Credentials { place, reason: error.to_string() })
        })
    }

    fn judged(
        &self,
        request: &RegistryRequest,
        answer: RegistryAnswer,
    ) -> Result<RegistryAnswer, RegistryError> {
        if answer.status.is_success() {
            return Ok(answer);
        }
        let (registry, what) = (request.url.host.authority(), request.what.clone());
        let said = said(&answer);
        Err(match answer.status {
            StatusCode::NOT_FOUND => RegistryError::NotFound { registry, what, said },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let host = self.reference.host();
                let remedy = format!(
                    "`docker login {host}` or `podman login {host}` writes credentials where they are \
                     found; another file: --registry-config, in a router's configuration \
                     `registry.credentials`. They must allow to {}",
                    self.access.actions().replace(',', " and to "),
                );
                RegistryError::Unauthorized { registry, what, said, remedy }
            }
            status => RegistryError::Refused { registry, what, status: status.as_u16(), said },
        })
    }
}

/// What an answer says is wrong, for people, in one line.
fn said(answer: &RegistryAnswer) -> String {
    let text = match serde_json::from_slice::<SaidErrors>(&answer.body) {
        Ok(said) => {
            let one = |error: &SaidError| format!("{} {}", error.code, error.message).trim().to_owned();
            said.errors.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        Err(_) => String::new(),
    };
    let text = if text.is_empty() { answer.status.to_string() } else { text };
    text.chars().take(MAX_SAID).collect::<String>().escape_debug().to_string()
}
