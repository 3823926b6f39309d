//! Addresses of repositories, in docker's spelling: `https://HOST/REPO.git`, `ssh://`, `git://`,
//! `USER@HOST:PATH`. Pure.

use std::fmt;

use reqwest::Url;
use thiserror::Error;

use super::Credentials;

/// The port of git's own daemon.
const DAEMON_PORT: u16 = 9418;

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteAddress {
    pub(super) way: Way,
}

/// How a repository is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Http(Url),
    Daemon { host: String, port: u16, path: String },
    Ssh { user: Option<String>, host: String, port: Option<u16>, path: String },
}

/// Which commit of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revision {
    /// What the repository's own HEAD names.
    Head,
    /// A branch or tag, or the whole name of a reference.
    Name(String),
    /// A commit, by its 40 digits.
    Commit(String),
}

/// Why an address or revision was refused. Never holds credentials.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AddressError {
    /// It cannot be read as an address.
    #[error("{0} is not the address of a git repository: {1}")]
    Malformed(String, &'static str),
    /// It has a password where none can be used.
    #[error("an address that is reached by ssh or git:// takes no password ({0})")]
    Password(String),
    /// It cannot be the name of a reference.
    #[error("{0:?} cannot be a branch, a tag or a commit")]
    Revision(String),
}

impl RemoteAddress {
    /// Reads an address without its `#REF`; nothing if it has the form of none, as a path has.
    /// Credentials in it come back by themselves.
    ///
    /// # Errors
    /// When it has the form of an address but is none.
    pub fn parse(text: &str) -> Result<Option<(Self, Option<Credentials>)>, AddressError> {
        match text.split_once("://") {
            Some(("http" | "https", _)) => http(text).map(Some),
            Some(("git", rest)) => daemon(text, rest).map(|address| Some((address, None))),
            Some(("ssh", rest)) => ssh(text, rest).map(|address| Some((address, None))),
            Some(_) => Ok(None),
            None => Ok(short(text)?.map(|address| (address, None))),
        }
    }

    /// The host that is reached over HTTP, with its port if it is not the usual one.
    pub fn web_host(&self) -> Option<String> {
        match &self.way {
            Way::Http(url) => Some(authority(url)),
            Way::Daemon { .. } | Way::Ssh { .. } => None,
        }
    }
}

impl fmt::Display for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Http(url) => write!(f, "{}://{}{}", url.scheme(), authority(url), url.path()),
            Way::Daemon { host, port, path } => {
                write!(f, "git://{}", bracketed(host))?;
                if *port != DAEMON_PORT {
                    write!(f, ":{port}")?;
                }
                f.write_str(path)
            }
            Way::Ssh { host, port, path, .. } => {
                write!(f, "ssh://{}", bracketed(host))?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                let slash = if path.starts_with('/') { "" } else { "/" };
                write!(f, "{slash}{path}")
            }
        }
    }
}

impl Revision {
    /// A branch, a tag, a whole reference, or a commit's 40 digits.
    ///
    /// # Errors
    /// When the text can be none of them (git's "check-ref-format").
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let is_id = text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id {
            return Ok(Self::Commit(text.to_ascii_lowercase()));
        }
        let forbidden = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
        let part_is_bad = |part: &str| part.is_empty() || part.starts_with('.');
        let bad = text.starts_with('-')
            || text.len() > 1024
            || text.contains(forbidden)
            || text.contains("..")
            || text.split('/').any(part_is_bad);
        match (bad, text) {
            (true, _) => Err(AddressError::Revision(text.to_owned())),
            (_, "HEAD") => Ok(Self::Head),
            _ => Ok(Self::Name(text.to_owned())),
        }
    }
}

/// A host as it stands in an address.
pub(super) fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Host and port of a URL; the port only when it is not the scheme's.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// An address for messages: without what stands before the last `@`, which may be a secret.
fn redacted(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let separator = if scheme.is_empty() { "" } else { "://" };
    let place = rest.split(['?', '#']).next().unwrap_or_default();
    format!("{scheme}{separator}{place}")
}

