//! Finds out in one exec which Linux it is and what tools it has.

use crate::os::facts::{InitSystem, OsFacts, PackageManager, Userland};
use crate::os::plan::Plan;
use crate::os::script::{NONE, Sections, garbled, script};
use crate::{Output, Result};
use std::collections::{BTreeMap, BTreeSet};

/// The tools that some operation asks for.
const TOOLS: &str = "ip ifconfig vconfig find stat useradd userdel usermod adduser deluser addgroup chpasswd getent \
    systemctl rc-service rc-update service update-rc.d chkconfig hostnamectl hostname nmcli networkctl resolvectl \
    shutdown reboot poweroff apt-get dpkg-query dnf microdnf yum rpm zypper pacman apk";

const SCRIPT: &str = r#"
s os; cat /etc/os-release 2>/dev/null || cat /usr/lib/os-release 2>/dev/null
s uname; uname -s; uname -r; uname -m; uname -n
s tools; for t in $1; do if has "$t"; then printf '%s\n' "$t"; fi; done
s ip; if has ip; then ip -V 2>&1; fi
s stat; if has stat; then stat --version 2>&1; fi
s init; if [ -d /run/systemd/system ]; then echo systemd; fi
if [ -e /run/openrc/softlevel ]; then echo openrc; fi
if [ -d /etc/init.d ]; then echo initd; fi
s one; cat /proc/1/comm 2>/dev/null
s container
case "$container" in ''|*[!a-z0-9-]*) ;; *) echo "$container" ;; esac
cat /run/systemd/container 2>/dev/null
if [ -e /run/.containerenv ]; then echo podman; fi
if [ -e /.dockerenv ]; then echo docker; fi
if [ -n "$KUBERNETES_SERVICE_HOST" ]; then echo kubernetes; fi
case $(readlink /proc/self/ns/pid 2>/dev/null) in ''|'pid:[4026531836]') ;; *) echo other ;; esac
s id; id -u
"#;

/// The plan that reads the facts.
pub(crate) fn plan() -> Plan<OsFacts> {
    Plan::new(script(SCRIPT, [TOOLS]), read)
}

fn read(output: &Output) -> Result<OsFacts> {
    let sections = Sections::of(output)?;
    let release = os_release(&sections.text("os")?);
    let uname = sections.text("uname")?;
    let mut uname = uname.lines().map(str::to_owned);
    let mut next = || uname.next().filter(|l| !l.is_empty()).ok_or_else(|| garbled("uname printed too little"));
    let (kernel, kernel_release, arch, hostname) = (next()?, next()?, next()?, next()?);
    let tools: BTreeSet<String> = sections.text("tools")?.lines().map(str::to_owned).collect();
    let get = |key: &str| release.get(key).cloned().unwrap_or_default();
    let id = get("ID");
    let name = Some(get("NAME")).filter(|n| !n.is_empty()).unwrap_or_else(|| kernel.clone());
    let version = get("VERSION_ID");
    let pretty_name = Some(get("PRETTY_NAME"))
        .filter(|n| !n.is_empty())
        .unwrap_or_else(|| if version.is_empty() { name.clone() } else { format!("{name} {version}") });
    let stat = sections.text("stat")?;
    let userland = if stat.is_empty() || stat.contains("BusyBox") { Userland::BusyBox } else { Userland::Gnu };
    let uid = sections.line("id")?.parse().map_err(|e| garbled("id printed no number").with_source(e))?;
    let id_like = get("ID_LIKE");
    Ok(OsFacts {
        package_manager: package_manager(&id, &id_like, &tools),
        init: init(&sections.text("init")?, &sections.line("one")?),
        container: sections.text("container")?.lines().next().map(str::to_owned),
        iproute2: sections.text("ip")?.contains("iproute2"),
        id,
        name,
        version,
        pretty_name,
        kernel,
        kernel_release,
        arch,
        hostname,
        userland,
        uid,
        tools,
    })
}

fn init(signs: &str, one: &str) -> Option<InitSystem> {
    let sign = |s: &str| signs.lines().any(|l| l == s);
    if sign("systemd") {
        Some(InitSystem::Systemd)
    } else if sign("openrc") {
        Some(InitSystem::OpenRc)
    } else if one == "init" && sign("initd") {
        Some(InitSystem::SysV)
    } else {
        None
    }
}

/// The distribution's own package manager if it is there, else the first that is.
fn package_manager(id: &str, id_like: &str, tools: &BTreeSet<String>) -> Option<PackageManager> {
    let own = |words: &[&str]| words.iter().any(|w| *w == id || id_like.split_whitespace().any(|l| l == *w));
    let there = || PackageManager::ALL.iter().filter(|(_, program, _)| tools.contains(*program));
    there().find(|(.., words)| own(words)).or_else(|| there().next()).map(|(m, ..)| *m)
}

