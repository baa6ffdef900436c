//! Users by the shadow tools, or by BusyBox's `adduser` where those are not there.

use crate::os::facts::OsFacts;
use crate::os::plan::{Plan, Step};
use crate::os::script::{NONE, Sections, garbled, script};
use crate::os::users::{NewUser, Password, User, checked};
use crate::os::{PathBytes, Removed};
use crate::{Output, Result};

/// `getent` also knows users that stand in no file.
const LIST: &str = r#"
s passwd; if has getent; then getent passwd; else cat /etc/passwd; fi || fail 92 "the list of users can't be read"
s group; if has getent; then getent group; else cat /etc/group; fi
exit 0
"#;

/// The plan that lists the users.
pub(crate) fn list() -> Plan<Vec<User>> {
    Plan::new(script(LIST, NONE), read)
}

fn read(output: &Output) -> Result<Vec<User>> {
    let sections = Sections::of(output)?;
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let groups: Vec<Vec<String>> = sections.text("group")?.lines().map(fields).filter(|g| g.len() >= 4).collect();
    let number = |n: &str| n.parse::<u32>().map_err(|e| garbled("a user's id is no number").with_source(e));
    let mut all = Vec::new();
    for line in sections.text("passwd")?.lines() {
        let f = fields(line);
        // A line that begins with `+` or `-` speaks to NIS.
        if f.len() < 7 || f[0].starts_with(['+', '-']) {
            continue;
        }
        let (uid, gid) = (number(&f[2])?, number(&f[3])?);
        let group = groups.iter().find(|g| g[2] == f[3]).map_or_else(|| gid.to_string(), |g| g[0].clone());
        let member = |g: &&Vec<String>| g[3].split(',').any(|m| m == f[0]) && g[2] != f[3];
        all.push(User {
            name: f[0].clone(),
            uid,
            gid,
            group,
            groups: groups.iter().filter(member).map(|g| g[0].clone()).collect(),
            home: PathBytes::from(f[5].as_str()),
            shell: PathBytes::from(f[6].as_str()),
            comment: f[4].clone(),
        });
    }
    all.sort_by_key(|u| u.uid);
    Ok(all)
}

/// Asked each time: it may have been installed since the facts were read.
const NEEDS: &str = r#"needs() { has "$1" || fail 92 "the workload has no $1, so users can't be made or removed"; }
"#;

/// `$1` is the name, `$2` the groups between commas, `$3` whether a password comes on stdin; the rest
/// goes to the program that makes users. All is checked before anything is made.
const CHECKS: &str = r#"
n=$1 g=$2 pw=$3; shift 3
if id -u "$n" >/dev/null 2>&1; then fail 91 "there is a user of that name already: $n"; fi
old=$IFS; IFS=,
for i in $g; do
  f=; while IFS=: read -r name rest; do if [ "$name" = "$i" ]; then f=1; fi; done </etc/group
  if [ -z "$f" ] && ! { has getent && getent group "$i" >/dev/null; }; then fail 90 "no such group: $i"; fi
done
IFS=$old
if [ -n "$pw" ] && ! has chpasswd; then fail 92 "the workload has no chpasswd, so no password can be set"; fi
"#;

/// Codes of useradd(8): 4 and 9 are an id and a name in use, 6 an unknown group.
const SHADOW: &str = r#"
needs useradd
useradd "$@"; c=$?
case $c in 0) ;; 4) fail 91 "there is a user of that id already" ;; 9) fail 91 "there is a user of that name already: $n" ;;
  6) fail 90 "one of the groups is unknown" ;; *) exit "$c" ;; esac
if [ -n "$pw" ]; then chpasswd || { userdel -r "$n" >/dev/null 2>&1; fail 97 "the password could not be set, so the user was removed again"; }; fi
exit 0
"#;

/// The option by which BusyBox's `chpasswd` hashes well: some builds take DES unless told otherwise.
const CRYPT: &str = r#"
crypt() { case $(chpasswd --help 2>&1) in *BusyBox*crypt-method*|*BusyBox*'-c ALG'*) echo '-c sha512' ;; esac; }
"#;

/// BusyBox: one group at a time.
const BUSYBOX: &str = r#"
needs adduser
adduser -D "$@" "$n" >&2 || exit
undo() { deluser --remove-home "$n" >/dev/null 2>&1 || deluser "$n" >/dev/null 2>&1; fail 97 "$1, so the user was removed again"; }
IFS=,
for i in $g; do addgroup "$n" "$i" >&2 || undo "the user could not be put in group $i"; done
IFS=$old
if [ -n "$pw" ]; then
  chpasswd $(crypt) >&2 || undo "the password could not be set"
