//! HTTP clients for servers that are no registries, trusted and reached by the same rules: roots,
//! private authorities, hosts that are not verified, proxies.

use super::tls::Clients;
use super::{RegistryError, RegistryOptions, Side};

/// Makes HTTP clients. They follow no redirect by themselves, and send no credentials.
#[derive(Debug)]
pub struct WebClients {
    options: RegistryOptions,
    clients: Clients,
}

impl WebClients {
    /// Clients by these options.
    pub fn new(options: RegistryOptions) -> Self {
        Self { options, clients: Clients::default() }
    }

    /// The client to speak with a host (with its port) by.
    ///
    /// # Errors
    /// When a certificate file cannot be used.
    pub fn client(&self, authority: &str) -> Result<reqwest::Client, RegistryError> {
        self.clients.get(&self.options, authority, Side::Pull)
    }
}
