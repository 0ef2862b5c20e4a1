//! Headers that carry credentials: a plugin sees one only if its operator allows it.

use sgl_policy_abi::Input;

use crate::policies::wasm::load::error::ModuleFault;

/// A name that contains one of these words is a header with credentials: `cookie`, `x-auth-token`,
/// `x-goog-iam-authorization-token` …
const SECRET_WORDS: [&str; 15] = [
    "apikey",
    "assertion",
    "auth",
    "authentication",
    "authorization",
    "cookie",
    "cookie2",
    "credential",
    "credentials",
    "jwt",
    "passwd",
    "password",
    "secret",
    "signature",
    "token",
];

/// Words before `key` that make it secret: `x-api-key`, `ocp-apim-subscription-key`; but not
/// `x-routing-key`.
const SECRET_KEYS: [&str; 6] = ["access", "account", "api", "functions", "private", "subscription"];

/// Checks the headers that a module declares.
///
/// # Errors
///
/// [`ModuleFault::SecretHeaders`] if one of them carries credentials and is not allowed.
pub(crate) fn check(inputs: &[Input], allowed: &[String]) -> Result<(), ModuleFault> {
    // In full: an input to come may carry credentials too.
    let secret = |input: &Input| match input {
        Input::Header(name) => is_secret(name).then(|| name.to_string()),
        // By their whole names, so that leave for a header is not leave for them.
        Input::Field(name) | Input::Query(name) => {
            is_secret(&name.to_ascii_lowercase()).then(|| input.name().into_owned())
        }
        Input::Healthy
        | Input::Excluded
        | Input::Column(_)
        | Input::PrefixMatch
        | Input::RequestText
        | Input::RequestTokens
        | Input::PromptBytes
        | Input::PromptTokens
        | Input::PromptTokensExact
        | Input::MaxTokens
        | Input::Stream
        | Input::Route
        | Input::Session
        | Input::ClientKey
        | Input::PrefixHashes
        | Input::ArrivalRate
        | Input::ConfigHeader(_)
        | Input::Model
        | Input::WaitedMs
        | Input::MayWaitMs
        | Input::Held
        | Input::Leg
        | Input::Random
        | Input::NowNs => None,
    };
    let mut needed: Vec<String> = inputs.iter().filter_map(secret).collect();
    needed.sort_unstable();
    needed.dedup();
    // A header that the configuration names is a header by now.
    let is_allowed = |name: &String| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
    let missing: Vec<String> = needed.iter().filter(|name| !is_allowed(name)).cloned().collect();
    if missing.is_empty() { Ok(()) } else { Err(ModuleFault::SecretHeaders { missing, needed }) }
}

/// True if a header of this name, in lower case, usually carries credentials.
fn is_secret(name: &str) -> bool {
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let is_key = |pair: &[&str]| matches!(pair, [kind, "key"] if SECRET_KEYS.contains(kind));
    words.iter().any(|word| SECRET_WORDS.contains(word)) || words.windows(2).any(is_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_with_credentials_are_known_by_their_words() {
        for name in [
            "authorization",
            "proxy-authorization",
            "cookie",
            "x-api-key",
            "api-key",
            "apikey",
            "x-goog-api-key",
            "ocp-apim-subscription-key",
            "x-amz-security-token",
            "x-auth-token",
            "x_access_token",
            "x-forwarded-access-token",
            "x-hub-signature",
            "cf-access-jwt-assertion",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in
            ["x-session-id", "x-tenant", "x-routing-key", "x-request-id", "user-agent", "x-max-tokens"]
        {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn fields_and_parameters_with_credentials_are_known_by_their_words_too() {
        let inputs = [
            Input::Query("API_key".into()),
            Input::Field("/tools/0/headers/Authorization".into()),
            Input::Load,
        ];
        let error = check(&inputs, &["field:/tools/0/headers/authorization".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("carry credentials: query:API_key; to allow it"), "{error}");
        check(&inputs[1..], &["field:/tools/0/headers/Authorization".to_owned()]).unwrap();
        check(&[Input::Field("/sampling_params/max_new_tokens".into()), Input::Query("tenant".into())], &[])
            .unwrap();
    }

    #[test]
    fn only_those_that_are_not_allowed_are_missing() {
        let inputs = ["cookie", "x-tenant", "authorization"].map(|name| Input::Header(name.into()));
        check(&inputs, &["Cookie".to_owned(), "authorization".to_owned()]).unwrap();
        let error = check(&inputs, &["cookie".to_owned()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it wants to see headers that carry credentials: authorization; to allow it: \
             allowed_secret_headers = [\"authorization\", \"cookie\"]"
        );
    }
}
