//! Who a program runs as: the words of `user`, looked up in the workload's own `/etc/passwd` and
//! `/etc/group` (passwd(5), group(5)).

/// Numeric identity, supplementary groups and home directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        let uid = parts.nth(1)?.parse().ok()?;
        let gid = parts.next()?.parse().ok()?;
        let home = parts.nth(1)?;
        Some(Account { name, uid, gid, home })
    })
}

fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        let gid = parts.nth(1)?.parse().ok()?;
        Some((name, gid, parts.next().unwrap_or_default()))
    })
}

/// Resolves `user` (`NAME`, `UID`, each with an optional `:GROUP` or `:GID`); `None` is root.
///
/// A name must be in the files; a number need not be. Supplementary groups are those that list the
/// account, unless a group was given.
pub(crate) fn resolve(user: Option<&str>, passwd: &str, group: &str) -> Result<Identity, String> {
    let (who, grp) = match user.unwrap_or("0").split_once(':') {
        Some((w, g)) => (w, Some(g)),
        None => (user.unwrap_or("0"), None),
    };
    let account = accounts(passwd).find(|a| a.name == who).or_else(|| {
        let uid: u32 = who.parse().ok()?;
        accounts(passwd).find(|a| a.uid == uid)
    });
    let (uid, gid, name, home) = match (&account, who.parse::<u32>()) {
        (Some(a), _) => (a.uid, a.gid, Some(a.name), a.home),
        (None, Ok(uid)) => (uid, 0, None, "/"),
        (None, Err(_)) => return Err(format!("there is no user {who:?} in the workload's /etc/passwd")),
    };
    let mut identity =
        Identity { uid, gid, groups: Vec::new(), home: if home.is_empty() { "/".into() } else { home.into() } };
    match grp {
        Some(g) => {
            identity.gid = match groups(group).find(|(n, _, _)| *n == g) {
                Some((_, gid, _)) => gid,
                None => g.parse().map_err(|_| format!("there is no group {g:?} in the workload's /etc/group"))?,
            };
        }
        None => {
            if let Some(name) = name {
                identity.groups = groups(group)
                    .filter(|(_, _, members)| members.split(',').any(|m| m == name))
                    .map(|(_, gid, _)| gid)
                    .collect();
            }
        }
    }
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:/bin/false\nbroken\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlogs:x:50:other,web\n";

    #[test]
    fn names_and_numbers_are_found() {
        let web = Identity { uid: 33, gid: 34, groups: vec![50], home: "/var/www".into() };
        assert_eq!(resolve(Some("web"), PASSWD, GROUP), Ok(web.clone()));
        assert_eq!(resolve(Some("33"), PASSWD, GROUP), Ok(web));
        assert_eq!(resolve(Some("web:logs"), PASSWD, GROUP).map(|i| (i.gid, i.groups)), Ok((50, vec![])));
        assert_eq!(resolve(Some("1000:77"), PASSWD, GROUP).map(|i| (i.uid, i.gid, i.home)), Ok((1000, 77, "/".into())));
        assert_eq!(resolve(None, PASSWD, GROUP).map(|i| (i.uid, i.home)), Ok((0, "/root".into())));
        assert_eq!(resolve(None, "", "").map(|i| i.uid), Ok(0));
    }

    #[test]
    fn unknown_names_are_refused() {
        assert!(resolve(Some("nobody"), PASSWD, GROUP).is_err());
        assert!(resolve(Some("web:nogroup"), PASSWD, GROUP).is_err());
    }
}
