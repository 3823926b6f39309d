//! Names of users and groups to numbers, by the image's `/etc/passwd` and `/etc/group`
//! (passwd(5), group(5)).
//!
//! Two rules, as in the builders people come from. `--chown`: a number is never looked up, and a
//! user without a group brings the group of the passwd line, or for a number the same number.
//! `USER`: a number is looked up for its group and home, and without a line has group 0.
//! Lines that do not follow the format are skipped.

use thiserror::Error;

/// The largest id that is taken.
const LAST_ID: u32 = i32::MAX as u32;

/// User and group of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Who a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Supplementary groups, sorted.
    pub groups: Vec<u32>,
    /// The home directory; `/` where no passwd line names one.
    pub home: String,
}

/// Why a user or group was not found.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AccountError {
    /// No passwd line has this name.
    #[error("user {0} is not in the image's /etc/passwd")]
    User(String),
    /// No group line has this name.
    #[error("group {0} is not in the image's /etc/group")]
    Group(String),
    /// The number is too large for an id.
    #[error("id {0} is larger than 2147483647")]
    Range(String),
    /// Not of the form `USER[:GROUP]`.
    #[error("{0:?} is not of the form USER[:GROUP]")]
    Form(String),
}

/// The accounts of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
}

/// The user, and the group, that is number 0 even where no file says so, as in BuildKit.
const ROOT: &str = "root";

#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// A name, or a number that needs no look-up.
enum Id<'a> {
    Number(u32),
    Name(&'a str),
}

impl<'a> Id<'a> {
    fn of(text: &'a str) -> Result<Self, AccountError> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Name(text));
        }
        let number = text.parse().ok().filter(|&id: &u32| id <= LAST_ID);
        number.map(Self::Number).ok_or_else(|| AccountError::Range(text.to_owned()))
    }
}

impl Accounts {
    /// Whether `--chown=text` can be resolved without any accounts file, as it has numbers only.
    pub fn is_numeric(text: &str) -> bool {
        text.split(':').all(|part| matches!(Id::of(part), Ok(Id::Number(_)) | Err(_)))
    }

    /// Parses both files; an absent file has no lines.
    pub fn parse(passwd: Option<&[u8]>, group: Option<&[u8]>) -> Self {
        Self {
            users: lines(passwd).filter_map(|line| user(&line)).collect(),
            groups: lines(group).filter_map(|line| self::group(&line)).collect(),
        }
    }

    /// Resolves the text of `--chown`.
    ///
    /// # Errors
    /// When a name is unknown or the text malformed.
    pub fn owner(&self, text: &str) -> Result<Owner, AccountError> {
        let (user, group) = split(text)?;
        let (uid, own) = match Id::of(user)? {
            Id::Number(uid) => (uid, uid),
            Id::Name(name) => self.user(name)?.map_or((0, 0), |user| (user.uid, user.gid)),
        };
        let gid = group.map_or(Ok(own), |group| self.gid(group))?;
        Ok(Owner { uid, gid })
    }

    /// Resolves the text of `USER`; empty is root.
    ///
    /// # Errors
    /// When a name is unknown or the text malformed.
    pub fn identity(&self, text: &str) -> Result<Identity, AccountError> {
        let (user, group) = if text.is_empty() { ("0", None) } else { split(text)? };
        let (uid, user) = match Id::of(user)? {
            Id::Number(uid) => (uid, self.users.iter().find(|user| user.uid == uid)),
            Id::Name(name) => self.user(name)?.map_or((0, None), |user| (user.uid, Some(user))),
        };
        let (gid, groups) = match (group, user) {
            (Some(group), _) => (self.gid(group)?, Vec::new()),
            (None, Some(user)) => (user.gid, self.memberships(&user.name)),
            (None, None) => (0, Vec::new()),
        };
        let home = user.map(|user| user.home.as_str()).filter(|home| !home.is_empty());
        Ok(Identity { uid, gid, groups, home: home.unwrap_or("/").to_owned() })
    }

    /// The user of that name; nothing for root in an image that does not list it.
    fn user(&self, name: &str) -> Result<Option<&User>, AccountError> {
        match self.users.iter().find(|user| user.name == name) {
            None if name != ROOT => Err(AccountError::User(name.to_owned())),
            found => Ok(found),
        }
    }

    fn gid(&self, group: &str) -> Result<u32, AccountError> {
        let name = match Id::of(group)? {
            Id::Number(gid) => return Ok(gid),
            Id::Name(name) => name,
        };
        match self.groups.iter().find(|group| group.name == name) {
            Some(group) => Ok(group.gid),
            None if name == ROOT => Ok(0),
            None => Err(AccountError::Group(name.to_owned())),
        }
    }

    fn memberships(&self, user: &str) -> Vec<u32> {
        let member = |group: &&Group| group.members.iter().any(|member| member == user);
        let mut groups: Vec<u32> =
            self.groups.iter().filter(member).map(|group| group.gid).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }
}

