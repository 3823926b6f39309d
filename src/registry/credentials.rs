//! The credentials part of Docker's `config.json`, which containers' `auth.json` shares. Pure.
//!
//! Format: the Docker CLI's configuration file (`auths`, `credHelpers`, `credsStore`); an entry has
//! `auth` (base64 of `user:password`), or `username` and `password`, or `identitytoken`, or
//! `registrytoken`. The older flat file (`.dockercfg`: the entries without `auths`) is taken too.
//! One broken entry does not spoil the others: it is an error only when it is needed.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::Value;

use super::Secret;

/// What proves who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// A user name and password.
    Password { user: String, password: Secret },
    /// A refresh token, to be changed for access tokens at the token service.
    Identity(Secret),
    /// A ready bearer token.
    Bearer(Secret),
    /// The name of a helper program that would know.
    Helper(String),
    /// An entry that cannot be read, and why.
    Broken(&'static str),
}

/// The credentials of one file: keys as they stand there, and what they give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CredentialFile {
    /// `auths` with usable or broken entries; empty entries are left out.
    pub(super) entries: Vec<(String, Proof)>,
    /// `credHelpers`: host to helper.
    pub(super) helpers: BTreeMap<String, String>,
    /// `credsStore`, the helper for all hosts.
    pub(super) store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// Parses a file's text; an empty text has no credentials.
///
/// # Errors
/// When the text is not a JSON object, or `auths` and the helpers have another shape. The reason
/// quotes nothing of the file.
pub(super) fn parse(text: &str) -> Result<CredentialFile, String> {
    if text.trim().is_empty() {
        return Ok(CredentialFile::default());
    }
    let value: Value = serde_json::from_str(text).map_err(|error| {
        format!("it is not JSON (line {}, column {})", error.line(), error.column())
    })?;
    let Value::Object(mut top) = value else { return Err("it is not a JSON object".to_owned()) };
    let mut file = CredentialFile::default();
    if let Some(helpers) = top.remove("credHelpers").filter(|value| !value.is_null()) {
        file.helpers = serde_json::from_value(helpers)
            .map_err(|_| "credHelpers is not an object of texts".to_owned())?;
        file.helpers.retain(|_, helper| !helper.is_empty());
    }
    file.store = match top.remove("credsStore") {
        Some(Value::String(store)) if !store.is_empty() => Some(store),
        _ => None,
    };
    let entries = match top.remove("auths") {
        Some(Value::Object(entries)) => entries,
        Some(Value::Null) => serde_json::Map::new(),
        Some(_) => return Err("auths is not an object".to_owned()),
        None => flat_entries(top),
    };
    let proofs = entries.into_iter().filter_map(|(key, value)| Some((key, proof(value)?)));
    file.entries = proofs.collect();
    Ok(file)
}

/// The entries of the old file that has no `auths`: all objects that look like credentials.
fn flat_entries(top: serde_json::Map<String, Value>) -> serde_json::Map<String, Value> {
    top.into_iter()
        .filter(|(_, value)| value.get("auth").or_else(|| value.get("username")).is_some())
        .collect()
}

fn proof(value: Value) -> Option<Proof> {
    let Ok(entry) = serde_json::from_value::<Entry>(value) else {
        return Some(Proof::Broken("the entry has fields of the wrong type"));
    };
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = given(entry.registrytoken) {
        return Some(Proof::Bearer(Secret::new(token)));
    }
    if let Some(token) = given(entry.identitytoken) {
        return Some(Proof::Identity(Secret::new(token)));
    }
    let (user, password) = match given(entry.auth) {
        Some(auth) => match decode(&auth) {
            Ok(pair) => pair,
            Err(reason) => return Some(Proof::Broken(reason)),
        },
        None => (given(entry.username)?, entry.password.unwrap_or_default()),
    };
    if user.is_empty() && password.is_empty() {
        return None;
    }
    // Docker's convention for identity tokens that went through a credential helper.
    if user == "<token>" {
        return Some(Proof::Identity(Secret::new(password)));
    }
    Some(Proof::Password { user, password: Secret::new(password) })
}

