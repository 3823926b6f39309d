//! What a program said, fit to be shown.

/// How many of the last lines are shown, and how long one may be.
const LINES: usize = 5;
const LENGTH: usize = 400;
/// What git-lfs says of its own log, which is in the repository and often gone with the pod.
const ITS_LOG: [&str; 2] = ["Errors logged to ", "Use `git lfs logs last`"];

/// The last lines of what was said, without control characters and without what may be a password
/// in an address.
pub(super) fn last_lines(said: &[u8]) -> Vec<String> {
    let said = String::from_utf8_lossy(said);
    // Progress is written over itself.
    let lines = said.split(['\n', '\r']).map(shown);
    let is_told =
        |line: &String| !line.is_empty() && !ITS_LOG.iter().any(|log| line.starts_with(log));
    let mut lines: Vec<String> = lines.filter(is_told).collect();
    lines.drain(..lines.len().saturating_sub(LINES));
    lines
}

fn shown(line: &str) -> String {
    let plain: String = line.trim().chars().filter(|c| !c.is_control()).collect();
    without_logins(&plain).chars().take(LENGTH).collect()
}

/// The text with `***` for whatever stands before the `@` of an address with a scheme.
fn without_logins(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        result.push_str(before);
        let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'');
        let authority = &after[..after.find(ends).unwrap_or(after.len())];
        let login = authority.rfind('@').unwrap_or(0);
        if login > 0 {
            result.push_str("***");
        }
        rest = &after[login..];
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_in_addresses_are_not_shown() {
        for (text, expected) in [
            ("no address @ all", "no address @ all"),
            ("get https://example.org/a@b", "get https://example.org/a@b"),
            ("https://me:s3cret@example.org/a", "https://***@example.org/a"),
            ("https://t0ken@example.org", "https://***@example.org"),
            ("\"https://a:b@c@d:1/x\": and ssh://git@e", "\"https://***@d:1/x\": and ssh://***@e"),
            ("https://me:s3cret", "https://me:s3cret"),
            ("://@x ://", "://@x ://"),
        ] {
            assert_eq!(without_logins(text), expected);
        }
    }

    #[test]
    fn the_last_lines_are_told_without_progress_and_logs() {
        let said = b"one\ntwo\nDownloading 1%\rDownloading 2%\r\n\nthree\x1b[1m\nfour\n\
            Errors logged to '/x'.\nUse `git lfs logs last` to view the log.\n";
        assert_eq!(
            last_lines(said),
            ["two", "Downloading 1%", "Downloading 2%", "three[1m", "four"]
        );
        assert_eq!(last_lines(b""), Vec::<String>::new());
        assert_eq!(last_lines("\u{e4}".repeat(500).as_bytes())[0].chars().count(), 400);
        assert_eq!(last_lines(b"\xff\xfe"), ["\u{fffd}\u{fffd}"]);
    }
}
