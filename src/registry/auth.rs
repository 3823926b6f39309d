//! Authorization: none, basic (RFC 7617), and bearer tokens (Docker's "Token Authentication
//! Specification", and its OAuth 2 form for refresh tokens).
//!
//! What a registry wants is learned from its first 401 and remembered by host, so that nothing is
//! asked for twice and no password is sent unasked. Tokens are cached by token service, scopes and
//! credentials until nine tenths of their life are over. One token is fetched once however many
//! requests wait for it, and a refusal by the token service is remembered like a token: a wrong
//! password is tried once, not once a request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, Url};
use serde::Deserialize;

use super::challenge::{self, Challenge};
use super::credentials::Proof;
use super::transport::{Call, PATIENCE, Place, Wire, network, stalled};
use super::{RegistryError, Secret, Side, answer, location};

const MAX_TOKEN_ANSWER: u64 = 1024 * 1024;
const SHORTEST_DEFAULT_LIFE: u64 = 60;
const CLIENT_ID: &str = "longshore";

/// What is known about the hosts, and the tokens.
#[derive(Debug, Default)]
pub(super) struct Auth {
    // Both guard their maps only and are never held across an await.
    known: Mutex<BTreeMap<String, Wanted>>,
    tokens: Mutex<BTreeMap<TokenKey, SharedSlot>>,
}

type SharedSlot = Arc<tokio::sync::Mutex<Slot>>;

/// The `Authorization` header of one request.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Ticket(HeaderValue);

/// How a host wants to be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Basic,
    Bearer(Service),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Service {
    realm: Url,
    name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TokenKey {
    service: Service,
    scopes: Vec<String>,
    login: Option<String>,
}

/// A token or the lack of one; locked while it is fetched.
#[derive(Debug, Default)]
struct Slot {
    token: Option<(Ticket, Instant)>,
    refused: Option<(u16, String)>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Ticket {
    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    fn new(text: &str) -> Option<Self> {
        let mut header = HeaderValue::from_str(text).ok()?;
        header.set_sensitive(true);
        Some(Self(header))
    }

    fn basic(user: &str, password: &Secret) -> Option<Self> {
        let pair = format!("{user}:{}", password.expose());
        Self::new(&format!("Basic {}", STANDARD.encode(pair)))
    }

    fn bearer(token: &str) -> Option<Self> {
        Self::new(&format!("Bearer {token}"))
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticket(hidden)")
    }
}

impl Auth {
    /// The authorization for a call, as far as the host is known.
    pub(super) async fn ticket(
        &self,
        wire: &Wire,
        call: &Call<'_>,
    ) -> Result<Option<Ticket>, RegistryError> {
        match self.wanted_by(&call.place.host()) {
            None => Ok(None),
            Some(wanted) => self.satisfy(wire, call, &wanted, None).await,
        }
    }

    /// The authorization for a call that was answered with 401 although it had `used`.
    pub(super) async fn renew(
        &self,
        wire: &Wire,
        call: &Call<'_>,
        mut response: Response,
        used: Option<Ticket>,
    ) -> Result<Ticket, RegistryError> {
        let place = call.place;
        let challenges: Vec<Challenge> = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|header| header.to_str().ok())
            .flat_map(challenge::parse)
            .collect();
        let Some(wanted) = choose(&challenges) else {
            return Err(answer::refuse(place, response).await);
        };
        let (codes, detail) = answer::parse(&answer::error_body(place, &mut response).await);
        self.learn(place.host(), wanted.clone());
        match self.satisfy(wire, call, &wanted, used.as_ref()).await? {
            Some(fresh) if Some(&fresh) != used.as_ref() => Ok(fresh),
            _ => {
                let detail = answer::said(detail, &codes, "authentication required");
                Err(place.unauthorized(place.host(), 401, detail))
            }
        }
    }

    fn wanted_by(&self, host: &str) -> Option<Wanted> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    fn learn(&self, host: String, wanted: Wanted) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(host, wanted);
    }

    fn slot(&self, key: TokenKey) -> SharedSlot {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tokens.entry(key).or_default())
    }

    async fn satisfy(
        &self,
        wire: &Wire,
        call: &Call<'_>,
        wanted: &Wanted,
        stale: Option<&Ticket>,
    ) -> Result<Option<Ticket>, RegistryError> {
        let place = call.place;
        let proof = place.login.as_ref().map(|login| &login.proof);
        match (wanted, proof) {
            (_, Some(Proof::Broken(reason))) => Err(RegistryError::Credentials {
                origin: place.login.as_ref().map_or_else(String::new, |login| login.origin.clone()),
                reason: (*reason).to_owned(),
            }),
            (Wanted::Basic, Some(Proof::Password { user, password })) => {
                Ok(Ticket::basic(user, password))
            }
            (Wanted::Basic, _) => Ok(None),
            (Wanted::Bearer(_), Some(Proof::Bearer(token))) => Ok(Ticket::bearer(token.expose())),
            (Wanted::Bearer(service), _) => {
                let key = TokenKey {
                    service: service.clone(),
                    scopes: scopes(call),
                    login: place.login.as_ref().map(|login| login.origin.clone()),
                };
                self.token(wire, place, key, stale).await.map(Some)
            }
        }
    }

    /// A cached token that is not `stale`, or a new one.
    async fn token(
        &self,
        wire: &Wire,
        place: &Place,
        key: TokenKey,
        stale: Option<&Ticket>,
    ) -> Result<Ticket, RegistryError> {
        let slot = self.slot(key.clone());
        let mut slot = slot.lock().await;
        if let Some((token, until)) = &slot.token
            && Instant::now() < *until
            && Some(token) != stale
        {
            return Ok(token.clone());
        }
        let host = location::authority(&key.service.realm);
        if let Some((status, detail)) = &slot.refused {
            return Err(place.unauthorized(host, *status, detail.clone()));
        }
        match fetch(wire, place, &key).await {
            Ok((token, until)) => {
                slot.token = Some((token.clone(), until));
                Ok(token)
            }
            Err(error) => {
                slot.refused = match &error {
                    RegistryError::Unauthorized { detail, .. } => Some((401, detail.clone())),
                    RegistryError::Denied { detail, .. } => Some((403, detail.clone())),
                    _ => None,
                };
                Err(match &slot.refused {
                    Some((status, detail)) => place.unauthorized(host, *status, detail.clone()),
                    None => error,
                })
            }
        }
    }
}

