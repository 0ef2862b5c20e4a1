//! Headers that the operator names: an input says under which key of the configuration.

use std::collections::HashMap;

use sgl_policy_abi::Input;

use crate::config::faults::Fault;

/// The inputs with each [`Input::ConfigHeader`] as the header that the configuration names. One whose key
/// is not there stays as it is: it is nil in every message.
///
/// # Errors
///
/// A [`Fault`] for each key whose value is no name of a header.
pub(crate) fn resolved(
    inputs: &[Input],
    config: &HashMap<String, serde_json::Value>,
) -> Result<Vec<Input>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut resolved = Vec::with_capacity(inputs.len());
    for input in inputs {
        let Input::ConfigHeader(key) = input else {
            resolved.push(input.clone());
            continue;
        };
        let value = config.get(&**key).filter(|value| !value.is_null());
        let name = value.map(|value| value.as_str().map(str::to_ascii_lowercase));
        match (value, name) {
            (_, Some(Some(name))) if Input::is_header_name(&name) => {
                resolved.push(Input::Header(name.into()))
            }
            (Some(value), _) => faults.push(Fault::value(
                format!("config.{key}"),
                value,
                "the name of a request header, which the plugin reads by this key",
            )),
            (None, _) => resolved.push(input.clone()),
        }
    }
    if faults.is_empty() { Ok(resolved) } else { Err(faults) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_becomes_the_header_that_the_configuration_names() {
        let inputs = [Input::Load, Input::ConfigHeader("tenant".into()), Input::ConfigHeader("none".into())];
        let config = HashMap::from([
            ("tenant".to_owned(), "X-Team".into()),
            ("none".to_owned(), serde_json::Value::Null),
        ]);
        let expected = [Input::Load, Input::Header("x-team".into()), Input::ConfigHeader("none".into())];
        assert_eq!(resolved(&inputs, &config).unwrap(), expected);
    }

    #[test]
    fn value_that_is_no_name_is_a_fault_at_its_key() {
        let inputs = [Input::ConfigHeader("a".into()), Input::ConfigHeader("b".into())];
        let config = HashMap::from([("a".to_owned(), 5.into()), ("b".to_owned(), "a b".into())]);
        let faults: Vec<String> =
            resolved(&inputs, &config).unwrap_err().iter().map(Fault::to_string).collect();
        assert_eq!(faults.len(), 2);
        assert!(
            faults[0].starts_with("config.a: found 5; allowed: the name of a request header"),
            "{faults:?}"
        );
    }
}
