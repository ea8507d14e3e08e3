//! Who a container's process is: a [`User`] looked up in the image's own `/etc/passwd` and `/etc/group`.
//!
//! The rules are containerd's and Docker's (`moby/sys/user` `GetExecUser`, containerd `oci.WithUser`,
//! `WithAdditionalGIDs`). Pure: the caller reads the files, inside the root and bounded, and passes their text; a missing file is
//! an empty text.
use crate::{RuntimeError, User};
use std::collections::BTreeSet;

/// A user as the kernel and the shell know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, without doubles.
    pub groups: BTreeSet<u32>,
    /// Home directory, for `HOME`; `/` when the image does not know the user.
    pub home: String,
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Looks `user` up. Numbers need no entry in the files; names do.
pub fn identify(user: &User, supplemental: &[u32], passwd: &str, group: &str) -> Result<Identity, RuntimeError> {
    let (wanted, wanted_group) = user.name.split_once(':').unwrap_or((&user.name, ""));
    let account = match (user.uid, wanted.parse::<u32>()) {
        (Some(uid), _) | (None, Ok(uid)) => by_uid(passwd, uid),
        (None, Err(_)) if wanted.is_empty() => by_uid(passwd, 0),
        (None, Err(_)) => accounts(passwd).find(|account| account.name == wanted).ok_or_else(|| {
            RuntimeError::invalid("user", format!("unable to find user {wanted}: no matching entries in passwd file"))
        })?,
    };
    let gid = match user.gid {
        Some(gid) => gid,
        // The image's group belongs to the image's user, and goes with it when the pod names another.
        None if wanted_group.is_empty() || user.uid.is_some() => account.gid,
        None => group_id(group, wanted_group)?,
    };
    let mut groups: BTreeSet<u32> = supplemental.iter().copied().collect();
    groups.extend(memberships(group, account.name));
    Ok(Identity { uid: account.uid, gid, groups, home: account.home.to_owned() })
}

/// `name:password:uid:gid:comment:home:shell` (`passwd(5)`). Lines that are not so are passed over, as libc does.
fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).filter(|home| !home.is_empty()).unwrap_or("/");
        Some(Account { name, uid, gid, home })
    })
}

fn by_uid(passwd: &str, uid: u32) -> Account<'_> {
    let unknown = Account { name: "", uid, gid: 0, home: "/" };
    accounts(passwd).find(|account| account.uid == uid).unwrap_or(unknown)
}

/// `name:password:gid:member,member` (`group(5)`).
fn group_entries(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

fn group_id(group: &str, wanted: &str) -> Result<u32, RuntimeError> {
    if let Ok(gid) = wanted.parse() {
        return Ok(gid);
    }
    group_entries(group).find(|(name, ..)| *name == wanted).map(|(_, gid, _)| gid).ok_or_else(|| {
        RuntimeError::invalid("user", format!("unable to find group {wanted}: no matching entries in group file"))
    })
}

fn memberships<'a>(group: &'a str, name: &'a str) -> impl Iterator<Item = u32> + 'a {
    let member = move |members: &str| !name.is_empty() && members.split(',').any(|member| member.trim() == name);
    group_entries(group).filter(move |(_, _, members)| member(members)).map(|(_, gid, _)| gid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
# comment:x:7:7::/:/bin/sh
broken line
web:x:33:34:www:/var/www:/usr/sbin/nologin
bare:x:40:40
";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nstaff:x:50:root,web\naudio:x:63:web\nnobody:x:x:web\n";

    fn found(name: &str, uid: Option<u32>, gid: Option<u32>) -> String {
        let user = User { uid, gid, name: name.into() };
        match identify(&user, &[2000], PASSWD, GROUP) {
            Ok(who) => format!("{}:{} {:?} {}", who.uid, who.gid, who.groups, who.home),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn names_numbers_and_what_the_pod_says() {
        for (name, uid, gid, expected) in [
            ("", None, None, "0:0 {50, 2000} /root"),
            ("web", None, None, "33:34 {50, 63, 2000} /var/www"),
            ("33", None, None, "33:34 {50, 63, 2000} /var/www"),
            ("web:staff", None, None, "33:50 {50, 63, 2000} /var/www"),
            ("web:77", None, None, "33:77 {50, 63, 2000} /var/www"),
            ("1234", None, None, "1234:0 {2000} /"),
            ("1234:5678", None, None, "1234:5678 {2000} /"),
            ("bare", None, None, "40:40 {2000} /"),
            ("web:staff", Some(1000), None, "1000:0 {2000} /"),
            ("web:staff", Some(1000), Some(9), "1000:9 {2000} /"),
            ("web", None, Some(9), "33:9 {50, 63, 2000} /var/www"),
            ("ghost", None, None, "user: unable to find user ghost: no matching entries in passwd file"),
            ("web:ghost", None, None, "user: unable to find group ghost: no matching entries in group file"),
            ("-1", None, None, "user: unable to find user -1: no matching entries in passwd file"),
        ] {
            assert_eq!(found(name, uid, gid), expected, "{name:?} {uid:?} {gid:?}");
        }
    }

    #[test]
    fn an_image_without_the_files_knows_only_numbers() {
        let root = Identity { uid: 0, gid: 0, groups: BTreeSet::new(), home: "/".into() };
        assert_eq!(identify(&User::default(), &[], "", ""), Ok(root));
        let named = User { name: "web".into(), ..Default::default() };
        assert!(identify(&named, &[], "", "").is_err());
    }

    proptest! {
        /// An image's files can hold anything.
        #[test]
        fn no_text_panics(name in ".{0,20}", passwd in "[a-z0-9:,#\n-]{0,200}", group in "[a-z0-9:,#\n-]{0,200}") {
            let user = User { name, ..Default::default() };
            if let Ok(who) = identify(&user, &[5], &passwd, &group) {
                prop_assert!(who.groups.contains(&5));
            }
        }
    }
}
