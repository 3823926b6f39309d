//! `Location` headers: of uploads (the spec, "Pushing a blob") and of redirects.

use reqwest::Url;

/// Returns the URL that `location` means in an answer to a request for `base`.
///
/// The header may be absolute or relative. A registry behind a proxy that ends TLS often names
/// itself with `http:`; the same host (without a port, or with the one it was asked by) is then
/// meant over `https:`, so that nothing is sent in the clear.
pub(super) fn resolve(base: &Url, location: &str) -> Option<Url> {
    let mut url = base.join(location.trim()).ok()?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return None;
    }
    let downgraded = base.scheme() == "https"
        && url.scheme() == "http"
        && url.host_str() == base.host_str()
        && (url.port().is_none() || url.port() == base.port());
    if downgraded {
        url.set_scheme("https").ok()?;
        url.set_port(base.port()).ok()?;
    }
    url.set_fragment(None);
    Some(url)
}

/// Host and port of a URL as users write a registry; the port only when it is not the scheme's.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Host and path of a URL: what may be shown, for queries can hold tokens and signatures.
pub(super) fn shown(url: &Url) -> String {
    format!("{}{}", authority(url), url.path())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn locations_resolve_against_the_request() {
        let base = "https://reg.example:5000/v2/a/blobs/uploads/";
        for (base, location, url) in [
            (
                base,
                "/v2/a/blobs/uploads/1?s=x",
                "https://reg.example:5000/v2/a/blobs/uploads/1?s=x",
            ),
            (base, "https://other.example/u/1", "https://other.example/u/1"),
            (base, "uuid-1", "https://reg.example:5000/v2/a/blobs/uploads/uuid-1"),
            (base, "?digest=x", "https://reg.example:5000/v2/a/blobs/uploads/?digest=x"),
            (base, "http://reg.example/v2/u#f", "https://reg.example:5000/v2/u"),
            (base, "http://reg.example:5000/v2/u", "https://reg.example:5000/v2/u"),
            (base, "http://reg.example:81/v2/u", "http://reg.example:81/v2/u"),
            ("https://reg.example/v2/", "http://reg.example/v2/u", "https://reg.example/v2/u"),
            ("https://reg.example/v2/", "http://cdn.example/v2/u", "http://cdn.example/v2/u"),
            ("http://reg.example/v2/", "http://reg.example/v2/u", "http://reg.example/v2/u"),
        ] {
            let base: Url = base.parse().unwrap();
            assert_eq!(resolve(&base, location).unwrap().as_str(), url, "{location}");
        }
    }

    #[test]
    fn locations_that_are_no_web_address_are_refused() {
        let base: Url = "https://reg.example/v2/".parse().unwrap();
        for location in ["file:///etc/passwd", "data:x", "http://", "https://[::bad"] {
            assert_eq!(resolve(&base, location), None, "{location}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_taken_without_panic(location in ".*") {
            let base: Url = "https://reg.example/v2/".parse().unwrap();
            if let Some(url) = resolve(&base, &location) {
                prop_assert!(url.scheme().starts_with("http"));
            }
        }
    }

    #[test]
    fn queries_and_user_names_are_not_shown() {
        let url: Url = "https://me:pw@reg.example:5000/a/b?token=x".parse().unwrap();
        assert_eq!(shown(&url), "reg.example:5000/a/b");
    }
}
