//! The `--synchronization` grammar of the werf documentation:
//! `:local`, `kubernetes://NAMESPACE[:CONTEXT][@(base64:DATA|PATH)]`, `http(s)://HOST`; and `none`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Where locks are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Files of this host, below LONGSHORE_HOME.
    Local,
    /// Nowhere.
    None,
}

/// Why an address was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AddressError {
    /// The form is right, the service is not part of this release.
    #[error("synchronization {0:?} is not available yet; this release has :local and none")]
    NotAvailable(String),
    /// Not an address.
    #[error(
        "synchronization {0:?} is none of :local, none, kubernetes://NAMESPACE, http(s)://HOST"
    )]
    Unknown(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let later = ["kubernetes://", "http://", "https://"];
        match text {
            ":local" => Ok(Self::Local),
            "none" => Ok(Self::None),
            _ if later.iter().any(|scheme| text.starts_with(scheme)) => {
                Err(AddressError::NotAvailable(without_data(text)))
            }
            _ => Err(AddressError::Unknown(text.to_owned())),
        }
    }
}

/// The address without what follows `@`: a kubeconfig in base64 holds credentials.
fn without_data(text: &str) -> String {
    text.split('@').next().unwrap_or(text).to_owned()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => ":local",
            Self::None => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        assert_eq!(":local".parse(), Ok(Address::Local));
        assert_eq!("none".parse(), Ok(Address::None));
        let later = "kubernetes://ci:ctx@base64:c2VjcmV0";
        assert_eq!(
            later.parse::<Address>(),
            Err(AddressError::NotAvailable("kubernetes://ci:ctx".to_owned())),
            "the kubeconfig is not repeated"
        );
        assert!(matches!("local".parse::<Address>(), Err(AddressError::Unknown(_))));
    }
}