fn split(text: &str) -> Result<(&str, Option<&str>), AccountError> {
    let form = || AccountError::Form(text.to_owned());
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    if user.is_empty() || group.is_some_and(|group| group.contains(':')) {
        return Err(form());
    }
    Ok((user, group))
}

/// Lines that hold something; bytes that are not UTF-8 are replaced, as only names are compared.
fn lines(file: Option<&[u8]>) -> impl Iterator<Item = String> {
    file.unwrap_or_default()
        .split(|&byte| byte == b'\n')
        .map(|line| String::from_utf8_lossy(line).trim().to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn user(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let mut fields = fields.skip(1);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1).unwrap_or_default().to_owned();
    Some(User { name, uid, gid, home })
}

fn group(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let gid = fields.nth(1)?.parse().ok()?;
    let members = fields.next().unwrap_or_default();
    let members = members.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Some(Group { name, gid, members })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# remark\nbroken\n\
        app:x:1000:1001:App,,,:/srv/app:/bin/false\n  web:x:33:33::\n+::::::\n1000x:x:7:7::/:\n";
    const GROUP: &[u8] = b"root:x:0:\nadm:x:4:app,web\nstaff:x:50:web,app\nwww:x:33:\nbad:x:y:\n";

    fn accounts() -> Accounts {
        Accounts::parse(Some(PASSWD), Some(GROUP))
    }

    #[test]
    fn owners_are_resolved_as_copy_does() {
        for (text, expected) in [
            ("app", Ok((1000, 1001))),
            ("app:www", Ok((1000, 33))),
            ("app:", Ok((1000, 1001))),
            ("1000", Ok((1000, 1000))),
            ("12:34", Ok((12, 34))),
            ("12:staff", Ok((12, 50))),
            ("1000x", Ok((7, 7))),
            ("bob", Err(AccountError::User("bob".into()))),
            ("app:bob", Err(AccountError::Group("bob".into()))),
            ("+", Err(AccountError::User("+".into()))),
            ("2147483648", Err(AccountError::Range("2147483648".into()))),
            ("99999999999999999999", Err(AccountError::Range("99999999999999999999".into()))),
            ("", Err(AccountError::Form(String::new()))),
            (":www", Err(AccountError::Form(":www".into()))),
            ("a:b:c", Err(AccountError::Form("a:b:c".into()))),
        ] {
            let owner = accounts().owner(text).map(|owner| (owner.uid, owner.gid));
            assert_eq!(owner, expected, "{text:?}");
        }
    }

    #[test]
    fn identities_are_resolved_as_user_does() {
        for (text, uid, gid, groups, home) in [
            ("", 0, 0, vec![], "/root"),
            ("app", 1000, 1001, vec![4, 50], "/srv/app"),
            ("1000", 1000, 1001, vec![4, 50], "/srv/app"),
            ("app:www", 1000, 33, vec![], "/srv/app"),
            ("4711", 4711, 0, vec![], "/"),
            ("4711:12", 4711, 12, vec![], "/"),
            ("web", 33, 33, vec![4, 50], "/"),
        ] {
            let expected = Identity { uid, gid, groups, home: home.to_owned() };
            assert_eq!(accounts().identity(text), Ok(expected), "{text:?}");
        }
        assert_eq!(
            Accounts::default().identity("app").unwrap_err().to_string(),
            "user app is not in the image's /etc/passwd"
        );
    }

    #[test]
    fn root_needs_no_accounts() {
        let nobody = Accounts::default();
        assert_eq!(nobody.owner("root:root"), Ok(Owner { uid: 0, gid: 0 }));
        assert_eq!(nobody.owner("7:root"), Ok(Owner { uid: 7, gid: 0 }));
        let expected = Identity { uid: 0, gid: 0, groups: vec![], home: "/".to_owned() };
        assert_eq!(nobody.identity("root"), Ok(expected));
        let other = Accounts::parse(Some(b"root:x:5:6::/:"), None);
        assert_eq!(other.owner("root"), Ok(Owner { uid: 5, gid: 6 }), "a file has the last word");
    }

    #[test]
    fn numbers_need_no_accounts() {
        for (text, expected) in [("0", true), ("1:2", true), ("app", false), ("1:www", false)] {
            assert_eq!(Accounts::is_numeric(text), expected, "{text}");
        }
    }
    proptest! {
        #[test]
        fn no_file_and_no_text_panics(
            passwd in prop::collection::vec(any::<u8>(), 0..200),
            lines in "([a-z:,0-9\n]{0,9}){0,9}",
            text in ".{0,12}",
        ) {
            for file in [passwd.as_slice(), lines.as_bytes()] {
                let accounts = Accounts::parse(Some(file), Some(file));
                let _ = (accounts.owner(&text), accounts.identity(&text));
            }
        }
    }
}