fn http(text: &str) -> Result<(RemoteAddress, Option<Credentials>), AddressError> {
    let refuse = |reason| AddressError::Malformed(redacted(text), reason);
    let mut url: Url = text.parse().map_err(|_| refuse("it is no valid URL"))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(refuse("it names no host"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("it has a query"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if path.is_empty() {
        return Err(refuse("it has no path"));
    }
    url.set_path(&path);
    let (user, password) = (decoded(url.username()), url.password().map(decoded));
    let given = !user.is_empty() || password.is_some();
    let credentials =
        given.then(|| Credentials::new(user, password.unwrap_or_default(), "the address"));
    // Both can be set wherever there is a host.
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    cleared.map_err(|()| refuse("it names no host"))?;
    Ok((RemoteAddress { way: Way::Http(url) }, credentials))
}

fn daemon(text: &str, rest: &str) -> Result<RemoteAddress, AddressError> {
    let refuse = |reason| AddressError::Malformed(redacted(text), reason);
    let (authority, path) = rest.split_once('/').ok_or_else(|| refuse("it has no path"))?;
    if authority.contains('@') {
        return Err(AddressError::Password(redacted(text)));
    }
    let (host, port) = host_and_port(authority).ok_or_else(|| refuse("its host is malformed"))?;
    let path = path_of(&format!("/{path}")).ok_or_else(|| refuse("its path is malformed"))?;
    Ok(RemoteAddress { way: Way::Daemon { host, port: port.unwrap_or(DAEMON_PORT), path } })
}

fn ssh(text: &str, rest: &str) -> Result<RemoteAddress, AddressError> {
    let refuse = |reason| AddressError::Malformed(redacted(text), reason);
    let (authority, path) = rest.split_once('/').ok_or_else(|| refuse("it has no path"))?;
    let (user, authority) = match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => {
            return Err(AddressError::Password(redacted(text)));
        }
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if user.is_some_and(|user| !is_user(user)) {
        return Err(refuse("its user is malformed"));
    }
    let (host, port) = host_and_port(authority).ok_or_else(|| refuse("its host is malformed"))?;
    // `/~user` is a home directory, as git has it.
    let path = if path.starts_with('~') { path.to_owned() } else { format!("/{path}") };
    let path = path_of(&path).ok_or_else(|| refuse("its path is malformed"))?;
    Ok(RemoteAddress { way: Way::Ssh { user: user.map(str::to_owned), host, port, path } })
}

/// `USER@HOST:PATH`.
fn short(text: &str) -> Result<Option<RemoteAddress>, AddressError> {
    let Some((user, rest)) = text.split_once('@') else { return Ok(None) };
    let Some((host, path)) = rest.split_once(':') else { return Ok(None) };
    if user.split_once(':').is_some_and(|(user, _)| is_user(user)) && is_host(host) {
        return Err(AddressError::Password(redacted(text)));
    }
    if !is_user(user) || !is_host(host) {
        return Ok(None);
    }
    let malformed = "its path is malformed";
    let path = path_of(path).ok_or(AddressError::Malformed(redacted(text), malformed))?;
    let (user, host) = (Some(user.to_owned()), host.to_owned());
    Ok(Some(RemoteAddress { way: Way::Ssh { user, host, port: None, path } }))
}

/// What `ssh` and a shell cannot take for anything but a path.
fn path_of(path: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    let bad = path.is_empty() || path.starts_with('-') || path.contains(char::is_control);
    (!bad).then(|| path.to_owned())
}

fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host.parse::<std::net::Ipv6Addr>().ok()?.to_string(), port.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (authority.to_owned(), None),
        },
    };
    let valid = authority.starts_with('[') || is_host(&host);
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|port| *port != 0)?),
        None => None,
    };
    valid.then_some((host, port))
}

fn is_host(host: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !host.is_empty() && !host.starts_with('-') && host.chars().all(allowed)
}

fn is_user(user: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    !user.is_empty() && !user.starts_with('-') && user.chars().all(allowed)
}

