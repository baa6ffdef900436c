//! Packages by apt, dnf, yum, zypper, pacman and apk.

use crate::os::facts::{OsFacts, PackageManager as Manager};
use crate::os::packages::{Change, PACKAGE_TIMEOUT, Package, checked};
use crate::os::plan::Plan;
use crate::os::script::{NONE, garbled, script};
use crate::{Error, ErrorKind, Result};

fn manager(facts: &OsFacts) -> Result<Manager> {
    facts.package_manager.ok_or_else(|| {
        Error::unsupported("the workload has no package manager that POD knows")
            .with_hint("apt, dnf, yum, zypper, pacman and apk are known")
    })
}

/// A line for each package: name, version and architecture between tabs.
const DPKG: &str = r"exec dpkg-query -W -f='${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\n'";
const RPM: &str = r"exec rpm -qa --qf '%{NAME}\t%{VERSION}-%{RELEASE}\t%{ARCH}\n'";
/// apk's own file: with `apk list` names and versions would have to be guessed apart.
const APK: &str = r#"for f in /lib/apk/db/installed /usr/lib/apk/db/installed; do if [ -r "$f" ]; then exec cat "$f"; fi; done
fail 92 "apk's list of packages is not there""#;

/// The plan that lists the packages.
pub(crate) fn list(facts: &OsFacts) -> Result<Plan<Vec<Package>>> {
    type Read = fn(&str) -> Result<Vec<Package>>;
    let (text, read): (&str, Read) = match manager(facts)? {
        Manager::Apt => (DPKG, from_dpkg),
        Manager::Dnf | Manager::Microdnf | Manager::Yum | Manager::Zypper => (RPM, from_rpm),
        Manager::Pacman => ("exec pacman -Q", from_pacman),
        Manager::Apk => (APK, from_apk),
    };
    Ok(Plan::new(script(text, NONE), move |output| {
        let mut all = read(&output.stdout_text())?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }))
}

fn package(name: &str, version: &str, arch: &str) -> Package {
    Package { name: name.to_owned(), version: version.to_owned(), arch: arch.to_owned() }
}

fn bad(line: &str) -> Error {
    garbled("a package has too few fields").with_context("line", line.chars().take(100).collect::<String>())
}

fn from_dpkg(text: &str) -> Result<Vec<Package>> {
    let mut all = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            // Of a removed package dpkg keeps the configuration files in mind.
            ["installed", name, version, arch] => all.push(package(name, version, arch)),
            [_, _, _, _] => {}
            _ => return Err(bad(line)),
        }
    }
    Ok(all)
}

fn from_rpm(text: &str) -> Result<Vec<Package>> {
    let mut all = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["gpg-pubkey", ..] => {} // a signing key that rpm keeps among its packages
            [name, version, arch] => all.push(package(name, version, arch)),
            _ => return Err(bad(line)),
        }
    }
    Ok(all)
}

fn from_pacman(text: &str) -> Result<Vec<Package>> {
    let line = |l: &str| l.split_once(' ').map(|(n, v)| package(n, v, "")).ok_or_else(|| bad(l));
    text.lines().map(line).collect()
}

/// Records of `KEY:value` lines with an empty line behind each.
fn from_apk(text: &str) -> Result<Vec<Package>> {
    let mut all = Vec::new();
    for record in text.split("\n\n").filter(|r| !r.trim().is_empty()) {
        let field = |key: &str| record.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
        match (field("P"), field("V"), field("A")) {
            (Some(name), Some(version), arch) => all.push(package(name, version, arch.unwrap_or_default())),
            _ => return Err(bad(record)),
        }
    }
    Ok(all)
}

/// What installs `"$@"`: no question is asked, files the administrator changed are kept, and the index
/// is read first.
fn install(manager: Manager) -> &'static str {
    match manager {
        Manager::Apt => {
            r#"export DEBIAN_FRONTEND=noninteractive
apt-get -q update || exit
exec apt-get -q -y -o DPkg::Lock::Timeout=60 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install "$@""#
        }
        Manager::Dnf => r#"exec dnf -y --refresh install "$@""#,
        Manager::Microdnf => r#"exec microdnf -y --refresh install "$@""#,
        Manager::Yum => {
            r#"yum -q -y makecache || exit
exec yum -y install "$@""#
        }
        // 102 and 103 say that a restart of the machine or of zypper is advised, 104 that a name is unknown.
        Manager::Zypper => {
            r#"zypper --non-interactive refresh || exit
zypper --non-interactive install --auto-agree-with-licenses "$@"; c=$?
case $c in 0|102|103) exit 0 ;; 104) fail 90 "no such package in the repositories: $*" ;; esac
exit "$c""#
        }
        Manager::Pacman => r#"exec pacman -Sy --noconfirm --needed "$@""#,
        Manager::Apk => r#"exec apk --update-cache add "$@""#,
    }
}

fn remove(manager: Manager) -> &'static str {
    match manager {
        Manager::Apt => {
            r#"export DEBIAN_FRONTEND=noninteractive
exec apt-get -q -y -o DPkg::Lock::Timeout=60 remove "$@""#
        }
        Manager::Dnf => r#"exec dnf -y remove "$@""#,
        Manager::Microdnf => r#"exec microdnf -y remove "$@""#,
        Manager::Yum => r#"exec yum -y remove "$@""#,
        Manager::Zypper => {
            r#"zypper --non-interactive remove "$@"; c=$?
case $c in 0|102|103) exit 0 ;; esac
exit "$c""#
        }
        Manager::Pacman => r#"exec pacman -R --noconfirm "$@""#,
        Manager::Apk => r#"exec apk del "$@""#,
    }
}

/// The plan that installs or removes packages.
pub(crate) fn change(facts: &OsFacts, names: &[&str], change: Change) -> Result<Plan<()>> {
    let (manager, names) = (manager(facts)?, checked(names)?);
    let text = match change {
        Change::Install => install(manager),
        Change::Remove => remove(manager),
    };
    let step = script(text, names).with_timeout(PACKAGE_TIMEOUT);
    Ok(Plan::new(step, move |output| {
        // yum ends with 0 when it has found only some of the packages.
        let said = format!("{}\n{}", output.stdout_text(), output.stderr_text());
        match said.lines().find(|l| l.starts_with("No package ") && l.contains(" available")) {
            Some(line) if manager == Manager::Yum => Err(Error::new(ErrorKind::NotFound, line.trim_end_matches('.'))),
            _ => Ok(()),
        }
    }))
}