fn decode(auth: &str) -> Result<(String, String), &'static str> {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let auth: String = auth.split_whitespace().collect();
    let bytes = GeneralPurpose::new(&STANDARD, lenient)
        .decode(auth)
        .map_err(|_| "its \"auth\" is not base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "its \"auth\" is not base64 of a text")?;
    let (user, password) =
        text.split_once(':').ok_or("its \"auth\" is not base64 of USER:PASSWORD")?;
    Ok((user.to_owned(), password.trim_matches(['\0', '\n', '\r']).to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn password(user: &str, password: &str) -> Proof {
        Proof::Password { user: user.to_owned(), password: Secret::new(password) }
    }

    #[test]
    fn entries_are_read_in_every_form() {
        for (entry, expected) in [
            (r#"{"auth":"dTpw"}"#, Some(password("u", "p"))),
            (r#"{"auth":"dTpwOnE="}"#, Some(password("u", "p:q"))),
            (r#"{"auth":"dTpwOnE"}"#, Some(password("u", "p:q"))),
            (r#"{"auth":"dTpw\n"}"#, Some(password("u", "p"))),
            (r#"{"username":"u","password":"p"}"#, Some(password("u", "p"))),
            (r#"{"auth":"dTpw","email":"e@x"}"#, Some(password("u", "p"))),
            (r#"{"identitytoken":"t","auth":"dTo="}"#, Some(Proof::Identity(Secret::new("t")))),
            (r#"{"username":"<token>","password":"t"}"#, Some(Proof::Identity(Secret::new("t")))),
            (r#"{"registrytoken":"t"}"#, Some(Proof::Bearer(Secret::new("t")))),
            (r#"{}"#, None),
            (r#"{"auth":""}"#, None),
            (r#"{"auth":"Og=="}"#, None),
            (r#"{"auth":"%%"}"#, Some(Proof::Broken("its \"auth\" is not base64"))),
            (
                r#"{"auth":"dQ=="}"#,
                Some(Proof::Broken("its \"auth\" is not base64 of USER:PASSWORD")),
            ),
            (r#"{"auth":1}"#, Some(Proof::Broken("the entry has fields of the wrong type"))),
        ] {
            let file = parse(&format!(r#"{{"auths":{{"k":{entry}}}}}"#)).unwrap();
            assert_eq!(
                file.entries.into_iter().next().map(|(_, proof)| proof),
                expected,
                "{entry}"
            );
        }
    }

    #[test]
    fn helpers_flat_files_and_empty_files_are_understood() {
        let file = parse(r#"{"credsStore":"","credHelpers":{"a":"ecr-login","b":""}}"#).unwrap();
        assert_eq!((file.store, file.helpers.len()), (None, 1));
        assert_eq!(parse(r#"{"credsStore":"x"}"#).unwrap().store.as_deref(), Some("x"));
        let flat = parse(r#"{"https://index.docker.io/v1/":{"auth":"dTpw"},"o":{"x":1}}"#).unwrap();
        assert_eq!(flat.entries, [("https://index.docker.io/v1/".to_owned(), password("u", "p"))]);
        assert_eq!(parse("\n").unwrap(), CredentialFile::default());
        assert_eq!(parse(r#"{"auths":null}"#).unwrap(), CredentialFile::default());
    }

    #[test]
    fn unusable_files_are_refused_without_quoting_them() {
        for text in ["hunter2", "[]", r#"{"auths":"hunter2"}"#, r#"{"credHelpers":["hunter2"]}"#] {
            let reason = parse(text).unwrap_err();
            assert!(!reason.contains("hunter2"), "{reason}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_without_panic(text in ".*", auth in ".*") {
            let _ = parse(&text);
            let entry = serde_json::json!({"auths": {"k": {"auth": auth}}});
            let _ = parse(&entry.to_string());
        }
    }
}
