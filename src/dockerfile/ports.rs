//! Ports of `EXPOSE`, as the image config names them: `80/tcp`.

use thiserror::Error;

/// Why a port was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("invalid port {text:?} in EXPOSE: {reason}")]
pub struct PortError {
    text: String,
    reason: &'static str,
}

/// Returns the ports that an expanded word of `EXPOSE` means, each as `NUMBER/PROTOCOL`.
///
/// A range gives one entry for each of its ports.
///
/// # Errors
/// When the word is not `PORT[/PROTOCOL]` or `FIRST-LAST[/PROTOCOL]`. An address or port of the
/// host in front (`127.0.0.1:8080:80`) is left out, as BuildKit does: an image cannot choose them.
pub fn exposed_ports(word: &str) -> Result<Vec<String>, PortError> {
    let refuse = |reason| PortError { text: word.to_owned(), reason };
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = match protocol {
        "" => "tcp".to_owned(),
        other => other.to_ascii_lowercase(),
    };
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(refuse("the protocol is tcp, udp or sctp"));
    }
    let range = range.rsplit(':').next().unwrap_or(range);
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u16>().ok().filter(|_| digits);
        number.ok_or_else(|| refuse("a port is a number from 0 to 65535"))
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(refuse("the range ends before it starts"));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges_are_listed() {
        for (word, ports) in [
            ("80", vec!["80/tcp"]),
            ("53/UDP", vec!["53/udp"]),
            ("7000-7002/sctp", vec!["7000/sctp", "7001/sctp", "7002/sctp"]),
            ("65535-65535", vec!["65535/tcp"]),
            ("80/", vec!["80/tcp"]),
            ("127.0.0.1:8080:80", vec!["80/tcp"]),
            ("8000-8001:90-91/udp", vec!["90/udp", "91/udp"]),
        ] {
            assert_eq!(exposed_ports(word).unwrap(), ports, "{word}");
        }
        assert_eq!(exposed_ports("0-65535").unwrap().len(), 65536);
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for word in
            ["", "/tcp", "80:", "80/icmp", "65536", "-1", "+1", "9-8", "1-2-3", "1/tcp/udp", "a"]
        {
            assert!(exposed_ports(word).is_err(), "{word}");
        }
    }
}