/// The strongest challenge that we can answer: bearer before basic.
fn choose(challenges: &[Challenge]) -> Option<Wanted> {
    let bearer = challenges.iter().filter(|one| one.scheme == "bearer").find_map(|one| {
        let realm: Url = one.parameters.get("realm")?.parse().ok()?;
        let web = matches!(realm.scheme(), "http" | "https") && realm.has_host();
        let name = one.parameters.get("service").cloned();
        web.then_some(Wanted::Bearer(Service { realm, name }))
    });
    let basic = || challenges.iter().any(|one| one.scheme == "basic").then_some(Wanted::Basic);
    bearer.or_else(basic)
}

/// What the token must allow (Docker's "Token Scope Documentation"). A mount needs the right to
/// pull from its source as well.
fn scopes(call: &Call<'_>) -> Vec<String> {
    let actions = match call.place.side {
        Side::Pull => "pull",
        Side::Push => "pull,push",
    };
    let own = format!("repository:{}:{actions}", call.place.repository.path);
    let source = call.mount_from.map(|path| format!("repository:{path}:pull"));
    std::iter::once(own).chain(source).collect()
}

/// Asks the token service once; whoever sends the request that needs the token tries again.
async fn fetch(
    wire: &Wire,
    place: &Place,
    key: &TokenKey,
) -> Result<(Ticket, Instant), RegistryError> {
    let realm = &key.service.realm;
    let clear = realm.scheme() == "http" && place.root.scheme() == "https";
    let authority = location::authority(realm);
    if clear && place.login.is_some() && !wire.may_be_insecure(&authority, place.side) {
        return Err(RegistryError::Garbage {
            place: location::shown(realm),
            status: 401,
            reason: "a token service that would take credentials over plain http".to_owned(),
        });
    }
    let client = wire.clients.get(&wire.options, &authority, place.side)?;
    let request = token_request(&client, place, key);
    let mut response = match tokio::time::timeout(PATIENCE, request.send()).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(network(place, realm, error)),
        Err(_) => return Err(stalled(place, realm, PATIENCE)),
    };
    if !response.status().is_success() {
        return Err(answer::refuse(place, response).await);
    }
    let what = format!("the token of {}", location::shown(realm));
    let body = answer::body(place, &mut response, MAX_TOKEN_ANSWER, &what).await?;
    let token: TokenAnswer = serde_json::from_slice(&body)
        .map_err(|_| place.garbage(&response, "something that is no token"))?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let ticket = given(token.token)
        .or(given(token.access_token))
        .and_then(|text| Ticket::bearer(&text))
        .ok_or_else(|| place.garbage(&response, "no token"))?;
    let life = token.expires_in.unwrap_or(SHORTEST_DEFAULT_LIFE).min(24 * 3600);
    Ok((ticket, Instant::now() + Duration::from_secs(life).mul_f32(0.9)))
}