fi
exit 0
"#;

/// The plan that makes a user.
pub(crate) fn create(facts: &OsFacts, user: &NewUser) -> Result<Plan<()>> {
    user.validate()?;
    let shadow = facts.has("useradd");
    let mut args: Vec<String> = Vec::new();
    let mut put = |option: &str, value: Option<&str>| {
        if let Some(value) = value {
            args.extend([option.to_owned(), value.to_owned()]);
        }
    };
    let uid = user.uid.map(|u| u.to_string());
    put("-u", uid.as_deref());
    put("-s", user.shell.as_deref());
    let groups = user.groups.join(",");
    if shadow {
        put("-d", user.home.as_deref());
        put("-c", user.comment.as_deref());
        put("-g", user.group.as_deref());
        put("-G", (!groups.is_empty()).then_some(groups.as_str()));
        args.push(if user.make_home { "-m" } else { "-M" }.to_owned());
        args.extend(user.system.then(|| "-r".to_owned()));
        args.push(user.name.clone());
    } else {
        put("-h", user.home.as_deref());
        put("-g", user.comment.as_deref());
        put("-G", user.group.as_deref());
        args.extend((!user.make_home).then(|| "-H".to_owned()));
        args.extend(user.system.then(|| "-S".to_owned()));
    }
    let known = user.group.iter().chain(&user.groups).cloned().collect::<Vec<_>>().join(",");
    // BusyBox puts the user in each of the other groups by itself.
    let text = if shadow {
        format!("{NEEDS}{CHECKS}{SHADOW}")
    } else {
        format!("{NEEDS}{CHECKS}{CRYPT}g=$1; shift\n{BUSYBOX}")
    };
    let password = if user.password.is_some() { "1" } else { "" };
    let mut all = vec![user.name.clone(), known, password.to_owned()];
    if !shadow {
        all.push(groups);
    }
    all.extend(args);
    Ok(Plan::new(with_password(script(&text, all), user.password.as_ref(), &user.name), |_| Ok(())))
}

fn with_password(step: Step, password: Option<&Password>, name: &str) -> Step {
    match password {
        Some(password) => step.with_input(password.line(name)),
        None => step,
    }
}

/// The plan that sets a password.
pub(crate) fn set_password(name: &str, password: &Password) -> Result<Plan<()>> {
    let step = script(
        &format!(
            "{CRYPT}{}",
            r#"has chpasswd || fail 92 "the workload has no chpasswd, so no password can be set"
id -u "$1" >/dev/null 2>&1 || fail 90 "no such user: $1"
exec chpasswd $(crypt) >&2"#
        ),
        [checked("user", name)?],
    );
    Ok(Plan::new(with_password(step, Some(password), name), |_| Ok(())))
}

const DELETE: &str = r#"
id -u "$1" >/dev/null 2>&1 || { s absent; exit 0; }
needs "$3"
h=$(while IFS=: read -r n p u g c h rest; do if [ "$n" = "$1" ]; then printf '%s\n' "$h"; fi; done </etc/passwd)
"$3" $2 "$1" >&2; c=$?
if [ $c -eq 8 ]; then fail 98 "the user has processes: $1"; fi
if id -u "$1" >/dev/null 2>&1; then exit $((c ? c : 1)); fi
if [ -n "$2" ] && [ $c -ne 0 ] && [ -d "$h" ]; then fail 97 "the user was removed, but not the home folder $h"; fi
s removed
"#;

/// The plan that removes a user. Code 8 of userdel(8) is a user who is logged in; 12 is a home folder
/// that can't be removed, or an old version's word for a mailbox that was never there.
pub(crate) fn delete(facts: &OsFacts, name: &str, home: bool) -> Result<Plan<Removed>> {
    let shadow = facts.has("userdel");
    let option = match (shadow, home) {
        (_, false) => "",
        (true, true) => "-r",
        (false, true) => "--remove-home",
    };
    let step = script(
        &format!("{NEEDS}{DELETE}"),
        [checked("user", name)?, option, if shadow { "userdel" } else { "deluser" }],
    );
    Ok(Plan::new(step, |output| {
        let absent = Sections::of(output)?.bytes("absent").is_ok();
        Ok(if absent { Removed::AlreadyAbsent } else { Removed::Removed })
    }))
}