/// Reads os-release(5): `KEY=value` lines, values quoted as by a shell.
fn os_release(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (key, value) = line.trim().split_once('=')?;
        (!key.starts_with('#')).then(|| (key.to_owned(), unquote(value)))
    };
    text.lines().filter_map(line).collect()
}

fn unquote(value: &str) -> String {
    let quoted = |q: char| value.len() >= 2 && value.starts_with(q) && value.ends_with(q);
    if quoted('\'') {
        return value[1..value.len() - 1].to_owned();
    }
    let inner = if quoted('"') { &value[1..value.len() - 1] } else { value };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

/// A plan that reads what tells one boot from the next: the kernel's boot id, and when process 1 began
/// (a container keeps the first over a restart).
pub(crate) fn boot_id() -> Plan<String> {
    let step = script(
        r#"s boot; cat /proc/sys/kernel/random/boot_id || fail 92 "this kernel gives no boot id"
s one; cat /proc/1/stat 2>/dev/null"#,
        NONE,
    );
    Plan::new(step, |output| {
        let sections = Sections::of(output)?;
        let boot = sections.line("boot")?;
        if boot.is_empty() {
            return Err(garbled("the boot id is empty"));
        }
        // starttime is field 22 of proc_pid_stat(5); the fields after the command's name begin with 3.
        let stat = sections.text("one")?;
        let start = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)).unwrap_or("0");
        Ok(format!("{boot}/{start}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::testing::{fixture, printed};
    use proptest::prelude::*;

    fn facts(fixture_name: &str) -> OsFacts {
        plan().read(&[printed(fixture(fixture_name))]).expect("the transcript is read")
    }

    #[test]
    fn a_debian_without_an_init_is_known() {
        let f = facts("detect-debian.txt");
        assert_eq!((f.id.as_str(), f.version.as_str(), f.userland), ("debian", "12", Userland::Gnu));
        assert_eq!(f.pretty_name, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!((f.package_manager, f.init), (Some(PackageManager::Apt), None));
        assert!(f.iproute2 && f.has("useradd") && !f.has("nmcli"));
    }

    #[test]
    fn a_busybox_root_is_known() {
        let f = facts("detect-busybox.txt");
        assert_eq!((f.userland, f.iproute2, f.package_manager), (Userland::BusyBox, false, None));
        assert_eq!((f.name.as_str(), f.pretty_name.as_str()), ("Linux", "Linux"));
    }

    #[test]
    fn init_systems_are_told_by_their_signs() {
        assert_eq!(init("systemd\ninitd\n", "systemd"), Some(InitSystem::Systemd));
        assert_eq!(init("openrc\ninitd\n", "init"), Some(InitSystem::OpenRc));
        assert_eq!(init("initd\n", "init"), Some(InitSystem::SysV));
        assert_eq!(init("initd\n", "nginx"), None);
        assert_eq!(init("", "init"), None);
    }

    #[test]
    fn the_distributions_own_package_manager_wins() {
        let tools = ["apt-get", "dnf"].map(str::to_owned).into();
        assert_eq!(package_manager("rocky", "rhel centos fedora", &tools), Some(PackageManager::Dnf));
        assert_eq!(package_manager("debian", "", &tools), Some(PackageManager::Apt));
        assert_eq!(package_manager("unknown", "", &tools), Some(PackageManager::Apt));
        assert_eq!(package_manager("debian", "", &BTreeSet::new()), None);
    }

    #[test]
    fn os_release_values_are_unquoted() {
        let r = os_release("# c\nID=x\nNAME=\"A \\\"B\\\"\"\nVERSION_ID='1 2'\nBAD\n");
        assert_eq!(r.get("NAME").map(String::as_str), Some("A \"B\""));
        assert_eq!(r.get("VERSION_ID").map(String::as_str), Some("1 2"));
        assert_eq!(r.len(), 3);
    }

    #[test]
    fn a_boot_is_told_from_the_next() {
        let out = |boot: &str, start: u64| {
            let stat = format!("1 (a) b) S 0 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 {start} 1 1\n");
            printed(format!("\0boot\0{boot}\n\0one\0{stat}").into_bytes())
        };
        let id = |o| boot_id().read(&[o]).ok();
        assert_eq!(id(out("abc", 7)).as_deref(), Some("abc/7"));
        assert_ne!(id(out("abc", 7)), id(out("abc", 8)));
        assert!(boot_id().read(&[out("", 7)]).is_err());
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "\\PC*") {
            let _ = plan().read(&[printed(bytes)]);
            let _ = os_release(&text);
        }
    }
}