/// The request for a token: a form with the refresh token, or a GET with or without a password.
fn token_request(
    client: &reqwest::Client,
    place: &Place,
    key: &TokenKey,
) -> reqwest::RequestBuilder {
    let realm = key.service.realm.clone();
    let service = key.service.name.iter().map(|name| ("service", name.as_str()));
    let proof = place.login.as_ref().map(|login| &login.proof);
    if let Some(Proof::Identity(token)) = proof {
        let scope = key.scopes.join(" ");
        let fixed = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token.expose()),
            ("client_id", CLIENT_ID),
            ("scope", scope.as_str()),
        ];
        let form: Vec<(&str, &str)> = fixed.into_iter().chain(service).collect();
        return client.post(realm).form(&form);
    }
    let scopes = key.scopes.iter().map(|scope| ("scope", scope.as_str()));
    let mut query: Vec<(&str, &str)> = service.chain(scopes).collect();
    let Some(Proof::Password { user, password }) = proof else {
        return client.get(realm).query(&query);
    };
    query.push(("account", user));
    let request = client.get(realm).query(&query);
    match Ticket::basic(user, password) {
        Some(ticket) => request.header(AUTHORIZATION, ticket.header()),
        None => request,
    }
}

#[cfg(test)]
mod tests {
    use super::super::RegistryOptions;
    use super::super::keyring::{Keyring, Login};
    use super::super::retry::Schedule;
    use super::super::tls::Clients;
    use super::*;
    use crate::model::Repository;

    #[test]
    fn bearer_goes_before_basic_and_needs_a_usable_realm() {
        for (header, expected) in [
            ("Basic realm=x, Bearer realm=\"https://t.example/t\"", "bearer https://t.example/t"),
            ("Basic realm=x, Bearer realm=\"/relative\"", "basic"),
            ("Bearer realm=\"file:///etc/passwd\"", "nothing"),
            ("Bearer service=x", "nothing"),
            ("Digest realm=x", "nothing"),
        ] {
            let chosen = match choose(&challenge::parse(header)) {
                Some(Wanted::Bearer(service)) => format!("bearer {}", service.realm),
                Some(Wanted::Basic) => "basic".to_owned(),
                None => "nothing".to_owned(),
            };
            assert_eq!(chosen, expected, "{header}");
        }
    }

    #[tokio::test]
    async fn credentials_are_not_sent_to_a_token_service_in_the_clear() {
        let wire = Wire {
            options: RegistryOptions::default(),
            clients: Clients::default(),
            keyring: Keyring::default(),
            auth: Auth::default(),
        };
        let proof = Proof::Identity(Secret::new("t"));
        let place = Place {
            repository: Repository::parse("reg.example/a").unwrap(),
            side: Side::Pull,
            root: "https://reg.example/".parse().unwrap(),
            login: Some(Login { proof, origin: "config.json".to_owned() }),
            schedule: Schedule { retries: 0, first_pause: Duration::ZERO },
        };
        let realm = "http://token.invalid/t".parse().unwrap();
        let service = Service { realm, name: None };
        let key = TokenKey { service, scopes: Vec::new(), login: None };
        let error = fetch(&wire, &place, &key).await.unwrap_err();
        assert!(matches!(error, RegistryError::Garbage { .. }), "{error:?}");
    }
}