/// A part of a URL with its `%XX` taken back.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        match RemoteAddress::parse(text) {
            Ok(Some((address, _))) => address.to_string(),
            Ok(None) => "none".to_owned(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn addresses_are_read_in_every_spelling() {
        for (text, address) in [
            ("https://example.org/team/app.git", "https://example.org/team/app.git"),
            ("https://example.org:8443/app.git/", "https://example.org:8443/app.git"),
            ("http://me:s3cret@example.org/app.git", "http://example.org/app.git"),
            ("git://example.org/app.git", "git://example.org/app.git"),
            ("git://example.org:9419/app.git", "git://example.org:9419/app.git"),
            ("ssh://git@example.org/team/app.git", "ssh://example.org/team/app.git"),
            ("ssh://example.org:2222/~me/app", "ssh://example.org:2222/~me/app"),
            ("ssh://git@[::1]:22/app", "ssh://[::1]:22/app"),
            ("git@example.org:team/app.git", "ssh://example.org/team/app.git"),
            ("git@example.org:/srv/app.git", "ssh://example.org/srv/app.git"),
            ("directory", "none"),
            ("./git@example.org/x", "none"),
            ("C:/path", "none"),
            ("oci://example.org/x", "none"),
        ] {
            assert_eq!(shown(text), address, "{text}");
        }
    }

    #[test]
    fn credentials_are_taken_out_and_never_shown() {
        let (address, credentials) =
            RemoteAddress::parse("https://me%40x:s3%2Fcret@example.org/app.git").unwrap().unwrap();
        assert_eq!(credentials, Some(Credentials::new("me@x", "s3/cret", "the address")));
        let token = RemoteAddress::parse("https://t0ken@example.org/app.git").unwrap().unwrap();
        assert_eq!(token.1, Some(Credentials::new("t0ken", "", "the address")));
        assert!(!format!("{address:?} {credentials:?}").contains("cret"));
        for text in [
            "https://me:s3cret@/app.git",
            "https://me:s3cret@example.org:99999/app.git",
            "https://me:s3cret@example.org/app.git?token=s3cret",
            "https://me:s3cret@example.org",
            "ssh://me:s3cret@example.org/app.git",
            "git://me:s3cret@example.org/app.git",
            "ssh://s3cret%@example.org/app.git",
            "me:s3cret@example.org:team/app.git",
        ] {
            let error = shown(text);
            assert!(error.starts_with("error: ") && !error.contains("s3cret"), "{text}: {error}");
        }
    }

    #[test]
    fn nothing_can_be_taken_for_an_option_of_ssh() {
        for text in [
            "ssh://-oProxyCommand=x/app.git",
            "ssh://-l@example.org/app.git",
            "ssh://example.org:-1/app.git",
            "git@example.org:-x",
            "git@example.org:a\nb",
            "ssh://example.org/",
            "git://example.org",
        ] {
            assert!(shown(text).starts_with("error: "), "{text}: {}", shown(text));
        }
        assert_eq!(shown("-x@example.org:a"), "none");
        assert_eq!(shown("git@-x:a"), "none");
    }

    #[test]
    fn revisions_are_told_apart() {
        let id = "0123456789abcdef0123456789ABCDEF01234567";
        for (text, revision) in [
            ("HEAD", Revision::Head),
            ("main", Revision::Name("main".to_owned())),
            ("refs/heads/a/b", Revision::Name("refs/heads/a/b".to_owned())),
            (id, Revision::Commit(id.to_ascii_lowercase())),
            (&id[..12], Revision::Name(id[..12].to_owned())),
        ] {
            assert_eq!(Revision::parse(text), Ok(revision), "{text}");
        }
        for text in ["", "-x", "a b", "a\nb", "a..b", "a~1", "a^", "/a", "a//b", "a/", ".a", "a:b"]
        {
            assert!(Revision::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_parsed_without_panic(text in ".{0,40}") {
            let _ = (RemoteAddress::parse(&text), Revision::parse(&text));
        }

        #[test]
        fn no_secret_is_ever_shown(
            scheme in "(http|https|ssh|git)",
            tail in "[a-z:/%@?#\\[\\]]{0,12}",
        ) {
            let text = format!("{scheme}://me:s3cret@{tail}");
            prop_assert!(!shown(&text).contains("s3cret"), "{}", shown(&text));
        }
    }
}
